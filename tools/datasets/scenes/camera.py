"""From linear light to the picture a small camera would give."""

import cv2
import numpy as np

from .paint import GAMMA, planes


def blur(field: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur of ``[h, w]`` or of each plane of ``[3, h, w]``; ``sigma`` in pixels."""
    if sigma <= 0.2:
        return field
    if field.ndim == 3:
        return np.stack([blur(plane, sigma) for plane in field])
    return cv2.GaussianBlur(field, (0, 0), sigma)


def photograph(rng: np.random.Generator, light: np.ndarray, size: int, metered: float) -> np.ndarray:
    """A uint8 image ``[size, size, 3]`` of linear light ``[3, S, S]``.

    White balance, exposure for the linear light ``metered``, falling off towards the corners, a lens that is not quite
    sharp, a tone curve, and grain that is stronger in the dark.
    """
    side = light.shape[-1]
    balance = np.exp(rng.normal(0, [0.015, 0.005, 0.015])).astype(np.float32)
    exposure = rng.uniform(0.55, 0.59) ** GAMMA / max(metered, 0.02)
    across = (np.arange(side, dtype=np.float32) + 0.5) / (side / 2) - 1
    falloff = 1 - rng.uniform(0, 0.3) * (across[:, None] ** 2 + across**2) / 2
    image = blur(light * falloff * planes(balance * np.float32(exposure)), rng.uniform(0, 0.6) * side / 192)
    image = np.maximum(cv2.resize(cv2.merge(list(image)), (size, size), interpolation=cv2.INTER_AREA), 0)
    image = np.where(image < 0.5, image, 1 - 0.25 / np.maximum(image, 0.5)) ** (1 / GAMMA)  # highlights roll off
    image += rng.uniform(0, 0.6) * image * (1 - image) * (2 * image - 1)  # contrast: an S-curve
    amount = rng.uniform(0.003, 0.01)
    grain = rng.normal(0, amount, (size, size, 1)) + rng.normal(0, amount / 3, (size, size, 3))
    return (255 * np.clip(image + grain * (1.3 - image), 0, 1) + 0.5).astype(np.uint8)
