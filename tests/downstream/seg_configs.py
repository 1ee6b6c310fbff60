"""Segmentation configs as they stand, settled, and shrunk so that they can be built and run in a test."""

import copy
import functools

from harness import ROOT

from mmmim.config.load import load_config
from mmmim.config.schedule import set_batch_and_lr
from mmmim.config.segmentation import settle_segmentor

FOLDER = ROOT / 'configs/downstream/segmentation'


@functools.lru_cache(maxsize=None)
def _loaded(name):
    return load_config(str(FOLDER / f'{name}.py'))


def config(name, **overrides):
    cfg = copy.deepcopy(_loaded(name))
    cfg.merge_from_dict(overrides)
    return cfg


def resolved(name, processes=8, **overrides):
    cfg = config(name, **overrides)
    set_batch_and_lr(cfg, processes)
    settle_segmentor(cfg)
    return cfg


def shrunk(name, crop=64, **overrides):
    """Narrow, with small crops: depth, maps, heads and pipeline stay."""
    cfg = config(name, crop_size=crop, scale=(2 * crop, crop), **overrides)
    backbone = cfg.model.backbone
    if backbone.type == 'mmmim.DenseConvViT':
        backbone.arch = dict(embed_dims=(8, 16, 24), depths=(1, 1, 2), num_heads=3)
    elif backbone.type == 'mmmim.DenseSwin':
        backbone.update(arch=dict(embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 2)), window_size=4)
    else:
        depth = backbone.arch.depth if isinstance(backbone.arch, dict) else dict(base=12, large=24)[backbone.arch]
        backbone.arch = dict(embed_dim=24, depth=depth, num_heads=3)
    if cfg.model.decode_head.type == 'UPerHead':
        cfg.model.decode_head.channels = 16
        cfg.model.auxiliary_head.channels = 8
    settle_segmentor(cfg)
    return cfg
