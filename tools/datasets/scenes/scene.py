"""One scene: things placed on a backdrop, lit, hidden by each other, and photographed."""

from dataclasses import dataclass
from typing import List, Optional, Tuple

import cv2
import numpy as np

from .arrange import Sprite, arrange, cast_shadows, paint_thing
from .backdrop import GROUND, STUFF, Place, draw_backdrop
from .camera import blur, photograph
from .paint import Light
from .things import CLASSES

OVERSAMPLING = 2
LABELS = CLASSES + STUFF  # value k + 1 of an index map is LABELS[k]
MARGIN = 1.4  # the dominant thing shows at least so many times the area of any other
LEAST_AREA = 0.05  # of the dominant thing, as a share of the picture
LEAST_SEEN = 0.6  # of the dominant thing's own area
HIDDEN = 0.003  # what shows less, as a share of the picture, is left out; so is a thing of which less than HINT is seen
HINT = 0.2


@dataclass
class Instance:
    """What is seen of a thing: ``label`` is a place in ``CLASSES``, ``mask`` is bool ``[size, size]``."""

    label: int
    mask: np.ndarray


@dataclass
class Scene:
    """A picture and what is in it.

    Attributes:
        image: RGB ``[size, size, 3]``, uint8.
        label: Class of the dominant thing, the one with the largest visible area.
        index_map: ``[size, size]``, uint8, 1 + place in ``LABELS``; there is no 0.
        instances: The things, the nearest first.
    """

    image: np.ndarray
    label: int
    index_map: np.ndarray
    instances: List[Instance]


def draw_scene(seed: int, split: int, index: int, size: int) -> Scene:
    """The scene of that place, a pure function of its arguments. Its dominant thing is of class ``index % 10``.

    Arrangements in which that thing does not dominate, or with fewer than two things to see, are drawn again, the other
    things smaller each time.
    """
    rng = np.random.default_rng([seed, split, index])
    label = index % len(CLASSES)
    for attempt in range(100):
        scene = _draw(rng, label, size, 0.95**attempt)
        if scene is not None:
            return scene
    raise RuntimeError(f'no arrangement was found for scene {index} of split {split}, seed {seed}, size {size}')


def _draw(rng: np.random.Generator, label: int, size: int, shrink: float) -> Optional[Scene]:
    side = size * OVERSAMPLING
    light, place = Light.draw(rng), Place.draw(rng)
    sprites = [paint_thing(rng, pose, side, light) for pose in arrange(rng, label, place.horizon, shrink)]
    sprites, owner = visible_parts(sprites, side, size)
    if not _dominates(sprites, owner):
        return None
    colour, stuff = draw_backdrop(rng, place, side, light)
    # metered without the things: whether they are dark or light is theirs
    metered = float(colour[1].mean())
    image = photograph(rng, compose(rng, colour, stuff == GROUND, place, sprites, light), size, metered)
    labels = np.array([sprite.pose.label for sprite in sprites] + [len(CLASSES)])
    index_map = labels[owner] + (owner == len(sprites)) * stuff[::OVERSAMPLING, ::OVERSAMPLING] + 1
    instances = [Instance(sprite.pose.label, owner == k) for k, sprite in enumerate(sprites)]
    return Scene(image, label, index_map.astype(np.uint8), instances)


def visible_parts(sprites: List[Sprite], side: int, size: int) -> Tuple[List[Sprite], np.ndarray]:
    """The things of which enough is seen, and the number of the one that owns each pixel ``[size, size]``.

    A pixel of the backdrop has the number after the last thing's.
    """
    while True:
        through = np.ones((side, side), np.float32)
        shares = []
        for sprite in sprites:
            seen = np.zeros_like(through)
            seen[sprite.window] = sprite.coverage * through[sprite.window]
            through[sprite.window] *= 1 - sprite.coverage
            shares.append(cv2.resize(seen, (size, size), interpolation=cv2.INTER_AREA))
        shares.append(cv2.resize(through, (size, size), interpolation=cv2.INTER_AREA))
        owner = np.argmax(shares, axis=0)
        areas = np.bincount(owner.ravel(), minlength=len(sprites))
        kept = [
            sprite
            for sprite, area in zip(sprites, areas)
            if area >= max(HIDDEN * size * size, HINT * sprite.coverage.sum() / OVERSAMPLING**2)
        ]
        if len(kept) == len(sprites):
            return sprites, owner
        sprites = kept


def _dominates(sprites: List[Sprite], owner: np.ndarray) -> bool:
    areas = np.bincount(owner.ravel(), minlength=len(sprites))[: len(sprites)]
    place = next((k for k, sprite in enumerate(sprites) if sprite.pose.dominant), None)
    if place is None or len(sprites) < 2:
        return False
    whole = sprites[place].coverage.sum() / OVERSAMPLING**2
    return bool(
        areas[place] >= MARGIN * np.delete(areas, place).max()
        and areas[place] >= LEAST_AREA * owner.size
        and areas[place] >= LEAST_SEEN * whole
    )


def compose(
    rng: np.random.Generator,
    backdrop: np.ndarray,
    ground: np.ndarray,
    place: Place,
    sprites: List[Sprite],
    light: Light,
) -> np.ndarray:
    """Linear light ``[3, S, S]``: the backdrop, in shadow where a thing is in the way, and the things, farthest first.

    The lens is focused on the dominant thing.
    """
    side = len(ground)
    aperture = rng.random() ** 2 * 3 * side / 192  # the largest blur, in pixels
    focus = next(sprite.pose.base for sprite in sprites if sprite.pose.dominant)
    ambient = float(light.ambient.mean() / (light.ambient.mean() + light.sun.mean() * 0.7))
    lit = np.where(ground, ambient + (1 - ambient) * cast_shadows(sprites, side, place.horizon, light), np.float32(1))
    canvas = backdrop * lit
    if place.horizon is not None and aperture > 0.3:
        y = (np.arange(side, dtype=np.float32)[:, None] + 0.5) / side
        far = np.clip((focus - y) / max(focus - place.horizon, 0.05), 0, 1)
        canvas += (blur(canvas, aperture) - canvas) * far
    for sprite in reversed(sprites):
        spread = 0.0 if place.horizon is None else aperture * 0.8 * abs(sprite.pose.base - focus)
        colour, coverage = blur(sprite.colour, spread), blur(sprite.coverage, spread)
        contact = 1 - 0.35 * blur(sprite.coverage, max(0.03 * sprite.pose.extent * side, 0.5))
        behind = canvas[(slice(None), *sprite.window)]
        behind *= contact * (1 - coverage)
        behind += colour
    return canvas
