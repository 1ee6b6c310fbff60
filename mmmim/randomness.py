"""Stateless randomness: every draw is a function of seed, epoch, index and stream.

A counter-based generator (the finaliser of SplitMix64, Steele et al. 2014) turns ``(seed, epoch, index, stream)`` into
numbers, on the host for single values and on the device for whole batches, with the same result on both. Nothing is
stored in a checkpoint and nothing depends on how many workers or ranks there are.
"""

import random
from typing import List, Sequence

import numpy as np
import torch
from torch import Tensor

# One number for each use, so that two uses never get the same draw. Never change one: resumed runs would differ.
AUGMENT, MASK, REPLACE, ORDER, STEP, LATENT, VIEW, FIT, TARGET_MASK, UNCHANGED, REPEAT = range(1, 12)

_MASK64 = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_M1, _M2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _mix64(x: int) -> int:
    x = ((x ^ (x >> 30)) * _M1) & _MASK64
    x = ((x ^ (x >> 27)) * _M2) & _MASK64
    return x ^ (x >> 31)


def derive(*parts: int) -> int:
    """Hash integers into a seed in [0, 2**63). ``derive(a, b)`` and ``derive(b, a)`` differ."""
    state = 0
    for part in parts:
        state = _mix64((state + _GOLDEN + int(part)) & _MASK64)
    return state >> 1


def seed_generators(seed: int, devices: bool = True) -> None:
    """Seed Python's, NumPy's and torch's global generators: for the augmentation of one sample, or for one step.

    Args:
        seed: In [0, 2**63).
        devices: Also those of accelerators; without them it takes 1% of the time, which matters once per sample.
    """
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    (torch.manual_seed if devices else torch.default_generator.manual_seed)(seed)


def generator_state() -> List[Tensor]:
    """The states of torch's global generators, the host's and the current device's, for :func:`set_generator_state`."""
    devices = [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *devices]


def set_generator_state(state: Sequence[Tensor]) -> None:
    """Let torch's global generators draw again what they drew after :func:`generator_state`."""
    torch.set_rng_state(state[0])
    for device in state[1:]:
        torch.cuda.set_rng_state(device)


def _signed(x: int) -> int:
    """The two's complement reading of an unsigned 64-bit number, which is what torch.int64 holds."""
    return x - (1 << 64) if x >= 1 << 63 else x


def _shift_right(x: Tensor, bits: int) -> Tensor:
    # torch shifts int64 arithmetically; the mask turns it into a logical shift
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def uniform(seeds: Tensor, shape: Sequence[int], stream: int) -> Tensor:
    """Uniform numbers in [0, 1) for a batch, drawn on the device of ``seeds`` without any generator.

    Args:
        seeds: ``[B]`` int64, one seed per sample.
        shape: Shape for each sample.
        stream: The use (``MASK``, ``LATENT`` ...); other streams give independent numbers.

    Returns:
        ``[B, *shape]`` float32, multiples of 2**-24; bit-identical on every device.
    """
    count = int(np.prod(shape))
    counter = torch.arange(1, count + 1, device=seeds.device, dtype=torch.int64) * _signed(_GOLDEN)
    key = seeds * _signed(_M1) + _signed(derive(stream) * 2 & _MASK64)
    x = _mix_tensor(_mix_tensor(key)[:, None] + counter)
    return (_shift_right(x, 40).float() * 2**-24).reshape(len(seeds), *shape)


def _mix_tensor(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _signed(_M1)
    x = (x ^ _shift_right(x, 27)) * _signed(_M2)
    return x ^ _shift_right(x, 31)
