"""Histograms of oriented gradients."""

import math
from typing import Optional

import torch
from torch import Tensor
from torch.nn import functional as F

from ...registry import MODELS
from ..build import check_choice
from ..patches import Size, to_2tuple
from .base import BaseTarget


@MODELS.register_module()
class HOGTarget(BaseTarget):
    """HOG (Dalal & Triggs, 2005) of each channel, ``[B, L, C * num_bins * cells in a patch]``.

    The values are MaskFeat's (Wei et al., 2021), for images and patches of any size; mmpretrain's ``HOGGenerator``,
    equal to it within 1e-6, cuts every image into 14 x 14 patches. With ``gradient='central'`` and no window they are
    those of scikit-image's ``hog`` with one cell a block.

    Args:
        patch_size, in_chans: P and C (filled in by the algorithm).
        num_bins: Orientations in half a turn.
        cell_size: Pixels; must divide the patch. None: half a patch, as MaskFeat's 8 of 16 pixels.
        gradient: ``'sobel'`` with the angle taken from the vertical (MaskFeat), or ``'central'`` differences with the
            angle from the horizontal (Dalal & Triggs). The two have their bins half a bin apart.
        window: Side in pixels of the Gaussian window, of a standard deviation of half of it, that weights the gradients
            and is repeated over the image; must divide it. None: the patch (MaskFeat's 16). 0: none.

    Each cell's histogram is scaled to length 1.

    Raises:
        ValueError: A cell that does not divide the patch, or another choice.
    """

    def __init__(
        self,
        patch_size: Size = 16,
        in_chans: int = 3,
        num_bins: int = 9,
        cell_size: Optional[Size] = None,
        gradient: str = 'sobel',
        window: Optional[Size] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        check_choice('gradient', gradient, ('sobel', 'central'))
        if num_bins < 1:
            raise ValueError(f'num_bins={num_bins} must be at least 1')
        self.patch_size = to_2tuple(patch_size)
        self.cell = to_2tuple(cell_size) if cell_size is not None else tuple(max(1, p // 2) for p in self.patch_size)
        if any(cell < 1 or patch % cell for patch, cell in zip(self.patch_size, self.cell)):
            raise ValueError(
                f'cells of {self.cell[0]}x{self.cell[1]} pixels do not divide a patch of '
                f'{self.patch_size[0]}x{self.patch_size[1]}'
            )
        self.num_bins, self.gradient, self.in_chans = num_bins, gradient, in_chans
        self.cells = tuple(patch // cell for patch, cell in zip(self.patch_size, self.cell))  # in a patch
        self.out_dim = in_chans * num_bins * self.cells[0] * self.cells[1]
        sides = self.patch_size if window is None else to_2tuple(window)
        kernel = _bell(sides[0])[:, None] * _bell(sides[1]) if min(sides) > 0 else None
        self.register_buffer('kernel', None if kernel is None else kernel / kernel.sum(), persistent=False)

    def compute(self, images: Tensor) -> Tensor:
        histograms = self.histograms(images)  # [B, C, N, H / cell, W / cell]
        batch, _, _, rows, columns = histograms.shape
        (down, across) = self.cells
        x = histograms.flatten(1, 2).unflatten(3, (columns // across, across)).unflatten(2, (rows // down, down))
        return x.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, self.out_dim)  # values of a patch: (C, N, down, across)

    def histograms(self, images: Tensor) -> Tensor:
        """``[B, C, H, W]`` to the histograms of all cells ``[B, C, num_bins, H / cell, W / cell]``."""
        dx, dy = self._gradients(images)
        angle = torch.atan2(dx, dy) if self.gradient == 'sobel' else torch.atan2(dy, dx)
        # the remainder of floats, which takes a tenth of the time of that of integers
        bins = (angle * (self.num_bins / math.pi)).floor().remainder(self.num_bins).int()
        magnitude = torch.hypot(dx, dy)
        batch, channels, height, width = magnitude.shape
        if self.kernel is not None:
            down, across = height // self.kernel.shape[0], width // self.kernel.shape[1]
            magnitude = magnitude * self.kernel.to(magnitude.dtype).repeat(down, across)
        rows = torch.arange(height, device=images.device, dtype=torch.int32) // self.cell[0]
        columns = torch.arange(width, device=images.device, dtype=torch.int32) // self.cell[1]
        grid = (height // self.cell[0], width // self.cell[1])
        place = (bins * grid[0] + rows[:, None]) * grid[1] + columns  # of each pixel in (N, rows, columns)
        sums = magnitude.new_zeros(batch, channels, self.num_bins * grid[0] * grid[1])
        sums.scatter_add_(2, place.long().flatten(2), magnitude.flatten(2))
        return F.normalize(sums.unflatten(2, (self.num_bins, *grid)), dim=2)

    def _gradients(self, images: Tensor) -> tuple:
        """Across and down, ``[B, C, H, W]`` each; at the border the image is mirrored."""
        x = F.pad(images, (1, 1, 1, 1), mode='reflect')
        across, down = x[..., 2:] - x[..., :-2], x[..., 2:, :] - x[..., :-2, :]
        if self.gradient == 'central':
            return across[..., 1:-1, :], down[..., 1:-1]
        across = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
        return -across, -(down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:])  # MaskFeat's sign, felt at bin borders


def _bell(length: int) -> Tensor:
    """A Gaussian of standard deviation ``length // 2`` over so many pixels."""
    places = torch.arange(length, dtype=torch.get_default_dtype())
    return torch.exp(-0.5 * ((places - places.mean()) / max(1, length // 2)) ** 2)
