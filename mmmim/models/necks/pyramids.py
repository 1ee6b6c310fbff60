"""Feature pyramids for plain ViTs: from one map, or from several maps."""

from typing import Optional, Sequence, Tuple, Union

from mmengine.model import BaseModule
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ..build import check_choice
from ..layers.norm import CrossRankBatchNorm2d


@MODELS.register_module()
class SimplePyramid(BaseModule):
    """All scales from one map (Li et al., 2022, "Exploring Plain Vision Transformer Backbones for Object Detection").

    The map is enlarged or reduced, each doubling halving its width, then brought to ``out_channels`` by a 1x1 and a 3x3
    convolution, with a norm after each. With patches of 16 the strides are 4, 8, 16, 32; further ones, which only
    proposals use, take every second position of the previous one.

    Args:
        in_dim: Width D of the map.
        out_channels: Channels of every output.
        scales: Scales of the outputs relative to the map, each 4, 2, 1 or 0.5, from large to small.
        num_outs: Outputs, at least as many as ``scales``.
        norm: ``'layer'`` (ViTDet), ``'batch'`` or None.

    Raises:
        ValueError: Another norm or scale, or fewer outputs than scales.
    """

    def __init__(
        self,
        in_dim: int,
        out_channels: int = 256,
        scales: Sequence[float] = (4, 2, 1, 0.5),
        num_outs: int = 5,
        norm: Optional[str] = 'layer',
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if num_outs < len(scales):
            raise ValueError(f'num_outs={num_outs} is less than the {len(scales)} scales')
        self.num_outs = num_outs
        self.scales = nn.ModuleList(
            nn.Sequential(
                *rescaling(in_dim, [in_dim // 2, in_dim // 4], scale, norm),
                nn.Conv2d({4.0: in_dim // 4, 2.0: in_dim // 2}.get(scale, in_dim), out_channels, 1, bias=norm is None),
                build_norm(norm, out_channels),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=norm is None),
                build_norm(norm, out_channels),
            )
            for scale in scales
        )

    def forward(self, maps: Union[Tensor, Sequence[Tensor]]) -> Tuple[Tensor, ...]:
        """The last of the maps ``[B, D, h, w]`` to ``num_outs`` maps ``[B, out_channels, scale * h, scale * w]``."""
        x = maps if isinstance(maps, Tensor) else maps[-1]
        outputs = [scale(x) for scale in self.scales]
        while len(outputs) < self.num_outs:
            outputs.append(F.max_pool2d(outputs[-1], kernel_size=1, stride=2))
        return tuple(outputs)


@MODELS.register_module()
class MultiScalePyramid(BaseModule):
    """Maps of a plain ViT at a quarter, half, whole and twice its patch size (BEiT, iBOT, MAE, CMAE's UperNet).

    The first map is enlarged by two transposed convolutions (with a norm and GELU between them), the second by one, the
    third is unchanged, the fourth is reduced by the maximum over 2 x 2. Each ``norm``, the widths and ``scales`` are as
    in BEiT's segmentor, whose norm is the batch norm.

    Args:
        in_dim: Width D of the maps.
        norm: ``'batch'`` (statistics over all ranks), ``'layer'`` or None.
        scales: Scales of the outputs, each 4, 2, 1 or 0.5; as many as there are maps.

    Raises:
        ValueError: Another norm or scale.
    """

    def __init__(
        self,
        in_dim: int,
        norm: Optional[str] = 'batch',
        scales: Sequence[float] = (4, 2, 1, 0.5),
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.scales = nn.ModuleList(rescaling(in_dim, [in_dim, in_dim], scale, norm) for scale in scales)

    def forward(self, maps: Sequence[Tensor]) -> Tuple[Tensor, ...]:
        """Maps ``[B, D, h, w]`` to as many ``[B, D, scale * h, scale * w]`` (rounded up)."""
        if len(maps) != len(self.scales):
            raise ValueError(
                f'the pyramid makes {len(self.scales)} scales and got {len(maps)} maps: let the '
                "backbone's out_indices be as many"
            )
        return tuple(rescale(x) for rescale, x in zip(self.scales, maps))


def rescaling(in_dim: int, widths: Sequence[int], scale: float, norm: Optional[str]) -> nn.Sequential:
    """Layers that change a map's scale by 4, 2, 1 or 0.5.

    Args:
        in_dim: Width of the map.
        widths: Width after a first and a second doubling; otherwise the width is unchanged.
        norm: Norm between two doublings, as in :func:`build_norm`.
    """

    def double(before: int, after: int) -> nn.ConvTranspose2d:
        return nn.ConvTranspose2d(before, after, kernel_size=2, stride=2)

    if scale == 4:
        return nn.Sequential(double(in_dim, widths[0]), build_norm(norm, widths[0]), nn.GELU(), double(*widths))
    if scale == 2:
        return nn.Sequential(double(in_dim, widths[0]))
    if scale == 1:
        return nn.Sequential()
    if scale == 0.5:  # an odd last position is kept: a map of one position has a maximum, too
        return nn.Sequential(nn.MaxPool2d(2, ceil_mode=True))
    raise ValueError(f'scale {scale} of a pyramid: use 4, 2, 1 or 0.5')


def build_norm(norm: Optional[str], channels: int) -> nn.Module:
    """``'batch'``, ``'layer'`` (over the channels of each position, eps 1e-6) or None."""
    check_choice('norm', norm, ('batch', 'layer', None))
    return (
        CrossRankBatchNorm2d(channels)
        if norm == 'batch'
        else LayerNorm2d(channels, eps=1e-6)
        if norm == 'layer'
        else nn.Identity()
    )
