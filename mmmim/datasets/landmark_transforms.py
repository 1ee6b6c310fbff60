"""Transforms of a face with its landmarks. Beside the keys of :mod:`mmmim.datasets.transforms` they pass on

- ``bbox`` (``[4]``: xmin, ymin, xmax, ymax) and ``keypoints`` (``[N, 2]``: x, y) in pixels of the upright file, from
  the data set; an image without them is taken as a whole;
- ``crop_points`` (``[N, 2]``), the points in the crop, and ``matrix`` (``[3, 3]``), which maps points of the file to
  the crop: both written by :class:`FaceCrop`, changed by :class:`MirrorFace`.

Centres of pixels are whole numbers: the first pixel of a row reaches from -0.5 to 0.5.
"""

import math
from typing import Any, Dict, Optional, Sequence, Tuple

import cv2
import numpy as np
import torch

from ..registry import TRANSFORMS
from .io.image_io import ImageSource
from .transforms import BaseTransform, PackImage, _checked_size, _source, current_image
from .wflw import flip_indices


def _frame(results: Dict) -> Tuple:
    """What ``img`` shows of the file, as far as crops and mirrors record it."""
    box = results.get('crop_box')
    return None if box is None else tuple(box), bool(results.get('flipped', False)), results['img'].shape[:2]


