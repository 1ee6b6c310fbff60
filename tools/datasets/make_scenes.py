"""Draw a small data set of textured shapes on textured backgrounds, for a first run without any download.

    python tools/datasets/make_scenes.py data/scenes [--train 1000] [--val 300] [--size 96] [--seed 0]

makes ``train/<class>/*.jpg`` and ``val/<class>/*.jpg``. A class is a shape (ten of them) with a pattern of its own.
Both pairs of colours, the background's pattern, place, size, angles, light and grain are drawn for each image without
looking at its class: colour alone does not tell it. The same seed gives the same files.
"""
import argparse
import json
import math
import shutil
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import numpy as np
from PIL import Image, ImageDraw

Polygon = List[Tuple[float, float]]
OVERSAMPLING = 4  # for smooth edges
# colours, turns and backgrounds are no louder than what a few minutes of training can learn to look past
SATURATION = .2
LARGEST_TURN = .45  # of a pattern, in radians
BACKGROUND_CONTRAST, CONTRAST = .06, .15
RECIPE = 1  # to be raised when what is drawn changes


def _regular(corners: int, radius: float = 1.0, start: float = -90.0) -> Polygon:
    angles = np.radians(start + 360 * np.arange(corners) / corners)
    return [(radius * math.cos(a), radius * math.sin(a)) for a in angles]


def _star() -> Polygon:
    outer, inner = _regular(5), _regular(5, 0.42, -54)
    return [corner for pair in zip(outer, inner) for corner in pair]


def _cross(width: float = 0.34) -> Polygon:
    w = width
    return [(-w, -1), (w, -1), (w, -w), (1, -w), (1, w), (w, w), (w, 1), (-w, 1), (-w, w), (-1, w), (-1, -w), (-w, -w)]


def _heart() -> Polygon:
    t = np.linspace(0, 2 * math.pi, 60, endpoint=False)
    x = 16 * np.sin(t)**3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return list(zip((x / 17).tolist(), (-y / 17).tolist()))


# outline, hole (cut out of it), pattern of the inside
SHAPES: Dict[str, Tuple[Polygon, Polygon, str]] = {
    'arrow': ([(-1, -.3), (.1, -.3), (.1, -.85), (1, 0), (.1, .85), (.1, .3), (-1, .3)], [], 'stripes'),
    'bow_tie': ([(-1, -.8), (0, -.15), (1, -.8), (1, .8), (0, .15), (-1, .8)], [], 'dots'),
    'crescent': (_regular(64), [(x + .45, y) for x, y in _regular(64, .8)], 'waves'),
    'cross': (_cross(), [], 'checks'),
    'disc': (_regular(64, .9), [], 'rings'),
    'heart': (_heart(), [], 'blobs'),
    'ring': (_regular(64), _regular(64, .5), 'fine_stripes'),
    'square': (_regular(4, 1.15, -45), [], 'grid'),
    'star': (_star(), [], 'fine_dots'),
    'triangle': (_regular(3, 1.1), [], 'grain'),
}


