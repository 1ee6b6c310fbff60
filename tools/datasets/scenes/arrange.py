"""Where things stand, and each of them painted there."""

import math
from dataclasses import dataclass
from typing import List, Optional, Tuple

import cv2
import numpy as np

from .noise import value_noise
from .paint import Light, Material, paint
from .things import CLASSES, THINGS, filled

LOWEST = 0.95  # of a thing in its own frame, which spans [-1, 1]


@dataclass
class Pose:
    """Where a thing is, in shares of the picture's side.

    Attributes:
        label: Place in ``CLASSES``.
        center: Right and down from the picture's corner.
        extent: Side of the thing's own frame.
        angle: Turn in radians.
        dominant: Whether it is the thing that the picture is of.
    """

    label: int
    center: Tuple[float, float]
    extent: float
    angle: float
    dominant: bool = False

    @property
    def base(self) -> float:
        """Where it touches the ground; what is lower in the picture is nearer."""
        return self.center[1] + LOWEST / 2 * self.extent


@dataclass
class Sprite:
    """A painted thing.

    Attributes:
        pose: Where it is.
        window: The part of the frame that the arrays cover.
        colour: Linear light times coverage ``[3, h, w]``.
        coverage: ``[h, w]`` in [0, 1].
    """

    pose: Pose
    window: Tuple[slice, slice]
    colour: np.ndarray
    coverage: np.ndarray


def arrange(rng: np.random.Generator, label: int, horizon: Optional[float], shrink: float) -> List[Pose]:
    """A dominant thing and one to four others, from the nearest to the farthest.

    Args:
        rng: Where everything is drawn from.
        label: Class of the dominant thing; the others are of any class.
        horizon: Of the backdrop; None seen from above, where things lie in any order.
        shrink: Factor of the others' size.
    """
    # of an area that does not depend on the class: otherwise the amount of surroundings would tell it
    area = float(np.clip(rng.normal(0.45, 0.035), 0.3, 0.55))
    extent = math.sqrt(area / filled(label))
    x = 0.5 + rng.uniform(-0.15, 0.15)
    if horizon is None:
        y, turn = 0.5 + rng.uniform(-0.12, 0.12), 0.2
    else:
        y, turn = max(rng.uniform(0.7, 1.0), 0.98 * extent) - LOWEST / 2 * extent, 0.1
    dominant = Pose(label, (x, y), extent, rng.normal(0, turn), True)
    poses = [dominant]
    for _ in range(rng.choice(4, p=[0.25, 0.35, 0.25, 0.15]) + 1):
        other = int(rng.integers(len(CLASSES)))
        size = math.sqrt(area / filled(other)) * rng.uniform(0.28, 0.62) * shrink
        if horizon is None:
            around, away = rng.uniform(0, 2 * math.pi), rng.uniform(0.35, 0.75) * extent
            center = x + away * math.cos(around), y + away * math.sin(around)
        else:
            base = rng.uniform(horizon + 0.08, 1.03)
            size *= float(np.clip((base - horizon + 0.1) / (dominant.base - horizon + 0.1), 0.5, 1))
            center = x + rng.uniform(-1, 1) * (0.2 + 0.5 * extent), base - LOWEST / 2 * size
        poses.append(Pose(other, tuple(float(np.clip(c, 0.04, 0.96)) for c in center), size, rng.normal(0, turn)))
    if horizon is None:
        return [poses[i] for i in rng.permutation(len(poses))]
    return sorted(poses, key=lambda pose: -pose.base)


def paint_thing(rng: np.random.Generator, pose: Pose, side: int, light: Light) -> Sprite:
    """A thing of ``pose.label``, with proportions and colours of its own, in a frame of ``side`` pixels."""
    half = 0.5 * pose.extent * side
    aspect, shear = np.exp(rng.uniform(-0.12, 0.12)), rng.uniform(-0.12, 0.12)
    flip = rng.choice([-1, 1])
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    to_frame = half * np.array([[cos, -sin], [sin, cos]]) @ np.array([[flip * aspect, shear], [0, 1 / aspect]])
    reach = 1.1 * np.abs(to_frame).sum(axis=1)  # of the corners of the thing's own frame
    window = []
    for place, radius in zip(pose.center[::-1], reach[::-1]):
        window.append(slice(max(0, int(place * side - radius)), min(side, int(place * side + radius) + 2)))
    y, x = np.mgrid[tuple(window)].astype(np.float32)
    (a, b), (c, d) = np.linalg.inv(to_frame).astype(np.float32)
    x, y = x + 0.5 - np.float32(pose.center[0] * side), y + 0.5 - np.float32(pose.center[1] * side)
    u, v = a * x + b * y, c * x + d * y
    u, v = (w + 0.03 * value_noise(rng, u.shape, 3) for w in (u, v))  # nothing is quite regular
    material = Material.draw(rng, u.shape)
    # a material has a scale of its own: on larger things there is more of its pattern, down to what pixels can show
    parts = THINGS[CLASSES[pose.label]](u, v, rng, max(pose.extent / 0.7, 0.45))
    colour, coverage = paint(parts, 1 / half, material, light)
    return Sprite(pose, tuple(window), colour, coverage)


def cast_shadows(sprites: List[Sprite], side: int, horizon: Optional[float], light: Light) -> np.ndarray:
    """How much sunlight reaches each place of the ground ``[side, side]``, in [0, 1]."""
    lit = np.ones((side, side), np.float32)
    right, down, towards = (float(part) for part in light.direction)
    for sprite in sprites:
        rows, columns = sprite.window
        base, half = sprite.pose.base * side, sprite.pose.extent * side / 2
        if horizon is None:  # it lies: its shadow is beside it
            matrix = np.array(
                [
                    [1, 0, columns.start - 0.12 * half * right / towards],
                    [0, 1, rows.start - 0.12 * half * down / towards],
                ]
            )
        else:  # it stands: its shadow lies behind it, away from the light
            long, lean = 0.25 * towards / max(-down, 0.3), 0.6 * right / max(-down, 0.3)
            matrix = np.array(
                [[1, lean, columns.start + lean * (rows.start - base)], [0, long, base + long * (rows.start - base)]]
            )
        shadow = cv2.warpAffine(sprite.coverage, matrix, (side, side), flags=cv2.INTER_LINEAR)
        lit *= 1 - 0.9 * cv2.GaussianBlur(shadow, (0, 0), max(0.05 * half, 0.5))
    return lit