def apply_matrix(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points ``[N, 2]`` under an affine ``matrix [3, 3]``."""
    return points @ matrix[:2, :2].T + matrix[:2, 2]


@TRANSFORMS.register_module()
class FaceCrop(BaseTransform):
    """A square around a face's box, turned, moved and scaled at random, as an image of fixed size (FaRL's recipe).

    The square's side is the longer one of the box times ``grow``. What lies outside of the file is black. An image
    without a box is a face as large as the crop.

    Args:
        size: Pixels of the result, an int or (height, width), which must be equal.
        grow: The square's side over the box's: at 1 / 0.8 the face fills 0.8 of the crop.
        shift: The crop is moved by a share of its side, drawn from [-shift, shift] for x and y.
        rotate: Angle in radians, drawn from [-rotate, rotate].
        scale: What the face fills of the crop, 1 / grow, is changed by a number drawn from [-scale, scale].

    Raises:
        ValueError: A size that is not square, a grow that is not above 0, a negative range, or a scale that could
            shrink the face to nothing.
    """

    def __init__(
        self, size: Any, grow: float = 1 / 0.8, shift: float = 0.0, rotate: float = 0.0, scale: float = 0.0
    ) -> None:
        height, width = _checked_size(size)
        if height != width:
            raise ValueError(f'FaceCrop: size={size!r} must be a square, as the crop is')
        if grow <= 0:
            raise ValueError(f'FaceCrop: grow={grow} must be above 0')
        if min(shift, rotate, scale) < 0 or scale >= 1 / grow:
            raise ValueError(
                f'FaceCrop: shift={shift}, rotate={rotate}, scale={scale} must not be negative, and scale below '
                f'1 / grow, {1 / grow:g}'
            )
        self.size, self.grow, self.shift, self.rotate, self.scale = width, grow, shift, rotate, scale

    def transform(self, results: Dict) -> Dict:
        """Turn ``source`` into ``img [size, size, C]``, and into a source of its pixels for further crops."""
        source = _source(results)
        matrix = self._draw_matrix(*_square(results.get('bbox'), source.size, self.grow))
        results['img'] = _warp(source, matrix, self.size)
        results['source'] = ImageSource(results['img'], source.channels)
        results['matrix'], results['flipped'] = matrix, False
        results.pop('encoded', None)
        if results.get('keypoints') is not None:
            results['crop_points'] = apply_matrix(matrix, results['keypoints'])
        results['point_frame'] = _frame(results)
        return results

    def _draw_matrix(self, center: np.ndarray, side: float) -> np.ndarray:
        """The matrix from the file to the crop; four numbers are drawn, whatever the ranges."""
        x, y, angle, share = np.random.uniform(-1, 1, 4) * (self.shift, self.shift, self.rotate, self.scale)
        factor = self.size / side * (1 + share * self.grow)  # crop pixels for one of the file
        cos, sin = factor * math.cos(angle), factor * math.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        middle = (self.size - 1) / 2 + self.size * np.array([x, y])
        matrix = np.eye(3)
        matrix[:2, :2], matrix[:2, 2] = turn, middle - turn @ center
        return matrix


def _square(box: Optional[np.ndarray], size: Tuple[int, int], grow: float) -> Tuple[np.ndarray, float]:
    """Centre (x, y) and side of the square around a box, or around the whole image of ``size`` (width, height)."""
    if box is None:
        return (np.array(size) - 1) / 2, float(max(size))
    box = np.asarray(box, dtype=np.float64)
    return (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max()) * grow


def _warp(source: ImageSource, matrix: np.ndarray, size: int) -> np.ndarray:
    """``[size, size, C]``: only what the crop shows is decoded, and reduced with antialiasing before it is turned."""
    edge = np.array([-1, size])  # one pixel more on each side, for the interpolation
    corners = np.array([(x, y) for x in edge for y in edge], dtype=np.float64)
    corners = apply_matrix(np.linalg.inv(matrix), corners)
    low = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(axis=0)) + 1, source.size).astype(int)
    if (high <= low).any():  # nothing of the file
        return np.zeros((size, size, source.channels), np.uint8)
    step = max(int(1 / math.hypot(*matrix[:2, 0])), 1)  # pixels of the file for one of the crop
    width, height = (max(-(-side // step), 1) for side in (high - low).tolist())
    region = source.crop((*low.tolist(), *(high - low).tolist()), (height, width), 'bilinear')
    factor = (high - low) / (width, height)
    to_file = np.diag([*factor, 1.0])
    to_file[:2, 2] = low + (factor - 1) / 2  # centres of pixels are whole numbers in both
    warped = cv2.warpAffine(region, (matrix @ to_file)[:2], (size, size), flags=cv2.INTER_LINEAR)
    return np.atleast_3d(warped)


@TRANSFORMS.register_module()
class MirrorFace(BaseTransform):
    """Mirror ``img`` left to right; each point takes the place of its partner on the other side. For training.

    Args:
        prob: Probability, in [0, 1].
        flip_indices: The partner of each point. None: WFLW's.

    Raises:
        ValueError: A probability out of range, or partners that are not each other's.
    """

    def __init__(self, prob: float = 0.5, flip_indices: Optional[Sequence[int]] = None) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'MirrorFace: prob={prob!r} must lie in [0, 1]')
        self.prob = prob
        self.partner = np.array(_PARTNERS if flip_indices is None else flip_indices)
        count = len(self.partner)
        if sorted(self.partner) != list(range(count)) or (self.partner[self.partner] != np.arange(count)).any():
            raise ValueError('MirrorFace: flip_indices must name each point once, and partners each other')

    def transform(self, results: Dict) -> Dict:
        """Draws one number, whatever ``prob``."""
        if np.random.rand() >= self.prob:
            return results
        image = current_image(results)
        pointed = results.get('point_frame') == _frame(results)
        results['img'] = image[:, ::-1]
        mirror = np.array([[-1.0, 0, image.shape[1] - 1], [0, 1, 0], [0, 0, 1]])
        results['matrix'] = mirror @ results.get('matrix', np.eye(3))
        results['flipped'] = not results.get('flipped', False)
        points = results.get('crop_points')
        if points is not None:
            if len(points) != len(self.partner):
                raise ValueError(
                    f'MirrorFace: flip_indices has {len(self.partner)} partners, and the face {len(points)} points'
                )
            results['crop_points'] = apply_matrix(mirror, points)[self.partner]
        if pointed:
            results['point_frame'] = _frame(results)
        return results


_PARTNERS = flip_indices()


@TRANSFORMS.register_module()
class OccludeFace(BaseTransform):
    """Paint a black box at a random place of ``img`` (FaRL's recipe); what lies over the edge is cut. Points under it
    stay: they are to be guessed.

    Args:
        prob: Probability, in [0, 1].
        size: Range of the box's sides as shares of the image's, drawn for each side.

    Raises:
        ValueError: A probability or a range that makes no sense.
    """

    def __init__(self, prob: float = 1.0, size: Sequence[float] = (0.1, 0.4)) -> None:
        low, high = size
        if not 0 <= prob <= 1 or not 0 < low <= high <= 1:
            raise ValueError(
                f'OccludeFace: prob={prob} must lie in [0, 1], and size={tuple(size)} be ordered in (0, 1]'
            )
        self.prob, self.range = prob, (low, high)

    def transform(self, results: Dict) -> Dict:
        """Draws five numbers, whatever ``prob``."""
        chance, *places = np.random.rand(3)
        shares = np.random.uniform(*self.range, 2)
        if chance < self.prob:
            image = current_image(results).copy()
            sides = np.array(image.shape[:2])
            low = ((places - shares / 2) * sides).round().astype(int).clip(0)
            high = ((places + shares / 2) * sides).round().astype(int)
            image[low[0] : high[0], low[1] : high[1]] = 0
            results['img'] = image
        return results


@TRANSFORMS.register_module()
class PackLandmarks(PackImage):
    """The end of a pipeline of faces: ``dict(inputs=uint8 tensor [C, H, W], data_samples=DataSample)``.

    The sample has what :class:`.PackImage` writes; as data ``crop_points`` (``[N, 2]`` float32, pixels of the crop) and
    ``gt_points`` (``[N, 2]`` float64, pixels of the file), where the face has points; as metainfo ``matrix``
    (``[3, 3]`` float64, from the file to the crop) and ``attributes`` (a tuple of 0 and 1, or None).

    Raises:
        ValueError: The face has points, and the image was cropped or mirrored by a transform that does not move them.
    """

    def transform(self, results: Dict) -> Dict:
        if results.get('keypoints') is not None:
            current_image(results)
            if results.get('point_frame') != _frame(results):
                raise ValueError(
                    'PackLandmarks: the image was cropped, mirrored or taken whole by what does not move points: '
                    'use FaceCrop and, behind it, MirrorFace'
                )
        packed = super().transform(results)
        sample, attributes = packed['data_samples'], results.get('attributes')
        sample.set_metainfo(
            dict(
                matrix=results.get('matrix', np.eye(3)),
                attributes=None if attributes is None else tuple(int(value) for value in attributes),
            )
        )
        if results.get('keypoints') is not None:
            sample.crop_points = torch.from_numpy(np.ascontiguousarray(results['crop_points'])).float()
            sample.gt_points = torch.from_numpy(np.array(results['keypoints'], dtype=np.float64))
        return packed
