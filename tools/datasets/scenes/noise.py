"""Smooth random fields, the raw material of every surface."""

from typing import Tuple

import cv2
import numpy as np


def value_noise(rng: np.random.Generator, shape: Tuple[int, int], cells: float) -> np.ndarray:
    """Smooth noise ``[h, w]`` of mean 0 and standard deviation near 1, with ``cells`` bumps along the longer side."""
    longest = max(shape)
    rows, columns = (max(2, round(cells * side / longest) + 1) for side in shape)
    lattice = rng.uniform(-1.7, 1.7, (rows, columns)).astype(np.float32)
    return cv2.resize(lattice, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def fractal_noise(
    rng: np.random.Generator, shape: Tuple[int, int], cells: float, octaves: int, persistence: float = 0.55
) -> np.ndarray:
    """Octaves of :func:`value_noise` ``[h, w]``, each of twice the frequency and ``persistence`` times the amplitude.

    The amplitudes are scaled so that the standard deviation stays near 1.
    """
    amplitudes = persistence ** np.arange(octaves)
    amplitudes /= np.sqrt((amplitudes**2).sum())
    field = np.zeros(shape, np.float32)
    for octave, amplitude in enumerate(amplitudes):
        field += np.float32(amplitude) * value_noise(rng, shape, min(cells * 2**octave, max(shape)))
    return field
