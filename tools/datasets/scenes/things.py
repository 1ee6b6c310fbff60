"""The ten classes: how a thing of each kind is put together.

A function takes the coordinates ``u`` (right) and ``v`` (down) ``[h, w]`` of the thing's own frame, in which it fills
about [-1, 1], a generator, and how fine its pattern is; it gives the parts from the lowest to the topmost. Proportions,
numbers and phases vary; colours are not chosen here.
"""

import math
from functools import lru_cache
from typing import Callable, Dict, List

import numpy as np

from . import shapes, textures
from .paint import Part

TURN = 2 * math.pi


def ball(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, fine: float) -> List[Part]:
    """A beach ball: segments between two poles."""
    radius, segments = 0.93, max(4, round(7 * fine + rng.uniform(-1, 1)))
    x, y = u / radius, v / radius
    z = np.sqrt(np.maximum(1 - x * x - y * y, 0))
    tilt, spin, phase = rng.uniform(0.35, 0.95), rng.uniform(0, TURN), rng.uniform(0, TURN)
    x, y = math.cos(spin) * x + math.sin(spin) * y, math.cos(spin) * y - math.sin(spin) * x
    y, pole = math.cos(tilt) * y - math.sin(tilt) * z, math.sin(tilt) * y + math.cos(tilt) * z
    wedges = np.sin(segments * np.arctan2(y, x) + phase) / (0.05 * segments)
    pattern = np.clip(0.5 + wedges * np.hypot(x, y), 0, 1)
    cap = rng.uniform(0.86, 0.94) - pole
    outline, height = shapes.circle(u, v, (0, 0), radius), 0.6 * radius * z
    return [Part(outline, pattern, height=height), Part(shapes.intersection(outline, cap), 0.0, pair=1, height=height)]


def basket(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, fine: float) -> List[Part]:
    """A woven body, wider at the top, a rim and a handle to see through."""
    top, width, foot = rng.uniform(-0.25, 0.0), rng.uniform(0.8, 0.92), rng.uniform(0.55, 0.75)
    body = shapes.polygon(u, v, [(-width, top), (width, top), (foot, 0.92), (-foot, 0.92)]) - 0.04
    strands = rng.uniform(4.0, 5.0) * fine
    curved = v - 0.15 * u * u
    pattern = textures.weave(strands * u / (1 - 0.25 * v) + rng.random(), strands * 1.15 * curved + rng.random())
    cylinder = np.sqrt(np.maximum(1 - (u / (width + 0.1)) ** 2, 0.03)) * 0.8
    squeezed = (v - top) * width / (top + 0.97)
    handle = shapes.intersection(shapes.ring(u, squeezed, (0, 0), width - 0.08, 0.13), v - top)
    rim = shapes.capsule(u, v, (-width, top), (width, top), 0.1)
    return [
        Part(handle, 0.0, pair=1, bevel=0.07),
        Part(body, pattern, height=cylinder, relief=0.05),
        Part(rim, textures.stripes(7 * (u + 0.5 * v) + rng.random()), pair=1, bevel=0.1, relief=0.03),
    ]


def butterfly(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, fine: float) -> List[Part]:
    """Two pairs of wings with a dark border and eye spots, a body and feelers."""
    side = np.abs(u)
    spread, droop = rng.uniform(0.5, 0.58), rng.uniform(0.38, 0.5)
    x, y = side - spread, v + 0.38
    upper = shapes.ellipse(0.8 * x - 0.6 * y, 0.6 * x + 0.8 * y, (0, 0), (0.55, 0.4))
    lower = shapes.ellipse(side, v, (droop, 0.42), (0.42, rng.uniform(0.38, 0.48)))
    wings = shapes.blend(upper, lower, 0.1)
    rings = rng.uniform(3.4, 4.2) * fine
    eyes = np.minimum(np.hypot(x, y), np.hypot(side - droop, v - 0.42) * 1.15)
    pattern = textures.stripes(rings * eyes + 0.5, softness=0.3)
    border = textures.soft_step(wings + 0.09, 0.05)
    body = shapes.capsule(u, v, (0, -0.45), (0, 0.5), 0.09, 0.05)
    feelers = shapes.capsule(side, v, (0.02, -0.45), (rng.uniform(0.2, 0.35), -0.92), 0.03)
    return [
        Part(wings, np.maximum(pattern, border), bevel=0.05),
        Part(shapes.union(body, feelers), textures.stripes(6 * v), pair=1, bevel=0.09),
    ]


