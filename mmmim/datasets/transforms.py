"""Transforms of one image. They pass on a dict with

- ``img_path`` (str) or ``img`` (``[H, W, C]`` uint8) from the data set, with ``gt_label``, ``sample_idx``, ``seed`` and
  ``replaced`` if it has them;
- ``source`` (:class:`~mmmim.datasets.io.image_io.ImageSource`) from :class:`LoadImage`, not decoded yet;
- ``img`` (``[h, w, C]`` uint8) from one of the crops, which decode only what they need; or in its place ``encoded``
  (:class:`~mmmim.datasets.io.encoded.EncodedCrop`), which is decoded on the device: :func:`current_image` gives the
  pixels of both, and access to ``img`` itself in such a sample is an error;
- ``crop_box``, what ``img`` shows of the file: left, top, right and bottom as a share of the upright image's width and
  height; and ``flipped``, whether it is mirrored left to right. Crops and :class:`RandomFlip` write them, for targets
  that were computed on whole images;
- ``views`` (a list of such images) from the transforms that make two views (:mod:`mmmim.datasets.two_views`).

Random choices use NumPy's global generator, which :class:`~mmmim.datasets.samplers.SeededDataset` seeds for each
sample.
"""

import math
import os
from typing import Dict, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.dataset import Compose

from ..registry import TRANSFORMS
from ..structures import DataSample
from .io.encoded import EncodedCrop, SampleWithoutPixels
from .io.image_io import INTERPOLATIONS, Box, ImageSource
from .io.value_range import checked_range

Size = Union[int, Sequence[int]]


class BaseTransform:
    """A step of a pipeline: called with the dict of results, which it changes and returns, or None.

    As mmcv's class of this name: pre-training does not depend on mmcv.
    """

    def __call__(self, results: dict) -> Optional[dict]:
        return self.transform(results)

    def transform(self, results: dict) -> Optional[dict]:
        raise NotImplementedError


def _checked_size(size: Size) -> Tuple[int, int]:
    """``(height, width)``; an int stands for a square."""
    pair = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise ValueError(f'size is {size!r}; it must be a positive int or two of them (height, width)')
    return pair


def _checked_range(name: str, values: Sequence[float]) -> Tuple[float, float]:
    low, high = values
    if not 0 < low <= high:
        raise ValueError(f'{name} is {tuple(values)}; it must be (low, high) with 0 < low <= high')
    return low, high


def current_image(results: dict) -> np.ndarray:
    """``[h, w, C]``: the image after the last transform, or the whole image if there was no crop."""
    if 'encoded' in results:  # the transform needs pixels
        results['img'] = results.pop('encoded').pixels()
    if 'img' not in results:
        results['img'] = _source(results).read()
    return results['img']


