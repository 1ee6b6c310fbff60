"""What painted patches are like, beside their loss: how sharp, how far out of range, how much two draws differ.

A value of an image is one number, or two of which a quotient is made over all images (``[B, 2]``): a mean of the
quotients of single images would be ruled by those that have next to nothing to divide by.
"""

from typing import Callable, Dict

import torch
from torch import Tensor

from .patches import Size, patchify, to_2tuple


def gradient_energy(images: Tensor, patch_size: Size) -> Tensor:
    """Sum of squared differences of neighbouring pixels inside each patch, ``[B, C, H, W] -> [B, L]``; edges between
    patches, which are not painted by one prediction, do not count."""
    patches = patchify(images.float(), patch_size).unflatten(-1, (*to_2tuple(patch_size), -1))  # [B, L, P, P, C]
    down, across = (patches.diff(dim=side).square().sum(dim=(2, 3, 4)) for side in (2, 3))
    return down + across


def painted_quality(
    images: Tensor, completed: Tensor, removed: Tensor, patch_size: Size, to_pixels: Callable[[Tensor], Tensor]
) -> Dict[str, Tensor]:
    """Sharpness and out-of-range share of painted patches.

    Args:
        images: ``[B, C, H, W]``, normalised.
        completed: The same with painted patches.
        removed: ``[B, L]``, 1 where a patch is painted.
        patch_size: P.
        to_pixels: Normalised images to 0..255.

    Returns:
        ``sharpness [B, 2]``, :func:`gradient_energy` of the painted patches and of the true ones (their quotient: below
        1 the painted ones are smoother), and ``out_of_range [B]``, the share of painted values outside 0..255.
    """
    energies = [(gradient_energy(of, patch_size) * removed).sum(1) for of in (completed, images)]
    values = patchify(to_pixels(completed).float(), patch_size)
    outside = ((values < 0) | (values > 255)).float().mean(-1)  # [B, L]
    return dict(
        sharpness=torch.stack(energies, dim=1), out_of_range=(outside * removed).sum(1) / removed.sum(1).clamp(min=1)
    )


def difference_of_draws(first: Tensor, second: Tensor, truth: Tensor, removed: Tensor) -> Tensor:
    """How much two predictions of the same patches differ, and how wrong they are: ``[B, 2]``.

    Args:
        first, second, truth: ``[B, L, D]``.
        removed: ``[B, L]``, 1 for the patches that count.

    Returns:
        The mean squared difference, and the mean squared error of both. The root of their quotient is 0 where the draws
        are the same, and 1.4 where their errors are independent.
    """

    def mean_square(difference: Tensor) -> Tensor:
        return (difference.float().square().mean(-1) * removed).sum(1) / removed.sum(1).clamp(min=1)

    error = (mean_square(first - truth) + mean_square(second - truth)) / 2
    return torch.stack([mean_square(first - second), error], dim=1)
