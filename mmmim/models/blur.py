"""Gaussian blur of batches, on the device."""
import math

import torch
from torch import Tensor
from torch.nn import functional as F


def gaussian_blur(images: Tensor, sigma: Tensor, max_sigma: float, truncate: float = 4.0) -> Tensor:
    """Blur each image by its own standard deviation, separably; the border is continued outwards.

    Args:
        images: ``[B, C, H, W]`` float.
        sigma: ``[B]`` pixels, above 0.
        max_sigma: No sigma is larger; the kernel's size follows from it without a look at the device.
        truncate: The kernel ends after so many standard deviations (SciPy's default).

    Returns:
        ``[B, C, H, W]``.
    """
    batch, channels, height, width = images.shape
    radius = max(1, math.ceil(truncate * max_sigma))
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma.to(images.dtype)[:, None])**2)
    kernel = kernel * (offsets.abs() <= (truncate * sigma.to(images.dtype))[:, None] + 0.5)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)  # [B * C, K]
    x = images.reshape(1, batch * channels, height, width)
    x = F.conv2d(F.pad(x, (0, 0, radius, radius), mode='replicate'), kernel[:, None, :, None], groups=batch * channels)
    x = F.conv2d(F.pad(x, (radius, radius, 0, 0), mode='replicate'), kernel[:, None, None, :], groups=batch * channels)
    return x.reshape(images.shape)
