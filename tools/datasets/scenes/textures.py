"""Patterns of things: functions of surface coordinates to how much of the second colour there is, in [0, 1].

They differ between classes in form, not in brightness. Soft steps keep edges smooth: ``edge`` is the width of a pixel
in the unit of the pattern's phase.
"""

import numpy as np


def soft_step(x: np.ndarray, edge: float) -> np.ndarray:
    """0 below zero, 1 above, linear over ``edge``."""
    return np.clip(x / edge + 0.5, 0, 1)


def stripes(phase: np.ndarray, share: float = 0.5, softness: float = 0.25) -> np.ndarray:
    """Bands: ``share`` of each period of 1 is the second colour."""
    distance = np.abs(phase - np.floor(phase) - 0.5)  # 0 in the middle of a band
    return soft_step(share / 2 - distance, softness)


def checks(p: np.ndarray, q: np.ndarray, softness: float = 0.3) -> np.ndarray:
    return np.clip(0.5 + np.sin(2 * np.pi * p) * np.sin(2 * np.pi * q) / softness, 0, 1)


def weave(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Strands over and under each other, lighter in their middle: a basket's."""
    over = np.sin(np.pi * p) * np.sin(np.pi * q) > 0
    across = np.where(over, np.abs(np.sin(np.pi * q)), np.abs(np.sin(np.pi * p)))
    return np.where(over, soft_step(across - 0.3, 0.5), 0.2 * across)


def bricks(p: np.ndarray, q: np.ndarray, mortar: float = 0.18) -> np.ndarray:
    """Rows of bricks, every second one shifted by half; 1 in the mortar."""
    row = np.floor(q)
    x, y = p + 0.5 * (row % 2), q - row
    x = x - np.floor(x)
    gap = np.minimum(np.minimum(x, 1 - x) * 2, np.minimum(y, 1 - y))
    return soft_step(mortar / 2 - gap, 0.12)


def scales(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Overlapping round scales in shifted rows: light in the middle of a scale, dark along its rim."""
    rim = np.zeros_like(p)
    for shift in (1, 0):  # the row behind first
        row = np.floor(p) + shift
        x, y = p - row, q + 0.5 * (row % 2)
        distance = np.hypot(x, (y - np.floor(y) - 0.5) * 1.15)
        rim = np.where(distance < 0.72, distance / 0.72, rim)
    return np.clip((rim - 0.35) / 0.6, 0, 1) ** 1.5


def dots(p: np.ndarray, q: np.ndarray, radius: float = 0.3, softness: float = 0.2) -> np.ndarray:
    """Round dots, one in each unit cell, every second row shifted."""
    row = np.floor(q)
    x = p + 0.5 * (row % 2)
    return soft_step(radius - np.hypot(x - np.floor(x) - 0.5, q - row - 0.5), softness)


def zigzag(p: np.ndarray, q: np.ndarray, height: float = 0.5, share: float = 0.5) -> np.ndarray:
    """Stripes along ``p`` that go up and down with it."""
    return stripes(q + height * 2 * np.abs(p - np.floor(p) - 0.5), share)