def _source(results: dict) -> ImageSource:
    if 'source' not in results:
        raise KeyError("there is no 'source': put LoadImage before this transform in the pipeline")
    return results['source']


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Open the image lazily. Nothing is decoded before it is needed.

    The last file and its decoded pixels are kept: consecutive crops of one image (``repeat_crops`` of
    :class:`.EpochSampler`) read and decode it once.

    Args:
        channels: Number of channels; for the conversion see the table in :mod:`mmmim.datasets.io.image_io`.
        decode: ``'worker'``, or ``'device'``: for training on a GPU whose images come as JPEGs faster than the workers
            decode them. A worker then draws crop and flip, and :class:`.MIMDataPreprocessor` decodes the batch on its
            device. Other files than plain upright RGB or grey JPEGs are decoded in the worker as usual, and so are
            images for other transforms of mmmim that use :func:`current_image`. Transforms that read ``img``, such as
            :class:`.AsBGR` and those of mmcv and mmpretrain, raise ValueError at the first JPEG. Or ``'whole'``: for
            pipelines of mmseg and mmdet, in the place of mmcv's ``LoadImageFromFile``: the whole upright image is
            decoded now, to ``img`` ``[H, W, C]`` uint8 with ``img_shape`` and ``ori_shape``. Three channels are BGR
            then, which those transforms expect (the preprocessor has ``bgr_to_rgb=True``); others are in their order.
            Masks and boxes are those of the upright image.
        value_range: ``(low, high)``: the stored values that become 0 and 255, linear and clipped, of images of more
            than 8 bits and of floats; or such a pair for each channel. None: 0..65535 of unsigned integers, 0..32767 of
            signed ones, 0..1 of floats. Images of 8 bits are as they are. In a config, all pipelines that state no
            range have that of training.
    """

    def __init__(self, channels: int = 3, decode: str = 'worker', value_range: Optional[Sequence] = None):
        if not isinstance(channels, int) or channels < 1:
            raise ValueError(f'channels is {channels!r}; it must be a positive int')
        if decode not in ('worker', 'device', 'whole'):
            raise ValueError(f"decode is {decode!r}; it can be 'worker', 'device' or 'whole'")
        if decode == 'device' and channels != 3:
            raise ValueError(f"decode='device' is for images of 3 channels, and channels is {channels}")
        self.channels, self.decode = channels, decode
        self.value_range = checked_range(value_range, channels)
        self._last: Optional[ImageSource] = None

    def transform(self, results: Dict) -> Dict:
        """Turn ``img`` or ``img_path`` into ``source``, or into the whole ``img``."""
        if self.decode == 'whole':
            results['img'] = self.open(results).read(bgr=True)
            results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
            self._last = None
            return results
        results['source'], results['decode'] = self.open(results), self.decode
        return results

    def open(self, results: Dict) -> ImageSource:
        """The source of ``img``, which is taken out, or of ``img_path``; kept for the next call, if it is a file."""
        image = results.pop('img', None)
        image = results['img_path'] if image is None else image  # pixels, or the bytes of a file
        path = None if isinstance(image, np.ndarray) else os.fspath(getattr(image, 'path', image))
        source, self._last = self._last, None  # free its pixels before the next are decoded
        if source is None or source.path != path:
            source = ImageSource(image, self.channels, self.value_range)
        if path is not None:
            self._last = source
        return source

    def __getstate__(self) -> dict:
        return dict(vars(self), _last=None)


def _record_box(results: dict, box: Box, size: Tuple[int, int]) -> None:
    """Write what a crop shows: ``box`` (left, top, width, height) in an image of ``size`` (width, height)."""
    (left, top, w, h), (width, height) = box, size
    results['crop_box'] = (left / width, top / height, (left + w) / width, (top + h) / height)
    results['flipped'] = False  # a crop is taken of the file, whatever was mirrored before


class _Crop(BaseTransform):
    """A box of the source, resized: sets ``img`` ``[height, width, C]``. Subclasses choose the box.

    Args:
        size: ``(height, width)`` of the result, or one int for both.
        interpolation: nearest, box, bilinear, hamming, bicubic or lanczos.

    Raises:
        ValueError: for a size that isn't positive, or an unknown interpolation.
    """

    def __init__(self, size: Size, interpolation: str = 'bicubic'):
        if interpolation not in INTERPOLATIONS:
            raise ValueError(f'interpolation is {interpolation!r}; it can be one of {", ".join(INTERPOLATIONS)}')
        self.size = _checked_size(size)
        self.interpolation = interpolation

    def box(self, width: int, height: int) -> Box:
        """``(left, top, width, height)`` of the crop in an image of that size."""
        raise NotImplementedError

    def transform(self, results: Dict) -> Dict:
        """Turn ``source`` into ``img``, or into ``encoded``."""
        source = _source(results)
        box = self.box(*source.size)
        _record_box(results, box, source.size)
        content = source.encoded_crop(box, self.interpolation) if results.get('decode') == 'device' else None
        if content is None:
            results['img'] = source.crop(box, self.size, self.interpolation)
            return results
        crop = EncodedCrop(content, source.path, tuple(map(int, box)), self.size, self.interpolation)
        return SampleWithoutPixels(results, encoded=crop)


@TRANSFORMS.register_module()
class RandomResizedCrop(_Crop):
    """A box of random area and shape at a random place (Szegedy et al. 2015), as torchvision draws it.

    Args:
        size: ``(height, width)`` of the result, or one int for both.
        scale: Range of the box's area as a share of the image's, drawn uniformly.
        ratio: Range of width / height, drawn uniformly in the logarithm.
        interpolation: nearest, box, bilinear, hamming, bicubic or lanczos.
    """

    def __init__(
        self,
        size: Size,
        scale: Sequence[float] = (0.2, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
    ):
        super().__init__(size, interpolation)
        self.scale = _checked_range('scale', scale)
        self.ratio = _checked_range('ratio', ratio)

    def box(self, width: int, height: int) -> Box:
        """Ten draws; if none lies in the image, the largest central box whose shape is in range."""
        for _ in range(10):
            area = width * height * np.random.uniform(*self.scale)
            ratio = math.exp(np.random.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return np.random.randint(0, width - w + 1), np.random.randint(0, height - h + 1), w, h
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        w, h = min(width, max(round(height * ratio), 1)), min(height, max(round(width / ratio), 1))
        return (width - w) // 2, (height - h) // 2, w, h


@TRANSFORMS.register_module()
class FixedSizeCrop(_Crop):
    """Resize to a fixed scale, then crop at a random place: "crop, fixed size" of MAE's ablation (Table 1e).

    Args:
        size: ``(height, width)`` of the result, or one int for both.
        resize: The image's shorter side is brought to this many pixels, or to more where the crop would not fit; None:
            the longer side of ``size`` times 256 / 224, rounded.
        padding: Pixels that are added on each side after resizing, reflecting the image (for CIFAR: 32, 32, 4).
        interpolation: nearest, box, bilinear, hamming, bicubic or lanczos.
    """

    def __init__(self, size: Size, resize: Optional[int] = None, padding: int = 0, interpolation: str = 'bicubic'):
        super().__init__(size, interpolation)
        self.resize = round(max(self.size) * 256 / 224) if resize is None else resize
        self.padding = padding
        if not isinstance(self.resize, int) or self.resize < 1 or not isinstance(padding, int) or padding < 0:
            raise ValueError(f'resize is {resize!r}, padding {padding!r}; positive ints are needed (padding may be 0)')

    def _resized(self, width: int, height: int) -> Tuple[int, int]:
        """``(height, width)`` after resizing."""
        room_h, room_w = (max(side - 2 * self.padding, 1) for side in self.size)
        factor = max(self.resize / min(width, height), room_h / height, room_w / width)
        return max(round(height * factor), room_h), max(round(width * factor), room_w)

    def transform(self, results: Dict) -> Dict:
        """Turn ``source`` into ``img``."""
        source = _source(results)
        height, width = self._resized(*source.size)
        top = np.random.randint(0, height + 2 * self.padding - self.size[0] + 1)
        left = np.random.randint(0, width + 2 * self.padding - self.size[1] + 1)
        if self.padding:
            image = source.crop((0, 0, *source.size), (height, width), self.interpolation)
            image = np.pad(image, [(self.padding, self.padding)] * 2 + [(0, 0)], mode='reflect')
            results.pop('crop_box', None)  # it may show more than the file
            results['img'] = image[top : top + self.size[0], left : left + self.size[1]]
        else:
            x, y = source.size[0] / width, source.size[1] / height  # source pixels for one of the resized image
            box = (left * x, top * y, self.size[1] * x, self.size[0] * y)
            _record_box(results, box, source.size)
            results['img'] = source.crop(box, self.size, self.interpolation)
        return results


@TRANSFORMS.register_module()
class CenterCrop(_Crop):
    """The central box that holds ``ratio`` of the shorter side: for evaluation.

    The same as resizing until the crop is ``ratio`` of the image, then cropping the middle (224 from 256 with 0.875).

    Args:
        size: ``(height, width)`` of the result, or one int for both.
        ratio: Share of the image in (0, 1], along the side that fits tighter.
        interpolation: nearest, box, bilinear, hamming, bicubic or lanczos.
    """

    def __init__(self, size: Size, ratio: float = 0.875, interpolation: str = 'bicubic'):
        super().__init__(size, interpolation)
        if not 0 < ratio <= 1:
            raise ValueError(f'ratio is {ratio!r}; it must lie in (0, 1]')
        self.ratio = ratio

    def box(self, width: int, height: int) -> Box:
        """A box of the result's shape in the middle."""
        step = self.ratio * min(height / self.size[0], width / self.size[1])  # source pixels for one of the result
        h, w = self.size[0] * step, self.size[1] * step
        return (width - w) / 2, (height - h) / 2, w, h


