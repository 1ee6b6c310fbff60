"""Draw faces with 98 landmarks in WFLW's layout, for work without any download.

    python tools/datasets/make_faces.py data/faces [--train 400] [--test 100] [--size 160] [--seed 0]

A face has its own proportions, is turned, leans and lies anywhere in its image; its points are where its parts were
drawn. The six attributes are drawn, too: a turned head, an open mouth, little light, paint, a hidden part, blur. A face
depends on the seed, the split and its number alone. The files of an earlier call are replaced.
"""

import argparse
import sys
from pathlib import Path
from typing import Dict, Tuple

import cv2
import numpy as np

LIST = 'WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{}.txt'
SPLITS = ('train', 'test')
SHIFT = 4  # OpenCV draws at a sixteenth of a pixel
Points = np.ndarray  # [N, 2] of x to the right and y down


def arc(center: Tuple[float, float], radii: Tuple[float, float], start: float, stop: float, count: int) -> Points:
    """Points of an ellipse from one angle to another, in degrees, clockwise from its right end."""
    angle = np.radians(np.linspace(start, stop, count))
    return np.stack([center[0] + radii[0] * np.cos(angle), center[1] + radii[1] * np.sin(angle)], axis=1)


def ring(center: Tuple[float, float], radii: Tuple[float, float], above: int, below: int) -> Points:
    """Points around an ellipse: from its left end over the top to the right, and back below, between the ends."""
    step = 180 / (below + 1)
    return np.concatenate([arc(center, radii, 180, 360, above), arc(center, radii, step, 180 - step, below)])


def draw_shape(rng: np.random.Generator, pose: bool, expression: bool) -> Dict[str, float]:
    """Proportions of a face, in units of half of its width."""
    ranges = dict(
        jaw=(0.9, 1.4), brow=(-0.52, -0.38), arch=(0.03, 0.15), apart=(0.36, 0.48), eye=(0.13, 0.2), lid=(0.05, 0.11),
        gaze=(-0.05, 0.05), nose=(0.15, 0.4), wings=(0.12, 0.22), mouth=(0.5, 0.68), lips=(0.22, 0.42),
        open=(0.12, 0.25) if expression else (0.0, 0.05), turn=(0.25, 0.4) if pose else (0.0, 0.15),
    )  # fmt: skip
    shape = {name: float(rng.uniform(*limits)) for name, limits in ranges.items()}
    return dict(shape, turn=shape['turn'] * (1 if rng.random() < 0.5 else -1))


def place_points(s: Dict[str, float]) -> Points:
    """The 98 points of a face: outline, brows, nose, eyes, mouth, pupils, in WFLW's order. Left is the viewer's."""
    mirror, look = np.array([-1.0, 1.0]), np.array([s['gaze'], 0.0])
    outline = arc((0, -0.2), (1, 0.2 + s['jaw']), 180, 0, 33)
    brow = np.linspace(-1, 1, 5)[:, None] * [0.24, 0] + [-s['apart'], s['brow']]
    upper = brow - np.stack([0 * brow[:, 0], s['arch'] * (1 - np.linspace(-1, 1, 5) ** 2)], axis=1)
    lower = upper[:0:-1] + [0, 0.09]
    bridge = np.linspace([0, -0.2], [0, s['nose']], 4)
    base = arc((0, s['nose'] + 0.05), (s['wings'], 0.08), 180, 0, 5)
    left = (-s['apart'], -0.2)
    lids = ring(left, (s['eye'], s['lid']), 5, 3)
    other_lids = (lids * mirror)[[4, 3, 2, 1, 0, 7, 6, 5]]  # begin at the nose, too
    outer = ring((0, s['mouth']), (s['lips'], 0.1 + s['open']), 7, 5)
    inner = ring((0, s['mouth']), (0.8 * s['lips'], 0.02 + s['open']), 5, 3)
    brows = [upper, lower, upper[::-1] * mirror, lower[::-1] * mirror]
    parts = [outline, *brows, bridge, base, lids, other_lids, outer, inner, [left + look, left * mirror + look]]
    points = np.concatenate(parts)
    depth = np.clip(1 - points[:, 0] ** 2, 0, 1)  # what is in the middle is in front, and moves when the head turns
    points[:, 0] = points[:, 0] * (1 - 0.3 * s['turn'] ** 2) + s['turn'] * depth
    return points