def cactus(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, fine: float) -> List[Part]:
    """A ribbed column with two arms, in a pot."""
    thick, arm = rng.uniform(0.27, 0.34), rng.uniform(0.15, 0.19)
    ribs = rng.uniform(2.2, 2.8) * fine
    parts = []
    for side in (-1, 1):
        elbow, tip = rng.uniform(-0.1, 0.3), rng.uniform(-0.65, -0.3)
        x = side * rng.uniform(0.66, 0.78)
        outline = shapes.union(
            shapes.capsule(u, v, (0, elbow), (x, elbow), arm), shapes.capsule(u, v, (x, elbow), (x, tip), arm)
        )
        across = np.where(v > elbow - 0.6 * arm, (v - elbow) / arm, (u - x) / arm)
        parts.append(Part(outline, _ribs(across, ribs * 0.7), bevel=arm, relief=0.04))
    column = shapes.capsule(u, v, (0, thick - 0.97), (0, 0.7), thick)
    parts.append(Part(column, _ribs(u / thick, ribs), bevel=thick, relief=0.04))
    wide, narrow = rng.uniform(0.45, 0.55), rng.uniform(0.3, 0.4)
    pot = shapes.polygon(u, v, [(-wide, 0.5), (wide, 0.5), (narrow, 0.97), (-narrow, 0.97)])
    parts.append(
        Part(
            shapes.union(pot, shapes.box(u, v, (0, 0.52), (wide + 0.06, 0.08), 0.03)),
            0.0,
            pair=1,
            height=np.sqrt(np.maximum(1 - (u / 0.7) ** 2, 0.03)) * 0.5,
        )
    )
    return parts


def _ribs(across: np.ndarray, count: float) -> np.ndarray:
    """Stripes on a round column: narrower towards its sides."""
    return textures.stripes(count * np.arcsin(np.clip(across, -1, 1)) * 2 / np.pi + 0.5, softness=0.35)


def fish(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, fine: float) -> List[Part]:
    """A scaled body, a forked tail, fins and an eye; it looks to the left."""
    height, tail = rng.uniform(0.55, 0.65), rng.uniform(0.38, 0.5)
    body = shapes.ellipse(u, v, (-0.15, 0), (0.8, height))
    fork = shapes.polygon(u, v, [(0.45, 0), (0.95, -tail), (0.8, 0), (0.95, tail)]) - 0.03
    crest = (0.1, -height - rng.uniform(0.15, 0.3))
    back = shapes.polygon(u, v, [(-0.45, -0.7 * height), crest, (0.35, -0.5 * height)])
    belly = shapes.polygon(u, v, [(-0.2, 0.8 * height), (0.15, height + 0.25), (0.2, 0.7 * height)])
    fins = shapes.union(fork, back - 0.03, belly - 0.03)
    size = rng.uniform(3.8, 4.6) * fine
    pattern = textures.scales(-size * u + rng.random(), size * v + rng.random())
    head = u < rng.uniform(-0.58, -0.5) - 0.5 * v * v
    eye = (rng.uniform(-0.72, -0.66), -0.12)
    return [
        Part(fins, textures.stripes(5 * (v + 0.25 * u)), bevel=0.05),
        Part(body, np.where(head, 0.25, pattern), bevel=0.7 * height, relief=-0.04),
        Part(
            shapes.circle(u, v, eye, 0.1),
            textures.soft_step(0.055 - np.hypot(u - eye[0], v - eye[1]), 0.03),
            pair=2,
            bevel=0.1,
        ),
    ]


def house(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, fine: float) -> List[Part]:
    """A brick front under a gable roof, with a door, windows and a chimney."""
    eaves, wide, peak = rng.uniform(-0.3, -0.1), rng.uniform(0.72, 0.82), -0.9
    front = shapes.polygon(u, v, [(-wide, 0.95), (-wide, eaves), (0, peak), (wide, eaves), (wide, 0.95)])
    count = rng.uniform(3.8, 4.6) * fine
    wall = textures.bricks(count * 0.62 * u + rng.random(), count * v + rng.random(), mortar=0.3)
    slope = (eaves - peak) / wide
    roof = shapes.capsule(np.abs(u), v, (0, peak), (wide + 0.12, eaves + 0.12 * slope), 0.085)
    stack = float(rng.choice([-1, 1])) * rng.uniform(0.4, 0.55)
    chimney = shapes.box(u, v, (stack, peak + 0.2), (0.11, 0.2))
    door_u = rng.uniform(-0.2, 0.2)
    door = shapes.box(u, v, (door_u, 0.66), (0.17, 0.29))
    side = -math.copysign(1, door_u) * rng.uniform(0.42, 0.5)
    window = shapes.union(shapes.box(u, v, (side, 0.35), (0.17, 0.17)), shapes.box(u, v, (0, -0.3), (0.14, 0.14)))
    crossbars = np.where(v > 0, np.minimum(np.abs(u - side), np.abs(v - 0.35)), np.minimum(np.abs(u), np.abs(v + 0.3)))
    return [
        Part(chimney, 0.0, pair=1, bevel=0.03),
        Part(front, wall, bevel=0.03, relief=-0.03),
        Part(roof, textures.stripes(9 * np.abs(u)), pair=1, bevel=0.08),
        Part(door, 1.0, pair=1, bevel=0.03),
        Part(window, textures.soft_step(0.035 - crossbars, 0.03), pair=2, bevel=0.03),
    ]


