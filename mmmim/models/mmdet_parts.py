"""Parts of mmdet that work under bf16 autocast; the one module that imports mmdet, for detection alone.

bf16 has 8 binary digits. mmdet casts boxes to the type of the maps before it reads inside them, so that at 1000 pixels
a coordinate would be off by up to 2; and mmcv's operators (RoIAlign everywhere, NMS on the CPU) do not take bf16.
Importing it makes mmdet work without mmcv's compiled operators, also under mmdet's own tools/train.py:
``custom_imports = dict(imports=['mmmim', 'mmmim.models.mmdet_parts'])``.
"""

from typing import Optional, Sequence, Tuple

from .mmcv_ops import provide_ops

provide_ops()  # before mmdet's models are imported

# ruff: noqa: E402
import torch
from mmdet.models.dense_heads import RPNHead as _RPNHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor as _SingleRoIExtractor
from torch import Tensor

from ..registry import MODELS


def widened(x: Tensor) -> Tensor:
    """A tensor as float32, or as it is if that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@MODELS.register_module()
class RPNHead(_RPNHead):
    """mmdet's, with float32 scores and offsets, by which proposals are sorted and suppressed."""

    def forward_single(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        scores, offsets = super().forward_single(x)
        return widened(scores), widened(offsets)


@MODELS.register_module()
class SingleRoIExtractor(_SingleRoIExtractor):
    """mmdet's, on float32 maps."""

    def forward(self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: Optional[float] = None) -> Tensor:
        return super().forward(tuple(widened(x) for x in feats), rois, roi_scale_factor)
