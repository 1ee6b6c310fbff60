"""What is behind and under the things: sky, hills, walls and ground. Colours are linear light, channels first."""

import math
from dataclasses import dataclass
from typing import Optional, Tuple

import cv2
import numpy as np

from .noise import fractal_noise, value_noise
from .paint import Light, pair_of_colours, planes
from .textures import bricks, soft_step, stripes

STUFF = ('sky', 'hill', 'wall', 'ground')
SKY, HILL, WALL, GROUND = range(len(STUFF))
KINDS, KIND_SHARES = ('outdoors', 'indoors', 'from_above'), (0.5, 0.42, 0.08)
# in turns from red. A narrow range: the colour of the surroundings varies less than that of things, as in most
# photographs, and where it varies freely it is all that a small model learns in its first minutes
COOL, WARM = (0.55, 0.64), (0.05, 0.14)


@dataclass
class Place:
    """Where a scene is: ``kind`` is one of ``KINDS``, ``horizon`` the height of the ground's far end as a share of the
    frame from its top, None seen from above."""

    kind: str
    horizon: Optional[float]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> 'Place':
        kind = str(rng.choice(KINDS, p=KIND_SHARES))
        return cls(kind, None if kind == 'from_above' else rng.uniform(0.3, 0.55))


def draw_backdrop(rng: np.random.Generator, place: Place, side: int, light: Light) -> Tuple[np.ndarray, np.ndarray]:
    """An empty scene: its colours ``[3, side, side]`` and of what stuff each pixel is ``[side, side]``, uint8."""
    stuff = np.full((side, side), GROUND, np.uint8)
    facing_viewer, facing_up = float(light.direction[2]), max(float(-light.direction[1]), 0.25)
    if place.horizon is None:
        return _surface(rng, _material(rng, side)) * planes(light.ambient + light.sun * facing_viewer), stuff
    rows = int(place.horizon * side)
    ground = _perspective(rng, side, place.horizon)[:, rows:] * planes(light.ambient + light.sun * facing_up)
    if place.kind == 'outdoors':
        behind, stuff[:rows] = _landscape(rng, rows, side)
    else:
        behind = _wall(rng, rows, side) * planes(light.ambient + light.sun * 0.8 * facing_viewer)
        stuff[:rows] = WALL
    return np.concatenate([behind, ground], axis=1), stuff


def _landscape(rng: np.random.Generator, rows: int, size: int) -> Tuple[np.ndarray, np.ndarray]:
    """Sky above hills: colours ``[3, rows, size]`` and which of both ``[rows, size]``."""
    highest = rng.uniform(0.05, 0.4)
    ridge = rows * (1 - highest * np.clip(0.5 + 0.4 * fractal_noise(rng, (1, size), 3, 3), 0, 1))
    cover = soft_step(np.arange(rows, dtype=np.float32)[:, None] + 0.5 - ridge, 1.5)
    sky = _sky(rng, rows, size)
    dark, light = map(planes, pair_of_colours(rng, (0.35, 0.55), (0.05, 0.15), 0.2, (0.05, 0.4)))
    mix = np.clip(0.5 + 0.3 * fractal_noise(rng, (rows, size), 12, 3), 0, 1)
    haze = rng.uniform(0.1, 0.5)  # the air before what is far
    hills = (dark + (light - dark) * mix) * (1 - haze) + sky.mean((1, 2), keepdims=True) * haze
    return sky + (hills - sky) * cover, np.where(cover > 0.5, HILL, SKY)


def _sky(rng: np.random.Generator, rows: int, size: int) -> np.ndarray:
    """A gradient towards the horizon ``[3, rows, size]``, with clouds that are wider than high."""
    top, low = map(planes, pair_of_colours(rng, (0.6, 0.8), (0.05, 0.3), 0.18, COOL))
    y = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) / rows
    sky = np.broadcast_to(top + (low - top) * y**1.5, (3, rows, size))
    clouds = fractal_noise(rng, (2 * rows, size), rng.uniform(3, 6), 4)[::2] + rng.uniform(-1, 0.5)
    return sky + (np.float32(0.9) - sky) * (np.clip(clouds, 0, 1) * 0.6)


def _wall(rng: np.random.Generator, rows: int, size: int) -> np.ndarray:
    """Plaster, panels or bricks ``[3, rows, size]``, brighter on one side."""
    y, x = np.mgrid[:rows, :size].astype(np.float32) / size
    mix = 0.5 + 0.12 * fractal_noise(rng, x.shape, 6, 4)
    kind = rng.integers(3)
    if kind == 1:
        mix += 0.35 * stripes(rng.uniform(3, 6) * x + rng.random(), share=0.08, softness=0.04)
    elif kind == 2:
        count = rng.uniform(7, 10)
        mix += 0.2 * float(rng.choice([-1, 1])) * bricks(0.5 * count * x, count * y, 0.12)
    uneven = 1 + rng.uniform(-0.6, 0.6) * (x - 0.5) + 0.15 * value_noise(rng, x.shape, 2)
    return _surface(rng, mix, (0.58, 0.72), COOL) * np.clip(uneven, 0.4, 1.6)


def _material(rng: np.random.Generator, size: int) -> np.ndarray:
    """The mix of two colours ``[size, size]`` of something to stand on: earth, sand, boards or tiles."""
    shape = (size, size)
    mix = 0.5 + 0.14 * fractal_noise(rng, shape, rng.uniform(5, 12), 5, rng.uniform(0.5, 0.75))
    x, y = np.meshgrid(*[np.arange(size, dtype=np.float32) / size] * 2)
    kind = rng.integers(4)
    if kind == 2:
        boards = rng.uniform(3, 6) * x
        mix = mix + 0.12 * np.sin(12.9 * np.floor(boards) + rng.random()) + 0.3 * stripes(boards, 0.07, 0.03)
    elif kind == 3:
        count = rng.uniform(3, 6)
        lines = np.maximum(stripes(count * x, 0.07, 0.03), stripes(count * y, 0.07, 0.03))
        mix = mix + 0.25 * lines * float(rng.choice([-1, 1]))
    return mix


def _surface(
    rng: np.random.Generator,
    mix: np.ndarray,
    lightness: Tuple[float, float] = (0.45, 0.65),
    hues: Tuple[float, float] = WARM,
) -> np.ndarray:
    one, other = map(planes, pair_of_colours(rng, lightness, (0.1, 0.25), 0.16, hues))
    return one + (other - one) * np.clip(mix, -0.3, 1.3)


def _perspective(rng: np.random.Generator, size: int, horizon: float) -> np.ndarray:
    """A level ground from the horizon to the lower edge; what is far is blurred by its smallness, and hazy."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    distance = (1 - horizon) / np.maximum(y - horizon, 0.02)  # 1 at the lower edge
    angle = rng.uniform(-0.6, 0.6)
    across, away = (x - 0.5) * distance, distance * 0.5
    texture = _material(rng, size)
    places = (
        (math.cos(angle) * across + math.sin(angle) * away + 2) * size,
        (math.cos(angle) * away - math.sin(angle) * across + 2) * size,
    )
    sharp_and_soft = cv2.merge([texture, cv2.GaussianBlur(texture, (0, 0), 4)])
    sharp, soft = cv2.split(cv2.remap(sharp_and_soft, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))
    nearness = np.clip(1.6 / distance, 0, 1)
    mix = soft + (sharp - soft) * nearness
    mix = texture.mean() + (mix - texture.mean()) * (0.3 + 0.7 * nearness)
    return _surface(rng, mix)
