"""From outlines and patterns to lit surfaces. Colours are linear light, channels first: operations on
whole planes are ten times as fast as on triples."""

import math
from dataclasses import dataclass, replace
from typing import List, Optional, Tuple, Union

import cv2
import numpy as np

from .noise import fractal_noise

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # of linear RGB, ITU-R BT.709
GAMMA = 2.2
CONTACT = 0.07  # how far from a part's outline it darkens what is under it
Window = Tuple[slice, slice]


@dataclass
class Part:
    """A piece of an object's surface; later parts of an object lie upon earlier ones.

    Attributes:
        distance: Signed distance to its outline ``[h, w]``, see :mod:`.shapes`.
        pattern: How much of the second colour of its pair, in [0, 1]: ``[h, w]`` or a number.
        pair: Which of the object's pairs of colours.
        bevel: How far from the outline the surface turns towards the viewer; a circle with a
            bevel of its radius is a ball.
        height: The surface's height ``[h, w]`` instead of the bevel's, in the units of ``distance``.
        relief: Height of the second colour above the first.
    """

    distance: np.ndarray
    pattern: Union[float, np.ndarray] = 0.0
    pair: int = 0
    bevel: float = 0.2
    height: Optional[np.ndarray] = None
    relief: float = 0.0

    def crop(self, window: Window) -> 'Part':
        arrays = {
            name: getattr(self, name)[window]
            for name in ('distance', 'pattern', 'height')
            if isinstance(getattr(self, name), np.ndarray)
        }
        return replace(self, **arrays)


@dataclass
class Material:
    """What a thing is made of; drawn without looking at what the thing is.

    Attributes:
        palette: Pairs of colours ``[2, 3]``.
        grain: Unevenness ``[h, w]``, of standard deviation 1.
        mottling: How much the unevenness shows.
        gloss: Strength of highlights.
        sharpness: Exponent of patterns: large, and the first colour spreads; small, and the second does.
        lightness: Mean of the perceived lightness that it shows, in [0, 1].
        contrast: Standard deviation of the same.
    """

    palette: List[np.ndarray]
    grain: np.ndarray
    mottling: float
    gloss: float
    sharpness: float
    lightness: float
    contrast: float

    @classmethod
    def draw(cls, rng: np.random.Generator, shape: Tuple[int, int]) -> 'Material':
        palette = [
            pair_of_colours(rng, *ranges)
            for ranges in (
                ((0.4, 0.7), (0.42, 0.58), 0.45),
                ((0.3, 0.75), (0.2, 0.45), 0.45),
                ((0.5, 0.6), (0.5, 0.8), 0.3),
            )
        ]
        grain = fractal_noise(rng, shape, rng.uniform(3, 10), 4, 0.7)
        return cls(
            palette,
            grain,
            rng.uniform(0.05, 0.2),
            rng.uniform(0, 0.5),
            math.exp(rng.normal(0, 0.4)),
            rng.uniform(0.4, 0.65),
            rng.uniform(0.14, 0.22),
        )


@dataclass
class Light:
    """One distant light, and the light from everywhere.

    Attributes:
        direction: Unit vector towards the light: right, down, towards the viewer.
        sun: Colour ``[3]`` of the light.
        ambient: Colour ``[3]`` of the light from everywhere.
    """

    direction: np.ndarray
    sun: np.ndarray
    ambient: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> 'Light':
        azimuth, elevation = rng.uniform(0.1, 0.9) * np.pi, rng.uniform(0.4, 1.0)
        direction = np.array(
            [np.cos(azimuth) * np.cos(elevation), -np.sin(azimuth) * np.cos(elevation), np.sin(elevation)], np.float32
        )
        warmth = rng.normal(0, 0.02)
        tint = np.array([1 + warmth, 1, 1 - warmth], np.float32)
        ambient = rng.uniform(0.25, 0.55)
        return cls(direction, (1.35 - ambient) * tint, ambient * (2 - tint))


