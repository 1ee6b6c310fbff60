"""ViTDet's pyramid from the last map of a plain ViT."""

from typing import Optional, Sequence, Tuple, Union

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from .feature_pyramid import build_norm, rescaling


@MODELS.register_module()
class SimplePyramid(BaseModule):
    """All scales from one map (Li et al., 2022, "Exploring Plain Vision Transformer Backbones for Object Detection").

    The map is enlarged or reduced, each doubling halving its width, then brought to ``out_channels`` by a 1x1 and a
    3x3 convolution, with a norm after each. With patches of 16 the strides are 4, 8, 16, 32; further ones, which only
    proposals need, take every second position of the one before.

    Args:
        in_dim: Width D of the map.
        out_channels: Of every output.
        scales: Of the outputs to the map, each 4, 2, 1 or 0.5, from large to small.
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