def _wave(phase: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.sin(2 * math.pi * phase)


def _clouds(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Smooth noise in [0, 1]."""
    noise = Image.fromarray((255 * rng.random((cells, cells))).astype(np.uint8))
    return np.asarray(noise.resize((size, size), Image.Resampling.BICUBIC), np.float32) / 255


# (u, v) turned coordinates in units of the image's side, a random scale near 1, the generator -> [size, size] in [0, 1]
PATTERNS: Dict[str, Callable] = {
    'stripes': lambda u, v, s, rng: _wave(8 * s * u) > .5,
    'fine_stripes': lambda u, v, s, rng: _wave(17 * s * u) > .5,
    'dots': lambda u, v, s, rng: _wave(8 * s * u) * _wave(8 * s * v) > .4,
    'fine_dots': lambda u, v, s, rng: _wave(15 * s * u) * _wave(15 * s * v) > .4,
    'waves': lambda u, v, s, rng: _wave(9 * s * u + .35 * np.sin(2 * math.pi * 5 * s * v)),
    'checks': lambda u, v, s, rng: (np.sin(2 * math.pi * 5 * s * u) * np.sin(2 * math.pi * 5 * s * v)) > 0,
    'rings': lambda u, v, s, rng: _wave(9 * s * np.hypot(u, v)),
    'grid': lambda u, v, s, rng: np.maximum(_wave(8 * s * u), _wave(8 * s * v)) > .92,
    'blobs': lambda u, v, s, rng: _clouds(rng, len(u), round(14 * s)) > .5,
    'grain': lambda u, v, s, rng: _clouds(rng, len(u), round(34 * s)),
    # of backgrounds
    'clouds': lambda u, v, s, rng: _clouds(rng, len(u), round(6 * s)),
    'hills': lambda u, v, s, rng: _wave(2 * s * u + .2 * np.sin(2 * math.pi * 2 * s * v)),
    'slope': lambda u, v, s, rng: np.clip(.5 + (u - u.mean()) * s, 0, 1),
}
BACKGROUNDS = ('clouds', 'hills', 'slope')


def _pattern(name: str, rng: np.random.Generator, size: int, center: Tuple[float, float] = (.5, .5)) -> np.ndarray:
    angle, scale = rng.uniform(-LARGEST_TURN, LARGEST_TURN), rng.uniform(.85, 1.2)
    shift = rng.random(2) if name != 'rings' else np.zeros(2)
    y, x = np.mgrid[:size, :size] / size
    x, y = x - center[0], y - center[1]
    u = math.cos(angle) * x - math.sin(angle) * y + shift[0]
    v = math.sin(angle) * x + math.cos(angle) * y + shift[1]
    return np.asarray(PATTERNS[name](u, v, scale, rng), np.float32)


def _two_colours(rng: np.random.Generator, luminance: float, contrast: float) -> np.ndarray:
    """Two colours ``[2, 3]`` in [0, 1], a darker and a lighter one around a luminance."""
    tints = SATURATION * rng.random((2, 3))
    weights = np.array([.299, .587, .114])
    target = luminance + np.array([[-contrast], [contrast]]) * rng.choice([-1, 1])
    return np.clip(tints + target - (tints @ weights)[:, None], 0, 1)


def draw_scene(name: str, size: int, rng: np.random.Generator) -> Image.Image:
    """One image of the class ``name``."""
    outline, hole, inside = SHAPES[name]
    light, dark = rng.uniform(.58, .75), rng.uniform(.25, .42)
    front, back = (light, dark) if rng.random() < .5 else (dark, light)
    radius, angle = rng.uniform(.42, .56), math.radians(rng.uniform(-30, 30))
    center = tuple(rng.uniform(.38, .62, 2))

    big = size * OVERSAMPLING
    mask = Image.new('L', (big, big))
    cos, sin = radius * math.cos(angle), radius * math.sin(angle)
    for polygon, fill in ((outline, 255), (hole, 0)):
        if polygon:
            ImageDraw.Draw(mask).polygon([(big * (center[0] + cos * x - sin * y), big * (center[1] + sin * x + cos * y))
                                          for x, y in polygon], fill=fill)
    alpha = np.asarray(mask.resize((size, size), Image.Resampling.BOX), np.float32)[..., None] / 255

    layers = []
    background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    for pattern, luminance, contrast in ((background, back, BACKGROUND_CONTRAST), (inside, front, CONTRAST)):
        low, high = _two_colours(rng, luminance, contrast)
        blend = _pattern(pattern, rng, size, center)[..., None]
        layers.append(low + (high - low) * blend)
    image = layers[0] * (1 - alpha) + layers[1] * alpha
    y, x = np.mgrid[:size, :size] / size - .5
    slope = rng.uniform(-.35, .35, 2)
    image = image * (1 + slope[0] * x + slope[1] * y)[..., None] + rng.normal(0, .02, image.shape)
    return Image.fromarray((255 * np.clip(image, 0, 1)).astype(np.uint8))


def make_scenes(out: Path, train: int = 1000, val: int = 300, size: int = 96, seed: int = 0) -> bool:
    """Write the data set, unless the same one is there. It appears under its name only when it is whole.

    Returns:
        Whether it was drawn.

    Raises:
        FileExistsError: There is something else at ``out``.
    """
    recipe = dict(recipe=RECIPE, train=train, val=val, size=size, seed=seed)
    note = out / 'scenes.json'
    if note.is_file() and json.loads(note.read_text()) == recipe:
        return False
    if out.exists() and not note.is_file() and any(out.iterdir()):
        raise FileExistsError(f'{out} holds something else: choose another folder, or remove it')
    parts = out.with_name(f'{out.name}.partial')
    shutil.rmtree(parts, ignore_errors=True)
    names = sorted(SHAPES)
    for place, (split, count) in enumerate((('train', train), ('val', val))):
        for name in names:
            (parts / split / name).mkdir(parents=True)
        for index in range(count):
            rng = np.random.default_rng([seed, place, index])  # an image does not depend on how many there are
            name = names[index % len(names)]
            draw_scene(name, size, rng).save(parts / split / name / f'{index:05d}.jpg', quality=92)
    (parts / 'scenes.json').write_text(json.dumps(recipe))
    shutil.rmtree(out, ignore_errors=True)
    parts.rename(out)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, help='the folder to make')
    parser.add_argument('--train', type=int, default=1000, help='training images')
    parser.add_argument('--val', type=int, default=300, help='held-out images')
    parser.add_argument('--size', type=int, default=96, help='pixels a side')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    try:
        drawn = make_scenes(**vars(args))
    except FileExistsError as error:
        raise SystemExit(f'make_scenes: {error}')
    print(f'{args.out}: {args.train} + {args.val} images of {len(SHAPES)} classes {"drawn" if drawn else "are there"}')


if __name__ == '__main__':
    main()
