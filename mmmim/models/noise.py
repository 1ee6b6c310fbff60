"""Uniform and Gaussian noise for a batch, as a function of the samples' seeds."""

import math
from typing import List, Optional, Sequence

import torch
from torch import Tensor

from .. import randomness
from ..structures import DataSample


def draw_noise(images: Tensor, data_samples: Optional[List[DataSample]], shape: Sequence[int], stream: int) -> Tensor:
    """``[B, *shape]`` in [0, 1) on the images' device: from the samples' seeds, or, without them (a call outside the
    training loop), from torch's global generator."""
    seeds = sample_seeds(data_samples, images.device)
    if seeds is None:
        return torch.rand(images.shape[0], *shape, device=images.device)
    return randomness.uniform(seeds, shape, stream)


def sample_seeds(data_samples: Optional[List[DataSample]], device: torch.device) -> Optional[Tensor]:
    """The samples' seeds, ``[B]`` int64 on the device, or None without them."""
    if not data_samples or any('seed' not in sample for sample in data_samples):
        return None
    return torch.tensor([sample.seed for sample in data_samples], dtype=torch.int64).to(device, non_blocking=True)


def draw_normal(
    images: Tensor,
    data_samples: Optional[List[DataSample]],
    shape: Sequence[int],
    draws: int = 1,
    stream: int = randomness.LATENT,
) -> Tensor:
    """Standard normal numbers, by Box and Muller's transform of :func:`~mmmim.randomness.uniform`.

    Args:
        images: ``[B, ...]``, for the device and the dtype.
        data_samples: Their seeds determine the numbers. Without them (a call outside the training loop) they come from
            torch's global generator.
        shape: Shape for each sample.
        draws: Number of draws. The first draw is the same for any number of draws.
        stream: As in :func:`~mmmim.randomness.uniform`.

    Returns:
        ``[draws, B, *shape]``.
    """
    seeds = sample_seeds(data_samples, images.device)
    if seeds is None:
        return torch.randn(draws, images.shape[0], *shape, device=images.device, dtype=images.dtype)
    count = math.prod(shape)
    u = randomness.uniform(seeds, (draws, 2, (count + 1) // 2), stream)  # two uniform numbers make two normal ones
    radius = (-2 * torch.log(1 - u[:, :, 0])).sqrt()  # u lies in [0, 1): the logarithm is finite
    angle = 2 * math.pi * u[:, :, 1]
    normal = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=-1)[..., :count]
    return normal.transpose(0, 1).reshape(draws, images.shape[0], *shape).to(images.dtype)
