"""Derive settings of a config for facial landmarks from its top-level keys."""

from typing import Any

from mmengine.config import Config

from .classification import add_average, name_of, set_pretrained
from .parts import DENSE_BACKBONES, map_widths, pipeline_steps


def settle_landmarks(cfg: Config) -> None:
    """Apply the top-level keys of a config for facial landmarks.

    Does nothing unless the model is a :class:`~mmmim.models.landmarks.LandmarkEstimator`. Keys, all optional:

    - ``pretrained``: checkpoint that initialises the backbone, of any naming scheme; None: random initialisation,
      unless ``model.backbone.init_cfg.checkpoint`` names one.
    - ``image_size`` (pixels): of the face crops, and of the backbone's position embedding.
    - ``ema_decay``: decay of an exponential moving average of the weights, which is validated, and saved under
      ``state_dict``; None: no average.

    The widths of neck and head follow from the backbone where they are not given.

    Raises:
        ValueError: A value that makes no sense, ``pretrained`` for a backbone that is not ours, or mirrored faces where
            errors are measured.
    """
    model = cfg.get('model') or {}
    backbone = model.get('backbone') or {}
    if name_of(model) != 'LandmarkEstimator':
        return
    if name_of(backbone) in DENSE_BACKBONES:
        set_pretrained(cfg, backbone)
        widths = map_widths(backbone)
        if model.get('neck') is not None:
            model.neck.setdefault('in_dim', widths[-1])
        indices = model.head.get('in_index', range(len(widths)))
        model.head.setdefault('in_channels', [widths[index] for index in indices])
    elif cfg.get('pretrained') is not None:
        raise ValueError(
            f'pretrained={cfg.pretrained!r} fills backbones of mmmim, and model.backbone.type is '
            f'{backbone.get("type")!r}: give the checkpoint to its own `init_cfg`'
        )
    for name in ('val_dataloader', 'test_dataloader'):
        if any(name_of(step) == 'MirrorFace' for step in (cfg.get(name) or {}).get('dataset', {}).get('pipeline', ())):
            raise ValueError(f'{name}: MirrorFace swaps the points of the two sides: it is for training alone')
    if cfg.get('image_size') is not None:
        _set_size(cfg, backbone, cfg.image_size)
    if cfg.get('ema_decay') is not None:
        add_average(cfg, cfg.ema_decay)


def _set_size(cfg: Config, backbone: Any, size: int) -> None:
    if not isinstance(size, int) or size < 1:
        raise ValueError(f'image_size={size!r} must be one number of pixels: the side of a face crop')
    if name_of(backbone) in DENSE_BACKBONES and name_of(backbone) != 'DenseSwin':  # which has no position table
        backbone.img_size = size
    for step in pipeline_steps(cfg):
        if name_of(step) == 'FaceCrop':
            step.size = size
