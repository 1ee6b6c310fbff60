"""Masks as COCO's polygons and boxes.

Coordinates are those of pixel edges, as in the COCO tools: a mask of the pixel (0, 0) alone is the polygon (0, 0),
(1, 0), (1, 1), (0, 1), and the box [0, 0, 1, 1].
"""

from typing import List

import cv2
import numpy as np

# how far a simplified outline may be from the pixels' edges, in pixels, from the coarsest on; and how well it must fit
TOLERANCES = (0.6, 0.4, 0.0)
LEAST_OVERLAP = 0.95
SMALLEST_HOLE = 4  # pixels; a smaller one is filled


def bounding_box(mask: np.ndarray) -> List[int]:
    """``[x, y, width, height]`` of a mask ``[h, w]`` that is not empty."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]


def polygons(mask: np.ndarray) -> List[List[float]]:
    """The outlines of a mask ``[h, w]``: one ``[x1, y1, x2, y2, ...]`` for each of its parts.

    A part with a hole is cut in two through the hole, as COCO's polygons have none. An outline runs along the pixels'
    edges, with small steps straightened as far as it still fits.
    """
    found = []
    for component in _components(mask):
        for part in _without_holes(component):
            found.append(_outline(part))
    return found


def rasterize(polygon: List[float], shape: tuple) -> np.ndarray:
    """The pixels ``[h, w]`` whose centre is inside."""
    x, y = np.array(polygon).reshape(-1, 2).T
    rows, columns = (np.arange(side) + 0.5 for side in shape)
    inside = np.zeros(shape, bool)
    for x1, y1, x2, y2 in zip(x, y, np.roll(x, -1), np.roll(y, -1)):
        if y1 != y2:
            crosses = (rows < y1) != (rows < y2)
            inside ^= crosses[:, None] & (columns[None] < (x1 + (rows - y1) * (x2 - x1) / (y2 - y1))[:, None])
    return inside


def _components(mask: np.ndarray) -> List[np.ndarray]:
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    return [labels == k for k in range(1, count)]


def _without_holes(mask: np.ndarray) -> List[np.ndarray]:
    """Parts ``[h, w]`` of one connected mask, none of which encloses anything."""
    outside = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    # what is closed in by pixels that meet at a corner counts as a hole: the outline would run past it
    count, labels, stats, _ = cv2.connectedComponentsWithStats(outside, connectivity=4)
    surrounds = labels[0, 0]
    holes = [k for k in range(1, count) if k != surrounds and stats[k, cv2.CC_STAT_AREA] >= SMALLEST_HOLE]
    if not holes:
        return [mask]
    largest = max(holes, key=lambda k: stats[k, cv2.CC_STAT_AREA])
    middle = stats[largest, cv2.CC_STAT_LEFT] + stats[largest, cv2.CC_STAT_WIDTH] // 2 - 1  # one for the padding
    left = mask.copy()
    left[:, middle:] = False
    return [
        part for half in (left, mask & ~left) for component in _components(half) for part in _without_holes(component)
    ]


def _outline(mask: np.ndarray) -> List[float]:
    """The simplest polygon that fits a connected mask without holes."""
    x, y, width, height = bounding_box(mask)
    part = mask[y : y + height, x : x + width]
    # a lattice of half pixels: pixel (r, c) covers the points 2 r ... 2 r + 2, 2 c ... 2 c + 2, those on its edges too,
    # so that the contour through the outermost points runs along the edges
    lattice = np.zeros((2 * height + 1, 2 * width + 1), np.uint8)
    lattice[1::2, 1::2] = part
    lattice = cv2.dilate(lattice, np.ones((3, 3), np.uint8))
    contours, _ = cv2.findContours(lattice, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    contour = max(contours, key=len)
    for tolerance in TOLERANCES:
        corners = cv2.approxPolyDP(contour, 2 * tolerance, True)[:, 0] / 2 if tolerance else contour[:, 0] / 2
        if len(corners) >= 3:
            drawn = rasterize(corners.ravel().tolist(), part.shape)
            if (drawn & part).sum() >= LEAST_OVERLAP * (drawn | part).sum():
                break
    return (corners + (x, y)).ravel().tolist()
