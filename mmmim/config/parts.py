"""Helpers for the configs of segmentors and detectors."""

from typing import Any, Dict, Iterator, List, Tuple, Union

from mmengine.config import Config

from ..models.backbones import conv_vit
from ..models.backbones import vit as masked_vit
from ..models.backbones.dense import swin as timm_backbone
from ..models.backbones.dense.base import default_outputs
from .classification import name_of
from .schedule import DENSE_BACKBONES as DENSE_BACKBONES


def map_widths(backbone: Any) -> Tuple[int, ...]:
    """Channels of the feature maps of a backbone of ours."""
    arch = backbone.get('arch', 'base')
    if name_of(backbone) == 'DenseConvViT':
        dims = conv_vit.resolve_architecture(arch).embed_dims
        return (*dims, dims[-1])
    if name_of(backbone) == 'DenseSwin':
        embed_dim, depths, _ = timm_backbone.resolve_architecture(arch)
        return tuple(embed_dim * 2**stage for stage in backbone.get('out_indices') or range(len(depths)))
    embed_dim, depth, *_ = masked_vit.resolve_architecture(arch)
    return (embed_dim,) * len(backbone.get('out_indices') or default_outputs(depth))


def datasets(cfg: Config) -> Iterator[Any]:
    """The data sets of all loaders, wrapped ones included."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        yield from datasets_below((cfg.get(name) or {}).get('dataset'))


def datasets_below(node: Union[Dict, List, None]) -> Iterator[Any]:
    """A data set and those that it wraps (``dataset`` or ``datasets``, as in MMEngine's wrappers)."""
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from datasets_below(item)
    elif node:
        yield node
        yield from datasets_below(node.get('dataset') or node.get('datasets'))


def pipeline_steps(cfg: Config) -> Iterator[Any]:
    """Every step of every pipeline, nested ones included."""
    for dataset in datasets(cfg):
        yield from _steps_below(dataset.get('pipeline') or ())


def _steps_below(node: Any) -> Iterator[Any]:
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _steps_below(item)
    else:
        yield node
        yield from _steps_below(node.get('transforms') or ())