def pair_of_colours(
    rng: np.random.Generator,
    lightness: Tuple[float, float],
    contrast: Tuple[float, float],
    saturation: float,
    hues: Tuple[float, float] = (0, 1),
) -> np.ndarray:
    """Two colours ``[2, 3]`` whose perceived lightness (0 to 1) differs by a draw from ``contrast``, either way round.

    Args:
        rng: Where they are drawn from.
        lightness: Range of their mean lightness.
        contrast: Range of the difference of their lightness.
        saturation: The largest.
        hues: Range of the first hue, in turns from red; the second is often near it, as on things in the world.
    """
    middle, half = rng.uniform(*lightness), rng.uniform(*contrast) / 2 * rng.choice([-1, 1])
    hue = rng.uniform(*hues)
    hues = np.array([hue, hue + rng.normal(0, 0.25 * (hues[1] - hues[0]))])
    tints = np.clip(np.abs((hues[:, None] + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1, 0, 1)
    tints -= (tints @ LUMINANCE)[:, None]
    lights = np.clip(np.array([middle - half, middle + half]), 0.05, 0.97)[:, None]
    amount = saturation * rng.beta(1.5, 2.0, (2, 1))
    return (np.clip(lights + tints * amount * lights, 0.01, 1) ** GAMMA).astype(np.float32)


def planes(colour: np.ndarray) -> np.ndarray:
    """A colour ``[3]`` as ``[3, 1, 1]``."""
    return colour[:, None, None]


def paint(parts: List[Part], pitch: float, material: Material, light: Light) -> Tuple[np.ndarray, np.ndarray]:
    """Lit colours, times coverage, ``[3, h, w]`` and coverage ``[h, w]``.

    Args:
        parts: From the lowest to the topmost.
        pitch: Size of a pixel in the units of the parts' distances.
        material: Of the whole thing.
        light: The scene's light.
    """
    colour = np.zeros((3, *material.grain.shape), np.float32)
    coverage = np.zeros(material.grain.shape, np.float32)
    for part in parts:
        inside = np.clip(0.5 - part.distance / pitch, 0, 1)
        window = _around(inside > 0)
        if window is None:
            continue
        contact = 1 - 0.5 * np.exp(np.maximum(part.distance, 0) * (-1 / CONTACT))  # little light reaches into corners
        colour *= contact * (1 - inside)
        lit = shade(part.crop(window), pitch, material, material.grain[window], light)
        colour[(slice(None), *window)] += lit * inside[window]
        coverage += inside * (1 - coverage)
    return even_out(colour, coverage, material), coverage


def even_out(colour: np.ndarray, coverage: np.ndarray, material: Material) -> np.ndarray:
    """Give a painted thing the lightness and contrast of its material.

    Without this they would follow from its pattern: from how much of it is which colour, and from how fine it is.
    """
    luminance = np.tensordot(LUMINANCE, colour, 1) / np.maximum(coverage, 1e-3)
    lightness = np.maximum(luminance, 1e-4) ** np.float32(1 / GAMMA)
    # at half the resolution, which is the picture's
    shown, whole = (
        cv2.resize(field, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for field in (lightness, coverage)
    )
    if (whole > 0.99).sum() < 4:
        return colour
    shown = shown[whole > 0.99]
    factor = np.clip(material.contrast / max(float(shown.std()), 0.02), 0.5, 2)
    wanted = np.clip(material.lightness + (lightness - shown.mean()) * factor, 0.04, 1.1)
    return colour * (wanted / lightness) ** np.float32(GAMMA)


def _around(chosen: np.ndarray) -> Optional[Window]:
    """The smallest window around what is chosen ``[h, w]``; None if nothing is, or too little for a slope."""
    rows, columns = (np.flatnonzero(chosen.any(axis=axis)) for axis in (1, 0))
    if min(len(rows), len(columns)) < 2:
        return None
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def shade(part: Part, pitch: float, material: Material, grain: np.ndarray, light: Light) -> np.ndarray:
    """Colours ``[3, h, w]`` of a part's surface: diffuse (Lambert) and glossy (Blinn-Phong) reflection."""
    depth = np.clip(-part.distance / part.bevel, 0, 1)
    height = part.bevel * np.sqrt(np.maximum(1 - (1 - depth) ** 2, 0.02)) if part.height is None else part.height
    height = height + part.relief * part.pattern + 0.006 * grain
    height = cv2.GaussianBlur(height.astype(np.float32), (0, 0), 0.8)
    slope_v, slope_u = (slope / np.float32(pitch) for slope in np.gradient(height))
    length = np.sqrt(slope_u**2 + slope_v**2 + 1)
    right, down, towards = light.direction
    cosine = np.maximum((towards - slope_u * right - slope_v * down) / length, 0)
    halfway = light.direction + np.array([0, 0, 1], np.float32)
    halfway /= np.linalg.norm(halfway)
    glint = np.maximum((halfway[2] - slope_u * halfway[0] - slope_v * halfway[1]) / length, 0)
    for _ in range(5):
        glint *= glint  # to the power of 32
    open_sky = 0.55 + 0.45 * depth
    mix = np.broadcast_to(np.float32(part.pattern) ** np.float32(material.sharpness), grain.shape)
    low, high, sun, ambient = map(planes, (*material.palette[part.pair], light.sun, light.ambient))
    albedo = (low + (high - low) * mix) * (1 + material.mottling * grain)
    return albedo * (cosine * sun + open_sky * ambient) + material.gloss * glint * sun
