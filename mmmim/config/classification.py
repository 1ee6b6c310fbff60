"""Derive settings of a classification config from its top-level keys."""

from typing import Any, List, Tuple

from mmengine.config import Config

from ..models.backbones import conv_vit
from ..models.backbones import vit as masked_vit
from ..models.backbones.dense import swin as timm_backbone
from .schedule import ENCODERS as ENCODERS
from .schedule import our_task


def settle_classifier(cfg: Config) -> None:
    """Apply the top-level keys of a classification config.

    Does nothing unless the model is mmpretrain's ``ImageClassifier`` with our backbone. Keys, all optional:

    - ``pretrained``: checkpoint that initialises the backbone, of any naming scheme; None: random initialisation,
      unless ``model.backbone.init_cfg.checkpoint`` names one.
    - ``num_classes``: for head and preprocessor; accuracies that need more classes are left out.
    - ``ema_decay``: decay of an exponential moving average of the weights, which is validated, and saved under
      ``state_dict``; None: no average.

    The widths of neck and head follow from the backbone where they are not given.
    """
    model = cfg.get('model') or {}
    backbone = model.get('backbone') or {}
    if our_task(cfg) != 'classifier':
        return
    set_pretrained(cfg, backbone)
    embed_dim, num_class_tokens, num_register_tokens = _tokens(backbone)
    if name_of(model.get('neck') or {}) == 'PoolTokens':
        model.neck.setdefault('in_dim', embed_dim)
        model.neck.setdefault('num_prefix_tokens', num_class_tokens + num_register_tokens)
        model.neck.setdefault('num_register_tokens', num_register_tokens)
    if 'head' in model:
        model.head.setdefault('in_channels', embed_dim)
        if cfg.get('num_classes') is not None:
            model.head.num_classes = model.data_preprocessor.num_classes = cfg.num_classes
        _limit_topk(cfg, model.head.num_classes)
    if cfg.get('ema_decay') is not None:
        add_average(cfg, cfg.ema_decay)


def name_of(part: Any) -> str:
    """A part's ``type`` without its scope."""
    return str(part.get('type', '')).rpartition('.')[2]


def _tokens(backbone: Any) -> Tuple[int, int, int]:
    """Width of the tokens, and numbers of class tokens and registers."""
    arch = backbone.get('arch', 'base')
    if name_of(backbone) == 'ConvViT':
        return conv_vit.resolve_architecture(arch).embed_dims[-1], 0, 0
    if name_of(backbone) == 'MaskedSwin':
        width, depths, _ = timm_backbone.resolve_architecture(arch)
        return width * 2 ** (len(depths) - 1), 0, 0
    keys = dict(class_token=True, num_class_tokens=1, num_register_tokens=0)
    counts = masked_vit.count_prefix_tokens(**{key: backbone.get(key, value) for key, value in keys.items()})
    return masked_vit.resolve_architecture(arch)[0], *counts


def set_pretrained(cfg: Config, backbone: Any) -> None:
    """Initialise the backbone from ``cfg.pretrained``; other keys of its ``init_cfg`` are kept."""
    init_cfg, settled = backbone.get('init_cfg') or {}, cfg.get('settled') or {}
    if cfg.get('pretrained') is not None:
        backbone.init_cfg = {'prefix': 'backbone.', **init_cfg, 'type': 'Pretrained', 'checkpoint': cfg.pretrained}
        cfg.settled = dict(settled, pretrained=cfg.pretrained)
    elif init_cfg.get('checkpoint') in (None, settled.get('pretrained')):
        # with `settled` this is a work dir's copy of a config, whose `pretrained` was set to None
        backbone.init_cfg = None


def _limit_topk(cfg: Config, num_classes: int) -> None:
    """Leave out accuracies of more classes than there are (top-5 of two), for which mmpretrain's metric raises."""
    for key in ('val_evaluator', 'test_evaluator'):
        for evaluator in _as_list(cfg.get(key)):
            if name_of(evaluator) == 'Accuracy' and not isinstance(evaluator.get('topk', 1), int):
                evaluator.topk = tuple(k for k in evaluator.topk if k == 1 or k < num_classes)


def _as_list(value: Any) -> List[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value] if value else []


def add_average(cfg: Config, decay: float) -> None:
    """Add the hook that keeps an exponential moving average of the weights. Raises ValueError for another decay."""
    if not 0 < decay < 1:
        raise ValueError(f'ema_decay={decay} must lie between 0 and 1 (MAE from scratch: 0.9999)')
    others = [hook for hook in cfg.get('custom_hooks') or [] if name_of(hook) != 'EMAHook']
    # MMEngine's: mmpretrain's of the same name validates the plain weights too, with twice the time
    cfg.custom_hooks = [*others, dict(type='mmengine.EMAHook', momentum=1 - decay)]
