"""The only place that turns images into patches and back.

Two orders of the values inside a patch exist and must not be mixed: a convolution's weight flattens to ``(C, P, P)``
(:func:`gather_patches`, for the encoder's projection), the MAE target is ``(P, P, C)`` (:func:`patchify`).
Patches run row by row; H, W and the channel count are free; a patch may be a rectangle.
"""

from typing import Optional, Tuple, Union

import torch
from torch import Tensor

Size = Union[int, Tuple[int, int]]


def to_2tuple(size: Size) -> Tuple[int, int]:
    """``16 -> (16, 16)``; pairs (height, width) stay."""
    if isinstance(size, int):
        return size, size
    height, width = size
    return int(height), int(width)


def grid_size(img_size: Size, patch_size: Size) -> Tuple[int, int]:
    """Patches down and across.

    Raises:
        ValueError: The patch does not divide the image.
    """
    (h, w), (ph, pw) = to_2tuple(img_size), to_2tuple(patch_size)
    if min(h, w, ph, pw) < 1 or h % ph or w % pw:
        raise ValueError(
            f'an image of {h}x{w} pixels cannot be cut into patches of {ph}x{pw}: the patch size must '
            f'divide the image size. Nearest image size that fits: '
            f'{max(1, round(h / max(ph, 1))) * ph}x{max(1, round(w / max(pw, 1))) * pw}'
        )
    return h // ph, w // pw


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


def gather_patches(images: Tensor, patch_size: Size, ids: Optional[Tensor] = None) -> Tensor:
    """Patches in the order (C, P, P), as a convolution's flattened weight wants them.

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
    batch = torch.arange(len(images), device=images.device)[:, None]
    rows = torch.div(ids, columns, rounding_mode='floor')
    return windows[batch, rows, ids - rows * columns].flatten(2)


def patch_statistics(patches: Tensor) -> Tuple[Tensor, Tensor]:
    """Mean and unbiased variance of each patch, both ``[B, L, 1]``."""
    mean = patches.mean(dim=-1, keepdim=True)
    return mean, _variance(patches - mean)


def _variance(centered: Tensor) -> Tensor:
    # torch.var goes through the values one by one on a CPU: fifty times as long. A square of the norm alone would
    # overflow in float16
    return (torch.linalg.vector_norm(centered, dim=-1, keepdim=True) / (centered.shape[-1] - 1) ** 0.5) ** 2


def normalize_patches(patches: Tensor, eps: float = 1e-6) -> Tensor:
    """Per-patch normalisation of MAE: subtract the mean, divide by sqrt(variance + eps). ``[B, L, D]``."""
    centered = patches - patches.mean(dim=-1, keepdim=True)
    scale = (_variance(centered) + eps).sqrt()
    return centered / scale if centered.requires_grad else centered.div_(scale)


def denormalize_patches(prediction: Tensor, original: Tensor, eps: float = 1e-6) -> Tensor:
    """Undo :func:`normalize_patches` with the statistics of the original patches.

    For pictures only, and to be labelled so: the original's own mean and variance leak the ground truth.
    """
    mean, var = patch_statistics(original)
    return prediction * (var + eps).sqrt() + mean