def leaf(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, fine: float) -> List[Part]:
    """A pointed blade with a midrib and slanting side veins, on a stalk."""
    offset, bend = rng.uniform(0.62, 0.76), rng.uniform(-0.12, 0.12)
    bent = u - bend * (1 - v * v)
    radius = (offset * offset + 0.81) / (2 * offset) * rng.uniform(0.98, 1.05)
    reach = radius - rng.uniform(0.62, 0.74)
    blade = shapes.intersection(shapes.circle(bent, v, (-reach, 0), radius), shapes.circle(bent, v, (reach, 0), radius))
    blade = blade + 0.025 * np.abs(np.sin(rng.uniform(9, 13) * v))
    slant, count = rng.uniform(0.7, 1.1), rng.uniform(3.6, 4.4) * fine
    veins = textures.stripes(count * (v + slant * np.abs(bent)) + rng.random(), share=0.35)
    midrib = textures.soft_step(0.045 - np.abs(bent), 0.04)
    stalk = shapes.capsule(bent, v, (0, 0.3), (0, 1.05), 0.045)
    return [Part(stalk, 1.0, bevel=0.05), Part(blade, np.maximum(veins, midrib), bevel=0.25, relief=0.03)]


def mug(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, fine: float) -> List[Part]:
    """A round body with bands of zigzag, an opening seen from above, and a handle to see through."""
    wide, lip, flat = rng.uniform(0.52, 0.6), rng.uniform(-0.7, -0.6), rng.uniform(0.13, 0.2)
    left = -0.22
    x = (u - left) / wide
    body = shapes.union(
        shapes.box(u, v, (left, (lip + 0.8) / 2), (wide, (0.8 - lip) / 2)),
        *(shapes.ellipse(u, v, (left, end), (wide, flat)) for end in (lip, 0.8)),
    )
    opening = shapes.ellipse(u, v, (left, lip), (wide - 0.06, flat - 0.04))
    handle = shapes.ring(u, v * 0.85, (left + wide + 0.02, 0.1), rng.uniform(0.34, 0.42), 0.16)
    around = np.arcsin(np.clip(x, -1, 1)) / np.pi
    lowered = v - flat * np.sqrt(np.maximum(1 - x * x, 0))
    bands = textures.zigzag(
        fine * rng.uniform(2.5, 3.2) * around + rng.random(), fine * rng.uniform(2.6, 3.2) * lowered + rng.random()
    )
    cylinder = wide * np.sqrt(np.maximum(1 - x * x, 0.03))
    return [
        Part(handle, 0.0, bevel=0.08),
        Part(body, bands, height=cylinder),
        Part(opening, 0.15, pair=1, height=-0.6 * cylinder),
    ]


def starfish(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, fine: float) -> List[Part]:
    """Five tapering arms full of knobs."""
    start, arms = rng.uniform(0, TURN), []
    for i in range(5):
        angle = start + TURN / 5 * i + rng.normal(0, 0.07)
        end = (0.86 * math.cos(angle), 0.86 * math.sin(angle))
        arms.append(shapes.capsule(u, v, (0, 0), end, 0.44, 0.16))
    outline = arms[0]
    for arm in arms[1:]:
        outline = shapes.blend(outline, arm, 0.12)
    count = rng.uniform(4.6, 5.4) * fine
    knobs = textures.dots(count * u + rng.random(), count * v + rng.random(), rng.uniform(0.3, 0.36))
    return [Part(outline, knobs, bevel=0.3, relief=0.06)]


def wheel(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, fine: float) -> List[Part]:
    """A tyre with a tread, a disc with spokes, and a hub."""
    angle, distance = np.arctan2(v, u), np.hypot(u, v)
    spokes, tread = max(4, round(7 * fine + rng.uniform(-1, 1))), round(21 * fine + rng.uniform(-2, 2))
    rim = rng.uniform(0.62, 0.7)
    phase = rng.random()
    tyre = shapes.ring(u, v, (0, 0), (0.95 + rim) / 2, 0.95 - rim)
    off_axis = np.abs((spokes * angle / TURN + phase) % 1 - 0.5) * TURN / spokes * distance
    pattern = textures.soft_step(rng.uniform(0.055, 0.075) - off_axis, 0.04)
    disc = shapes.circle(u, v, (0, 0), rim + 0.02)
    hub = shapes.circle(u, v, (0, 0), rng.uniform(0.13, 0.18))
    return [
        Part(disc, pattern, bevel=0.05, relief=0.06),
        Part(tyre, textures.stripes(tread * angle / TURN, softness=0.4) * (distance > 0.82), pair=1, bevel=0.14),
        Part(hub, 1.0, bevel=0.12),
    ]


THINGS: Dict[str, Callable[..., List[Part]]] = {
    thing.__name__: thing for thing in (ball, basket, butterfly, cactus, fish, house, leaf, mug, starfish, wheel)
}
CLASSES = tuple(THINGS)


@lru_cache(maxsize=None)
def filled(label: int) -> float:
    """The share of its own frame that a thing of the class fills on the average."""
    u, v = np.meshgrid(*[np.linspace(-1, 1, 64, dtype=np.float32)] * 2)
    rng = np.random.default_rng(label)
    shares = []
    for _ in range(8):
        distances = [part.distance for part in THINGS[CLASSES[label]](u, v, rng, 1.0)]
        shares.append((shapes.union(*distances) < 0).mean())
    return float(np.mean(shares))
