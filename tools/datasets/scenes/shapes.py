"""Signed distances to outlines: negative inside, in the units of the coordinates.

``u`` points right, ``v`` down; an object fills about [-1, 1] in both. All take and give ``[h, w]`` arrays.
"""

from typing import Optional, Sequence, Tuple

import numpy as np

Point = Tuple[float, float]


def circle(u: np.ndarray, v: np.ndarray, center: Point, radius: float) -> np.ndarray:
    return np.hypot(u - center[0], v - center[1]) - radius


def ring(u: np.ndarray, v: np.ndarray, center: Point, radius: float, width: float) -> np.ndarray:
    """A band of a full ``width`` around a circle."""
    return np.abs(circle(u, v, center, radius)) - width / 2


def ellipse(u: np.ndarray, v: np.ndarray, center: Point, radii: Point) -> np.ndarray:
    """First-order distance: the implicit function over the length of its gradient; exact on the outline."""
    x, y = u - center[0], v - center[1]
    level = np.hypot(x / radii[0], y / radii[1])
    slope = np.hypot(x / radii[0] ** 2, y / radii[1] ** 2)
    return np.where(level > 1e-3, level * (level - 1) / np.maximum(slope, 1e-6), -min(radii)).astype(np.float32)


def box(u: np.ndarray, v: np.ndarray, center: Point, half: Point, corner: float = 0.0) -> np.ndarray:
    """A rectangle with rounded corners; ``half`` is half its width and height."""
    x = np.abs(u - center[0]) - half[0] + corner
    y = np.abs(v - center[1]) - half[1] + corner
    return np.hypot(np.maximum(x, 0), np.maximum(y, 0)) + np.minimum(np.maximum(x, y), 0) - corner


def capsule(
    u: np.ndarray, v: np.ndarray, start: Point, end: Point, radius: float, end_radius: Optional[float] = None
) -> np.ndarray:
    """A thick line with round ends; its radius may change linearly (then a first-order distance)."""
    x, y = u - start[0], v - start[1]
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip((x * dx + y * dy) / (dx * dx + dy * dy), 0, 1)
    thickness = radius if end_radius is None else radius + (end_radius - radius) * along
    return np.hypot(x - along * dx, y - along * dy) - thickness


def polygon(u: np.ndarray, v: np.ndarray, corners: Sequence[Point]) -> np.ndarray:
    """A simple polygon: the distance to the nearest edge, signed by the parity of crossings to the right."""
    nearest = np.full(u.shape, np.inf, np.float32)
    inside = np.zeros(u.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]]):
        nearest = np.minimum(nearest, capsule(u, v, (ax, ay), (bx, by), 0.0))
        if ay != by:
            crosses = (v < ay) != (v < by)
            inside ^= crosses & (u < ax + (v - ay) * ((bx - ax) / (by - ay)))
    return np.where(inside, -nearest, nearest)


def union(*distances: np.ndarray) -> np.ndarray:
    return np.minimum.reduce(distances)


def intersection(*distances: np.ndarray) -> np.ndarray:
    return np.maximum.reduce(distances)


def cut(distance: np.ndarray, hole: np.ndarray) -> np.ndarray:
    return np.maximum(distance, -hole)


def blend(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    """A union with a fillet of about ``radius``."""
    overlap = np.maximum(radius - np.abs(a - b), 0)
    return np.minimum(a, b) - overlap * overlap / (4 * radius)
