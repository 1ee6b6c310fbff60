"""Edges by Canny's detector, on the device and for a whole batch."""

from typing import Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ...registry import MODELS
from ..layers.blur import blur_matrix
from ..patches import Size, patchify, to_2tuple
from .base import BaseTarget

LUMINANCE = (0.2125, 0.7154, 0.0721)  # of red, green and blue, as scikit-image's rgb2gray


@MODELS.register_module()
class CannyTarget(BaseTarget):
    """Canny's edges (1986) as 1 and 0, ``[B, L, P*P]``, by scikit-image's algorithm and defaults.

    Weak edges count where they touch strong ones, directly or through other weak ones. Such chains are followed for a
    fixed number of pixels: to follow them to their end, the device would have to report after each step.

    Args:
        grid_size: (h, w) patches (filled in by the algorithm).
        patch_size, in_chans: P and C (filled in by the algorithm). Other images than of 3 channels are averaged.
        sigma: Of the Gaussian before the gradients, in pixels.
        low, high: Thresholds of the gradient, in units of brightness in 0..1 under an unscaled Sobel operator.
        reach: Pixels for which chains of weak edges are followed.

    Raises:
        ValueError: sigma is not above 0, or the thresholds are not in order.
    """

    def __init__(
        self,
        grid_size: Tuple[int, int],
        patch_size: Size = 16,
        in_chans: int = 3,
        sigma: float = 1.0,
        low: float = 0.1,
        high: float = 0.2,
        reach: int = 32,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if not sigma > 0 or not 0 <= low <= high or reach < 0:
            raise ValueError(f'sigma={sigma} must be above 0, 0 <= low={low} <= high={high}, reach={reach} >= 0')
        self.patch_size, self.low, self.high, self.reach = to_2tuple(patch_size), low, high, reach
        self.out_dim = self.patch_size[0] * self.patch_size[1]
        weights = torch.tensor(LUMINANCE if in_chans == 3 else (1 / in_chans,) * in_chans)
        self.register_buffer('luminance', weights.reshape(1, -1, 1, 1), persistent=False)
        for name, side, patch in zip(('rows', 'columns'), grid_size, self.patch_size):
            matrix = blur_matrix(side * patch, sigma, border='leave_out').to(torch.get_default_dtype())
            self.register_buffer(name, matrix, persistent=False)
        self.set_image_statistics((0.0,) * in_chans, (255.0,) * in_chans)

    def set_image_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        for name, value in (('mean', mean), ('std', std)):
            self.register_buffer(f'image_{name}', torch.tensor(value).reshape(1, -1, 1, 1) / 255, persistent=False)

    def compute(self, images: Tensor) -> Tensor:
        gray = ((images * self.image_std + self.image_mean) * self.luminance).sum(dim=1, keepdim=True)
        return patchify(self.edges(gray).to(images.dtype), self.patch_size)

    def edges(self, gray: Tensor) -> Tensor:
        """``[B, 1, H, W]`` in 0..1 to booleans of the same shape."""
        across, down = _sobel(self.rows @ gray @ self.columns.T)
        thin, strength = _thin(across, down)
        weak = thin & (strength >= self.low)
        edges = weak & (strength >= self.high)
        for _ in range(self.reach):
            edges = weak & (F.max_pool2d(edges.to(gray.dtype), 3, 1, 1) > 0)
        return edges


def _sobel(x: Tensor) -> Tuple[Tensor, Tensor]:
    """Gradients across and down, ``[B, 1, H, W]`` each; the border pixel is continued."""
    x = F.pad(x, (1, 1, 1, 1), mode='replicate')
    across, down = x[..., 2:] - x[..., :-2], x[..., 2:, :] - x[..., :-2, :]
    across = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    return across, down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]


def _thin(across: Tensor, down: Tensor) -> Tuple[Tensor, Tensor]:
    """Where the gradient is no smaller than on both sides along its direction, and how strong it is.

    On each side it is interpolated between the straight neighbour nearest to the direction and the diagonal one.
    """
    strength = (across**2 + down**2).sqrt()
    padded = F.pad(strength, (1, 1, 1, 1))
    height, width = strength.shape[2:]

    def neighbour(rows: int, columns: int) -> Tensor:
        return padded[..., 1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]

    same_sign = across * down >= 0  # the gradient points down and right, or up and left
    steep = down.abs() >= across.abs()
    small, large = torch.minimum(across.abs(), down.abs()), torch.maximum(across.abs(), down.abs())
    weight = torch.where(large > 0, small / large.clamp(min=torch.finfo(large.dtype).tiny), 0)
    thin = strength > 0
    for step in (1, -1):
        # with opposite signs and a flat gradient, "ahead" is up and right
        straight = torch.where(
            steep, torch.where(same_sign, neighbour(step, 0), neighbour(-step, 0)), neighbour(0, step)
        )
        diagonal = torch.where(same_sign, neighbour(step, step), neighbour(-step, step))
        thin &= weight * diagonal + (1 - weight) * straight <= strength
    inside = F.pad(torch.ones_like(thin[..., 1:-1, 1:-1]), (1, 1, 1, 1))  # nobody knows what lies beyond the border
    return thin & inside, strength