@TRANSFORMS.register_module()
class Resize(_Crop):
    """The whole image at exactly this size; its shape is not kept.

    Args:
        size: ``(height, width)`` of the result, or one int for both.
        interpolation: nearest, box, bilinear, hamming, bicubic or lanczos.
    """

    def box(self, width: int, height: int) -> Box:
        """The whole image."""
        return 0, 0, width, height


@TRANSFORMS.register_module()
class RandomFlip(BaseTransform):
    """Mirror ``img`` left to right.

    Args:
        prob: Probability, in [0, 1].
    """

    def __init__(self, prob: float = 0.5):
        if not 0 <= prob <= 1:
            raise ValueError(f'prob is {prob!r}; it must lie in [0, 1]')
        self.prob = prob

    def transform(self, results: Dict) -> Dict:
        """Draws one number, whatever ``prob``."""
        mirrored = np.random.rand() < self.prob
        if 'encoded' in results:
            results['encoded'] = results['encoded'].mirror() if mirrored else results['encoded']
        else:
            image = current_image(results)
            results['img'] = image[:, ::-1] if mirrored else image
        if 'flipped' in results:
            results['flipped'] ^= bool(mirrored)
        return results


@TRANSFORMS.register_module()
class PackImage(BaseTransform):
    """The end of a pipeline: ``dict(inputs=uint8 tensor [C, H, W], data_samples=DataSample)``.

    Where a transform made two views of the image, ``inputs`` is a list of two such tensors; where it is to be decoded
    on the device, an :class:`~mmmim.datasets.io.encoded.EncodedCrop`.
    """

    def transform(self, results: Dict) -> Dict:
        """Without a crop before it, the whole image is packed at its own size."""
        if 'views' in results:
            inputs = [_to_tensor(view) for view in results['views']]
        else:
            inputs = results['encoded'] if 'encoded' in results else _to_tensor(current_image(results))
        metainfo = dict(
            img_path=results.get('img_path', ''),
            sample_idx=results.get('sample_idx', -1),
            replaced=results.get('replaced', []),
        )
        # views have boxes of their own
        keys = ('seed',) if 'views' in results else ('seed', 'crop_box', 'flipped')
        metainfo.update({key: results[key] for key in keys if key in results})
        label = {'gt_label': int(results['gt_label'])} if 'gt_label' in results else {}
        return dict(inputs=inputs, data_samples=DataSample(metainfo=metainfo, **label))


