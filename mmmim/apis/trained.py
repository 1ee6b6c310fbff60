"""A model that was trained for a task: where its config, its weights and its class names are."""

import glob
import os
import os.path as osp
from typing import List, NamedTuple, Optional, Tuple

from mmengine.config import Config
from torch import nn

from ..checkpoint.newest import newest_checkpoint
from ..config.load import load_config
from ..config.paths import relative_to_here
from ..config.prepare import set_up_scope
from ..engine.hooks.run_record import read_record
from ..visualization.predictions import build_trained, class_names

# of a folder that `mmmim finetune` has made: the model that was kept, and its config
MODEL, CONFIG = 'model.pth', 'model.py'
CLASSIFICATION, SEGMENTATION, DETECTION, LANDMARKS = 'classification', 'segmentation', 'detection', 'landmarks'
_BY_SCOPE = dict(mmpretrain=CLASSIFICATION, mmseg=SEGMENTATION, mmdet=DETECTION)


class NoConfig(FileNotFoundError):
    """Nothing says which config belongs to a checkpoint."""


class NoTask(ValueError):
    """A config is of pre-training."""


class Trained(NamedTuple):
    """A model of a task, not built yet.

    Attributes:
        cfg: Its config; ``cfg.test_dataloader.dataset.pipeline`` prepares images.
        checkpoint: The file with all of its weights.
        task: ``'classification'``, ``'segmentation'``, ``'detection'`` or ``'landmarks'``.
        classes: Names, in the order of the outputs; None where none are known.
        config: Path of the config.
    """

    cfg: Config
    checkpoint: str
    task: str
    classes: Optional[List[str]]
    config: str

    def build(self) -> nn.Module:
        """The model with its weights, in evaluation mode, on a GPU if there is one.

        Raises:
            RuntimeError: The weights are another model's.
        """
        return build_trained(self.cfg, self.checkpoint)


def open_trained(model: str, config: Optional[str] = None) -> Trained:
    """Find what belongs to a trained model of a task.

    Args:
        model: A folder that ``mmmim finetune`` or ``mmmim train`` has made, or a checkpoint file.
        config: Of a checkpoint file; of a folder its own.

    Raises:
        FileNotFoundError: There is no such folder or file, or no checkpoint in it; as :class:`NoConfig`: no config
            beside it.
        NoTask: The config is of no task: of pre-training (a ValueError).
        ImportError: The toolbox of the task is not installed.
    """
    checkpoint, found = _of_folder(model) if osp.isdir(model) else (model, '')
    if not osp.isfile(checkpoint):
        raise FileNotFoundError(f'there is no {model!r}: give the folder of a run that was fine-tuned, or a checkpoint')
    path = config or found or _beside(checkpoint)
    if not path or not osp.isfile(path):
        stem = osp.splitext(osp.basename(checkpoint))[0]
        raise NoConfig(
            f'{relative_to_here(checkpoint)} has no config beside it, neither {stem}.py nor one that a run.json names: '
            'give it with config='
        )
    cfg = load_config(path)
    task = task_of(cfg)
    if task is None:
        raise NoTask(
            f'{relative_to_here(path)} is of no task ({cfg.get("model", {}).get("type")}): an encoder predicts nothing '
            'by itself. Fine-tune it first: mmmim finetune --data LABELLED --model RUN --out FOLDER'
        )
    set_up_scope(cfg)
    names = class_names(cfg)
    return Trained(cfg, checkpoint, task, None if names is None else [str(name) for name in names], path)


def is_trained(model: str) -> bool:
    """Whether a folder holds a model of a task, so that it can predict; an unreadable config makes it none."""
    if not osp.isdir(model):
        return False
    try:
        checkpoint, config = _of_folder(model)
        return bool(checkpoint) and osp.isfile(config) and task_of(Config.fromfile(config)) is not None
    except Exception:  # configs are programs: they may raise anything
        return False


def task_of(cfg: Config) -> Optional[str]:
    """The task of a config, None for pre-training."""
    model = cfg.get('model') or {}
    if str(model.get('type')).rpartition('.')[2] == 'LandmarkEstimator':
        return LANDMARKS
    pretrains = 'masking' in model or 'mask_ratio' in model
    return None if pretrains else _BY_SCOPE.get(cfg.get('default_scope', ''))


def _of_folder(folder: str) -> Tuple[str, str]:
    """Checkpoint and config; empty where there is none. The best one by validation comes before the newest."""
    kept = osp.join(folder, MODEL)
    if osp.isfile(kept):
        return kept, osp.join(folder, CONFIG)
    best = sorted(glob.glob(osp.join(glob.escape(folder), 'best_*.pth')), key=os.path.getmtime)
    checkpoint = best[-1] if best else newest_checkpoint(folder)
    if not checkpoint:
        raise FileNotFoundError(f'{folder!r} holds no checkpoint')
    return checkpoint, _beside(checkpoint) or _beside(osp.join(folder, '_'))


def _beside(checkpoint: str) -> str:
    """The config in a checkpoint's folder: the one of its name, or the one that the run's record names.

    Another ``.py`` is never taken, not even the only one: a config is a program, and that may be any.
    """
    own = f'{osp.splitext(osp.abspath(checkpoint))[0]}.py'
    if osp.isfile(own):
        return own
    folder = osp.dirname(own)
    named = read_record(folder).get('config')
    if isinstance(named, str) and osp.isfile(osp.join(folder, osp.basename(named))):
        return osp.join(folder, osp.basename(named))
    return ''
