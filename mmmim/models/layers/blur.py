"""Gaussian blur of batches, on the device."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..build import check_choice


def gaussian_blur(images: Tensor, sigma: Tensor, max_sigma: float, truncate: float = 4.0) -> Tensor:
    """Blur each image with its own standard deviation, separably; the border is replicated.

    Args:
        images: ``[B, C, H, W]`` float.
        sigma: ``[B]`` pixels, above 0.
        max_sigma: Upper bound of sigma; the kernel's size follows from it without a device synchronisation.
        truncate: Standard deviations after which the kernel ends (SciPy's default).

    Returns:
        ``[B, C, H, W]``.
    """
    batch, channels, height, width = images.shape
    radius = max(1, math.ceil(truncate * max_sigma))
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma.to(images.dtype)[:, None]) ** 2)
    kernel = kernel * (offsets.abs() <= (truncate * sigma.to(images.dtype))[:, None] + 0.5)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)  # [B * C, K]
    x = images.reshape(1, batch * channels, height, width)
    x = F.conv2d(F.pad(x, (0, 0, radius, radius), mode='replicate'), kernel[:, None, :, None], groups=batch * channels)
    x = F.conv2d(F.pad(x, (radius, radius, 0, 0), mode='replicate'), kernel[:, None, None, :], groups=batch * channels)
    return x.reshape(images.shape)


def blur_matrix(size: int, sigma: float, border: str = 'continue', truncate: float = 4.0) -> Tensor:
    """A Gaussian blur of one axis as a matrix, for many images by one sigma: ``rows @ images @ columns.T``.

    With kernels as long as a good part of the image, two matrix products take a fraction of the time of convolutions
    of single channels.

    Args:
        size: Pixels of the axis.
        sigma: Pixels, above 0.
        border: Values outside: ``'continue'`` the border pixel (as :func:`gaussian_blur`), ``'leave_out'`` nothing, the
            weights inside being scaled to sum to 1.
        truncate: Standard deviations after which the kernel ends (SciPy's default).

    Returns:
        ``[size, size]`` float64.
    """
    check_choice('border', border, ('continue', 'leave_out'))
    radius = int(truncate * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    places = torch.arange(size)[:, None] + offsets.long()  # [size, K]: where each weight falls
    weights = (kernel / kernel.sum()).expand_as(places)
    if border == 'leave_out':
        weights = weights * ((places >= 0) & (places < size))
        weights = weights / weights.sum(dim=1, keepdim=True)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.scatter_add_(1, places.clamp(0, size - 1), weights)