def _to_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


@TRANSFORMS.register_module()
class ColorJitter(BaseTransform):
    """Random brightness, contrast, saturation and hue in random order, as torchvision draws them; for RGB.

    Args:
        brightness, contrast, saturation: A factor is drawn from [max(0, 1 - x), 1 + x], or from the range (low, high).
        hue: A shift is drawn from [-x, x], x at most 0.5, or from the range (low, high).

    Raises:
        ValueError: for a range that makes no sense; when used, for images that don't have 3 channels.
    """

    def __init__(
        self,
        brightness: Union[float, Sequence[float]] = 0,
        contrast: Union[float, Sequence[float]] = 0,
        saturation: Union[float, Sequence[float]] = 0,
        hue: Union[float, Sequence[float]] = 0,
    ):
        import torchvision.transforms.v2  # noqa: F401  (here, because it takes a second; before workers are forked)

        self.ranges = {}  # only those that change anything
        for name, value in dict(brightness=brightness, contrast=contrast, saturation=saturation).items():
            self._add(name, value, center=1, low=0, high=math.inf)
        self._add('hue', hue, center=0, low=-0.5, high=0.5)

    def _add(self, name: str, value: Union[float, Sequence[float]], center: float, low: float, high: float) -> None:
        if isinstance(value, (int, float)):
            if value < 0:
                raise ValueError(f'{name} is {value}; it must not be negative')
            value = (max(center - value, 0) if center else -value, center + value)
        if not low <= value[0] <= value[1] <= high:
            raise ValueError(f'{name} gives the range {tuple(value)}; it must be ordered and lie in [{low}, {high}]')
        if tuple(value) != (center, center):
            self.ranges[name] = tuple(value)

    def transform(self, results: Dict) -> Dict:
        """Change ``img``."""
        from torchvision.transforms.v2 import functional

        image = current_image(results)
        if image.shape[2] != 3:
            raise ValueError(
                f'ColorJitter is for images of 3 channels, but this one has {image.shape[2]}: take it out '
                'of the pipeline'
            )
        image = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        names = list(self.ranges)
        for place in np.random.permutation(len(names)):
            adjust = getattr(functional, f'adjust_{names[place]}')
            image = adjust(image, np.random.uniform(*self.ranges[names[place]]))
        results['img'] = image.numpy().transpose(1, 2, 0)
        return results


@TRANSFORMS.register_module()
class AsBGR(BaseTransform):
    """Runs transforms of mmcv and mmpretrain on ``img`` in BGR, and gives RGB back.

    Theirs assume OpenCV's channel order: on RGB, RandAugment's colour and contrast would weight red as blue in the grey
    image that they blend with.

    Args:
        transforms: Configs of the transforms.
    """

    def __init__(self, transforms: Sequence[dict]) -> None:
        self.transforms = Compose(transforms)

    def transform(self, results: Dict) -> Dict:
        """``img`` is ``[h, w, 3]`` before and after."""
        results['img'] = np.ascontiguousarray(results['img'][..., ::-1])
        results = self.transforms(results)
        results['img'] = np.ascontiguousarray(results['img'][..., ::-1])
        return results