def paint(points: Points, size: int, rng: np.random.Generator, made_up: bool) -> np.ndarray:
    """``[size, size, 3]`` uint8 of a face at its points, before anything hides it."""
    ground, skin = rng.uniform(30, 200, 3), np.array([225, 180, 150]) * rng.uniform(0.5, 1.1)
    hair, iris = rng.uniform(10, 110, 3), rng.uniform(20, 120, 3)
    lips = rng.uniform(0, 255, 3) if made_up else skin * [0.85, 0.5, 0.55]
    slope = np.linspace(0.7, 1.3, size)[:, None, None]
    image = (ground * slope * np.ones((1, size, 1))).clip(0, 255).astype(np.uint8)

    def fill(corners: Points, color: np.ndarray) -> None:
        corners = np.round(corners * 2**SHIFT).astype(np.int32)
        cv2.fillPoly(image, [corners], color.clip(0, 255).tolist(), cv2.LINE_AA, SHIFT)

    across, up, t = points[0] - points[32], points[51] - points[54], np.linspace(0, 1, 12)[:, None]
    width = np.linalg.norm(across)
    top = points[32] + t * across + 1.8 * t * (1 - t) * width * up / np.linalg.norm(up)
    fill(np.concatenate([points[:33], top]), skin)
    for eye, pupil in ((points[60:68], points[96]), (points[68:76], points[97])):
        fill(eye, np.array([245.0] * 3))
        fill(pupil + arc((0, 0), (0.035 * width, 0.035 * width), 0, 360, 12), iris)
    nose, gap = np.concatenate([points[51:53], points[55:60]]), np.array([70.0, 20.0, 25.0])
    brows, mouth = ((points[33:42], hair), (points[42:51], hair)), ((points[76:88], lips), (points[88:96], gap))
    for part, color in (*brows, (nose, skin * 0.85), *mouth):
        fill(part, color)
    return image


def draw_face(seed: int, split: str, index: int, size: int) -> Tuple[np.ndarray, Points, np.ndarray]:
    """An image ``[size, size, 3]`` uint8 (RGB), its points ``[98, 2]`` in pixels, and its attributes ``[6]``."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    pose, expression, dark, made_up, hidden, blurred = attributes = rng.random(6) < 0.2
    points = place_points(draw_shape(rng, pose, expression))
    angle, half = rng.uniform(-0.5, 0.5), rng.uniform(0.22, 0.32) * size
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = half * points @ turn.T
    points += rng.uniform(0, np.maximum(size - 1 - np.ptp(points, axis=0), 0)) - points.min(axis=0)
    image = paint(points, size, rng, made_up)
    if hidden:
        corner = points[rng.integers(98)] - half / 3
        first, last = (place.astype(int).tolist() for place in (corner, corner + 0.7 * half))
        cv2.rectangle(image, first, last, rng.uniform(0, 255, 3).tolist(), -1)
    if blurred:
        image = cv2.GaussianBlur(image, (0, 0), 0.015 * size)
    image = image * rng.uniform(*((0.3, 0.5) if dark else (0.8, 1.1))) + rng.normal(0, 4, image.shape)
    return image.clip(0, 255).astype(np.uint8), points, attributes.astype(int)


def make_faces(out: Path, train: int = 400, test: int = 100, size: int = 160, seed: int = 0) -> None:
    """Write images and annotations of both splits. Raises ValueError for a number that is too small."""
    if min(train, test) < 1 or size < 64 or seed < 0:
        raise ValueError('--train and --test must be at least 1, --size at least 64, --seed not negative')
    for split, count in (('train', train), ('test', test)):
        annotations, lines = out / LIST.format(split), []
        for folder in (out / 'WFLW_images' / split, annotations.parent):
            folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            image, points, attributes = draw_face(seed, split, index, size)
            name = f'{split}/{index:05d}.jpg'
            cv2.imwrite(str(out / 'WFLW_images' / name), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
            box = [*np.floor(points.min(axis=0)).astype(int), *np.ceil(points.max(axis=0)).astype(int)]
            numbers = [f'{value:.6f}' for value in points.flatten()]
            lines.append(' '.join([*numbers, *map(str, box), *map(str, attributes), name]))
        annotations.write_text('\n'.join(lines) + '\n')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, help='the folder to make')
    for name, default in (('train', 400), ('test', 100), ('size', 160), ('seed', 0)):
        parser.add_argument(f'--{name}', type=int, default=default, help='(default: %(default)s)')
    args = parser.parse_args()
    try:
        make_faces(**vars(args))
    except (OSError, ValueError) as error:
        print(f'make_faces: {error}', file=sys.stderr)
        return 2
    print(f'{args.out}: {args.train} + {args.test} faces of {args.size} px, as WFLW')
    return 0


if __name__ == '__main__':
    sys.exit(main())
