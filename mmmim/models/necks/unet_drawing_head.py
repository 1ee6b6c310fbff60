"""A U-Net in the place of the drawing head's transformer (CrossMAE, Table 13)."""

from typing import List, Optional, Tuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ..masking import PatchMask
from ..patches import Size, grid_size, patchify, to_2tuple
from .drawing_head import NOISE, NoiseMapping, check_choice, given, masked_input


class _Convolutions(nn.Sequential):
    """Two 3 x 3 convolutions, each with a group norm, which knows no other image, and a ReLU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        layers = []
        for width in (in_channels, channels):
            layers += [nn.Conv2d(width, channels, 3, padding=1, bias=False), nn.GroupNorm(1, channels), nn.ReLU()]
        super().__init__(*layers)


@MODELS.register_module()
class UNetDrawingHead(BaseModule):
    """E_draw as a U-Net (Ronneberger et al., 2015): the masked image and its mask in, the whole image out.

    The paper says no more of it than its cost, 1.7 times the transformer's; at 224 px the default has 1.8 times. Noise
    enters the coarsest map: z before its first convolution, w before the second, each through a linear layer.

    Args:
        img_size, patch_size, in_chans: As of :class:`DrawingHead`.
        width: Channels of the finest map; they double from map to map.
        levels: Halvings; the image must be divisible by ``2**levels``.
        noise_dim: Length of z and w.
        noise, noise_tokens: As of :class:`DrawingHead`; concatenated noise is one more channel of the input.

    Attributes:
        patch_size, grid_size, noise_shape: As of :class:`DrawingHead`.

    Raises:
        ValueError: An unknown choice, or an image that cannot be halved so often.
    """

    def __init__(
        self,
        img_size: Size,
        patch_size: Size = 16,
        in_chans: int = 3,
        width: int = 9,
        levels: int = 4,
        noise_dim: int = 256,
        noise: str = 'mapped',
        noise_tokens: str = 'z_then_w',
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        check_choice('noise', noise, NOISE)
        check_choice('noise_tokens', noise_tokens, ('z_then_w', 'w_all'))
        height_width = to_2tuple(img_size)
        if levels < 1 or any(side % 2**levels for side in height_width):
            raise ValueError(
                f'a U-Net of levels={levels} cannot halve an image of {height_width[0]}x{height_width[1]} '
                'pixels so often'
            )
        self.patch_size, self.grid_size = to_2tuple(patch_size), grid_size(img_size, patch_size)
        self.noise, self.noise_tokens = noise, noise_tokens
        self.noise_shape: Optional[Tuple[int, ...]] = dict(mapped=(noise_dim,), concat=(1, *height_width), none=None)[
            noise
        ]
        widths = [width * 2**level for level in range(levels + 1)]
        inputs = in_chans + 1 + (noise == 'concat')
        self.down = nn.ModuleList(_Convolutions(a, b) for a, b in zip([inputs, *widths], widths[:-1]))
        self.bottom = nn.ModuleList(
            [nn.Conv2d(widths[-2], widths[-1], 3, padding=1), nn.Conv2d(widths[-1], widths[-1], 3, padding=1)]
        )
        self.mapping = NoiseMapping(noise_dim) if noise == 'mapped' else None
        self.noise_embed = (
            nn.ModuleList(nn.Linear(noise_dim, channels) for channels in widths[-2:]) if noise == 'mapped' else None
        )
        self.shrink = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[:-1])
        self.up = nn.ModuleList(_Convolutions(2 * w, w) for w in widths[:-1])
        self.pred = nn.Conv2d(width, in_chans, 1)

    def forward(self, images: Tensor, mask: PatchMask, z: Optional[Tensor] = None) -> Tensor:
        """``[B, C, H, W]`` and noise ``[B, *noise_shape]`` to pixels ``[B, L, P*P*C]``, as :class:`DrawingHead`."""
        x = masked_input(images, mask, self.grid_size, given(z) if self.noise == 'concat' else None)
        finer = []
        for convolutions in self.down:
            finer.append(convolutions(x))
            x = F.max_pool2d(finer[-1], 2)
        x = self._bottom(x, z)
        for shrink, convolutions, skip in zip(self.shrink[::-1], self.up[::-1], finer[::-1]):
            x = convolutions(torch.cat([skip, shrink(x)], dim=1))
        return patchify(self.pred(x), self.patch_size)

    def _bottom(self, x: Tensor, z: Optional[Tensor]) -> Tensor:
        vectors: List[Optional[Tensor]] = [None, None]
        if self.mapping is not None and self.noise_embed is not None:
            z = given(z)
            w = self.mapping(z)
            noise = [w if self.noise_tokens == 'w_all' else z, w]
            vectors = [embed(vector)[:, :, None, None] for embed, vector in zip(self.noise_embed, noise)]
        for convolution, vector in zip(self.bottom, vectors):
            x = F.relu(convolution(x if vector is None else x + vector.to(x.dtype)))
        return x
