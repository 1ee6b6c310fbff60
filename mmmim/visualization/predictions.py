"""Predictions of a segmentor, detector, classifier or landmark estimator, drawn over images."""

import os.path as osp
from collections import defaultdict
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from ..config.classification import name_of
from ..config.images import stated_images
from ..config.prepare import set_up_scope, settle
from ..datasets.io.image_io import ImageSource
from ..evaluation.features import evaluating
from ..registry import DATASETS, MODELS
from .overlay import enlarged, name_of_class, paint_instances, paint_mask, paint_points
from .panel import Panel
from .reconstruction import short_name

# transforms of a test pipeline that read annotations of a labelled data set
LABELS = ('LoadAnnotations', 'LoadPanopticAnnotations', 'LoadSegAnnotations')


def build_trained(cfg: Config, checkpoint: str) -> nn.Module:
    """The config's model with a checkpoint's weights, all of them, in evaluation mode.

    The config is settled. How images are read and normalised is the checkpoint's where the config does not state it:
    the weights that training began with need not be on this machine.

    Raises:
        FileNotFoundError: There is no such file.
        RuntimeError: The weights are another model's.
    """
    set_up_scope(cfg)
    cfg.load_from = checkpoint
    settle(cfg, with_data=False)
    cfg = cfg.copy()
    if cfg.model.get('backbone'):
        cfg.model.backbone.init_cfg = None  # everything comes from the checkpoint
    model = MODELS.build(cfg.model)
    _load_all(model, checkpoint)
    return model.to(get_device()).eval()


def _load_all(model: nn.Module, path: str) -> None:
    """Load all parameters and nothing else, or raise an error of one line."""
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')  # the safe loader
    state = checkpoint.get('state_dict', checkpoint)
    own = model.state_dict()
    missing, unknown = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    other = sorted(key for key in set(own) & set(state) if own[key].shape != state[key].shape)
    kinds = ((missing, 'are missing'), (unknown, 'are unknown'), (other, 'have another shape'))
    said = [
        f'{len(keys)} {what} ({", ".join(keys[:2])}{" ..." if len(keys) > 2 else ""})' for keys, what in kinds if keys
    ]
    if said:
        raise RuntimeError(
            f"{path} is no checkpoint of the config's {type(model).__name__}: of its {len(own)} "
            f'parameters {"; ".join(said)}'
        )
    model.load_state_dict(state)


def prediction_panel(
    cfg: Config, model: nn.Module, paths: Sequence[str], score: float = 0.5, notes: Optional[Dict[str, Any]] = None
) -> Tuple[Panel, List[Tuple[str, str]]]:
    """A row for each image: the image, small ones enlarged, and the prediction over it.

    Landmarks are predicted in the boxes of the test data set, where it names the image; else the image is one face.

    Args:
        cfg: Config of the model; its test pipeline prepares the images.
        model: From :func:`build_trained`.
        paths: Files.
        score: Instances of a lower score are left out.
        notes: Further notes of the panel.

    Returns:
        The panel, and the files that could not be read with the reason.

    Raises:
        ValueError: None could be read.
    """
    pipeline = Compose(
        [step for step in cfg.test_dataloader.dataset.pipeline if step['type'].rpartition('.')[2] not in LABELS]
    )
    classes, faces = class_names(cfg), listed_faces(cfg)
    rows, names, skipped = [], [], []
    for index, path in enumerate(paths):
        try:
            samples = [
                pipeline(dict(img_path=path, img_id=index, sample_idx=index, replaced=[], **face))
                for face in faces.get(osp.abspath(path), [{}])
            ]
            image = read_picture(path, cfg)
        except (OSError, ValueError, RuntimeError, AttributeError) as error:  # loaders raise many kinds
            skipped.append((path, str(error) or type(error).__name__))
            continue
        most = cfg.test_dataloader.get('batch_size', 1)  # a crowd has many faces
        parts = [samples[start : start + most] for start in range(0, len(samples), most)]
        with evaluating(model):
            results = [result.cpu() for part in parts for result in model.test_step(pseudo_collate(part))]
        tile, factor = enlarged(image)
        said, drawn = _draw(tile, results, score, classes, factor)
        rows.append([tile, drawn])
        names.append(f'{short_name(path)}  {said}'.strip())
    if not rows:
        raise ValueError(
            f'none of the {len(skipped)} files could be read; the first: {skipped[0][0]}: {skipped[0][1]}'
            if skipped
            else 'there are no images'
        )
    return Panel(rows, ['image', 'prediction'], names, notes or {}), skipped


def read_picture(path: str, cfg: Config) -> np.ndarray:
    """``[H, W, 3]`` uint8 at the file's own size, upright, in the range that a config states.

    Of more than three channels the first three are shown; of two, the first, as grey.
    """
    stated = stated_images(cfg)
    channels = stated.get('channels', 3)
    image = ImageSource(path, channels, stated.get('value_range')).read()
    image = image[..., :3] if channels >= 3 else np.repeat(image[..., :1], 3, axis=2)
    return np.ascontiguousarray(image)


def class_names(cfg: Config) -> Optional[Sequence[str]]:
    """Class names from the config, its test data set, or the data set's class; None without any."""
    dataset = cfg.test_dataloader.dataset
    kind = DATASETS.get(dataset.type)
    return (
        cfg.get('classes')
        or (dataset.get('metainfo') or {}).get('classes')
        or getattr(kind, 'METAINFO', {}).get('classes')
    )


def listed_faces(cfg: Config) -> Dict[str, List[dict]]:
    """``{absolute path: [dict(bbox), ...]}``: the faces of each image of a test data set of faces; none without one, or
    where its files are not on this machine."""
    dataset, faces = cfg.test_dataloader.dataset, defaultdict(list)
    if name_of(dataset) == 'WFLW':
        try:
            found = DATASETS.build(dict(dataset, pipeline=[]))
        except FileNotFoundError:
            return {}
        for index in range(len(found)):
            face = found.get_data_info(index)
            faces[osp.abspath(face['img_path'])].append(dict(bbox=face['bbox']))
    return faces


def _draw(
    image: np.ndarray, results: Sequence[Any], score: float, classes: Optional[Sequence[str]], factor: int
) -> Tuple[str, np.ndarray]:
    """A caption of a prediction, and its picture over the image, ``factor`` times enlarged. There is a result for each
    of an image's faces, else one."""
    result = results[0]
    if 'pred_points' in result:
        for face in results:
            image = paint_points(image, face.pred_points.numpy(), factor)
        return f'{len(results)} face{"s" if len(results) > 1 else ""}', image
    if 'pred_sem_seg' in result:
        mask = result.pred_sem_seg.data.squeeze(0).numpy()
        found, counts = np.unique(mask, return_counts=True)
        largest = [name_of_class(label, classes) for label in found[np.argsort(-counts)][:4].tolist()]
        return f'classes {", ".join(largest)}', paint_mask(image, mask, -1, factor)
    if 'pred_instances' in result:
        instances = result.pred_instances
        instances = instances[instances.scores >= score]
        return f'{len(instances)} instances', paint_instances(image, instances, classes, factor)
    if 'pred_score' in result:
        best = int(torch.argmax(result.pred_score))
        return f'class {name_of_class(best, classes)}, {float(result.pred_score[best]):.0%}', image
    raise ValueError(
        f'nothing to draw in a {type(result).__name__}: the model is no segmentor, detector, classifier or landmark '
        'estimator (reconstructions: mmmim reconstruct)'
    )
