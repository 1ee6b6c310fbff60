"""The only place that turns images into patches and back.

Two orders of the values inside a patch exist and must not be mixed: a convolution's weight flattens to ``(C, P, P)``
(:func:`gather_patches`, for the encoder's projection), the MAE target is ``(P, P, C)`` (:func:`patchify`). Patches run
row by row; H, W and the channel count are free; a patch may be a rectangle. A grid that is a whole multiple of a
coarser one has cells in each of its places: see :func:`split_cells`.
"""

from typing import Optional, Tuple, Union

import torch
from torch import Tensor

from ..positions import Grid, Size, grid_size, to_2tuple


def _windows(images: Tensor, patch_size: Size) -> Tensor:
    """``[B, C, H, W] -> [B, h, w, C, P, P]``, a view."""
    ph, pw = to_2tuple(patch_size)
    batch, channels, height, width = images.shape
    h, w = grid_size((height, width), patch_size)
    return images.reshape(batch, channels, h, ph, w, pw).permute(0, 2, 4, 1, 3, 5)


def patchify(images: Tensor, patch_size: Size) -> Tensor:
    """``[B, C, H, W] -> [B, L, P*P*C]``, values of a patch in the order (P, P, C)."""
    return _windows(images, patch_size).permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(1, 2)


def unpatchify(patches: Tensor, patch_size: Size, grid: Tuple[int, int]) -> Tensor:
    """Inverse of :func:`patchify`: ``[B, L, P*P*C] -> [B, C, H, W]`` for a grid of (h, w) patches.

    Raises:
        ValueError: The grid does not hold L patches, or a patch is no whole number of channels.
    """
    (ph, pw), (h, w) = to_2tuple(patch_size), grid
    batch, length, dim = patches.shape
    if length != h * w or dim % (ph * pw):
        raise ValueError(f'{length} patches of {dim} values do not fill a {h}x{w} grid of {ph}x{pw} patches')
    x = patches.reshape(batch, h, w, ph, pw, dim // (ph * pw))
    return x.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, h * ph, w * pw)


def composite(images: Tensor, painted: Union[Tensor, float], removed: Tensor, patch_size: Size) -> Tensor:
    """Painted patches where they are removed, the original elsewhere: ``[B, C, H, W]``.

    Args:
        images: ``[B, C, H, W]``.
        painted: ``[B, L, P*P*C]`` in the order of :func:`patchify`, or one value for all pixels.
        removed: ``[B, L]``, nonzero where a patch is removed.
        patch_size: P.
    """
    patches = torch.where(removed[..., None].bool(), painted, patchify(images, patch_size))
    return unpatchify(patches, patch_size, grid_size((images.shape[2], images.shape[3]), patch_size))


def gather_patches(images: Tensor, patch_size: Size, ids: Optional[Tensor] = None) -> Tensor:
    """Patches in the order (C, P, P), as in a convolution's flattened weight.

    Args:
        images: ``[B, C, H, W]``.
        patch_size: P.
        ids: ``[B, L_v]`` indices of the patches to take; only these are copied. None takes all.

    Returns:
        ``[B, L_v, C*P*P]`` (``[B, L, C*P*P]`` without ids).
    """
    windows = _windows(images, patch_size)
    if ids is None:
        return windows.flatten(3).flatten(1, 2)
    columns = windows.shape[2]
    batch = torch.arange(images.shape[0], device=images.device)[:, None]
    rows = torch.div(ids, columns, rounding_mode='floor')
    return windows[batch, rows, ids - rows * columns].flatten(2)


def patch_statistics(patches: Tensor) -> Tuple[Tensor, Tensor]:
    """Mean and unbiased variance of each patch, both ``[B, L, 1]``."""
    mean = patches.mean(dim=-1, keepdim=True)
    return mean, _variance(patches - mean)


def _variance(centered: Tensor) -> Tensor:
    # torch.var is fifty times as slow on a CPU. A square of the norm alone would overflow in float16
    return (torch.linalg.vector_norm(centered, dim=-1, keepdim=True) / (centered.shape[-1] - 1) ** 0.5) ** 2


def normalize_patches(patches: Tensor, eps: float = 1e-6) -> Tensor:
    """Per-patch normalisation of MAE: subtract the mean, divide by sqrt(variance + eps). ``[B, L, D]``."""
    centered = patches - patches.mean(dim=-1, keepdim=True)
    scale = (_variance(centered) + eps).sqrt()
    return centered / scale if centered.requires_grad else centered.div_(scale)


def denormalize_patches(prediction: Tensor, original: Tensor, eps: float = 1e-6) -> Tensor:
    """Undo :func:`normalize_patches` with the statistics of the original patches.

    For pictures only, labelled so: the original's own mean and variance leak the ground truth.
    """
    mean, var = patch_statistics(original)
    return prediction * (var + eps).sqrt() + mean


def cells_per_place(fine: Grid, coarse: Grid) -> Grid:
    """Number of cells of the fine grid in a place of the coarse one, down and across.

    Raises:
        ValueError: Not a whole number of them.
    """
    if min(coarse) < 1 or fine[0] % coarse[0] or fine[1] % coarse[1]:
        raise ValueError(f'a grid of {fine[0]}x{fine[1]} is no whole multiple of one of {coarse[0]}x{coarse[1]}')
    return fine[0] // coarse[0], fine[1] // coarse[1]


def split_cells(x: Tensor, coarse: Grid, cells: Grid) -> Tensor:
    """``[B, h*w, ch*cw*D]``, for each place its cells row by row, to ``[B, (h*ch)*(w*cw), D]`` row by row."""
    (h, w), (down, across) = coarse, cells
    x = x.reshape(x.shape[0], h, w, down, across, -1)
    return x.transpose(2, 3).reshape(x.shape[0], h * down * w * across, -1)


def join_cells(x: Tensor, coarse: Grid, cells: Grid) -> Tensor:
    """Inverse of :func:`split_cells`."""
    (h, w), (down, across) = coarse, cells
    x = x.reshape(x.shape[0], h, down, w, across, -1)
    return x.transpose(2, 3).reshape(x.shape[0], h * w, -1)


def regrid(x: Tensor, old: Grid, new: Grid) -> Tensor:
    """Values on a grid to another one, ``[B, h*w, D] -> [B, h'*w', D]``: the mean of finer cells, or repeats of coarser
    ones.

    Raises:
        ValueError: Neither is a whole multiple of the other.
    """
    if old == new:
        return x
    if old[0] < new[0]:
        down, across = cells = cells_per_place(new, old)
        return split_cells(x.repeat(1, 1, down * across), old, cells)
    (h, w), (down, across) = new, cells_per_place(old, new)
    return x.reshape(x.shape[0], h, down, w, across, -1).mean(dim=(2, 4)).flatten(1, 2)
