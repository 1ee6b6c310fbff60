"""Read images of any format as uint8, decoding only the part that is needed.

What a file becomes, by the number of channels requested:

======================================  =========================================================================
in the file                             what comes out
======================================  =========================================================================
EXIF (or XMP) orientation               always applied: sizes, boxes and pixels are those of the upright image
grey, 1-bit, palette, CMYK and YCCK,    3 channels: RGB; 1: luminance (ITU-R 601); 4: RGB and an opaque alpha
LAB, HSV, YCbCr
alpha (RGBA, LA, transparent palette    3 and 1 channels: laid over white; 4: kept
or key colour)
16-bit and 32-bit integers, floats,     ``value_range`` mapped to 0..255: linear, clipped, rounded. Without one
grey or colour                          0..65535 of unsigned integers, 0..32767 of signed ones, 0..1 of floats. NaN
                                        and what lies below is 0. Opacity has the range of its type
several frames (GIF, WebP, TIFF ...)    the first one, unless they are channels
TIFF with exactly C pages of one        one channel a page
sample and size
TIFF with C samples a pixel             as it is, any C; of red, green, blue and more, 3 channels are these. Chunky
                                        or planar. Where Pillow has no mode for them by tifffile, and imagecodecs
                                        for most compressions
``.npy`` array [H, W, C], [H, W], or    as it is, any C, any number type, mapped as above; never unpickled
[C, H, W] if C fits no other way
======================================  =========================================================================

A range is one for a whole data set and never follows from an image's own values: the same value is the same brightness
in every image. Files of 8 bits are as they are, whatever the range. Colour of more than 8 bits in JPEG 2000 and PPM is
scaled by the depth that the file states.

Anything else, and any other number of channels, raises :class:`ImageReadError`, as does a file that is empty,
truncated, not an image, or larger than Pillow's limit (``MMMIM_MAX_PIXELS`` in the environment sets another).
"""

import io
import os
import warnings
from contextlib import contextmanager
from functools import cached_property
from math import ceil, floor
from typing import Any, BinaryIO, Dict, Optional, Sequence, Tuple, Union

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from .formats import FORMATS, too_many_pixels
from .header import Header, open_image, read_header
from .jpeg import can_wait, decode_jpeg, is_plain, resize_box
from .pixel_formats import (
    ImageReadError,
    array_to_planes,
    channels_to_8_bits,
    deep_to_8_bits,
    grey_values,
    to_planes,
    wrong_channels,
)
from .tar_files import as_member
from .tiff import chosen_bands, read_deep, read_tiff
from .value_range import KINDS, ValueRange, checked_range

Box = Tuple[float, float, float, float]
Plane = Union[Image.Image, np.ndarray]  # the latter [H, W, 1 or 3] uint8

INTERPOLATIONS = {
    name: getattr(Image.Resampling, name.upper())
    for name in ('nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos')
}

# EXIF orientation: how stored pixels are turned upright; whether that exchanges the axes; and which stored axes (x, y)
# run against the upright ones.
_TURNS = {
    1: (None, False, False, False),
    2: (Image.Transpose.FLIP_LEFT_RIGHT, False, True, False),
    3: (Image.Transpose.ROTATE_180, False, True, True),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, False, False, True),
    5: (Image.Transpose.TRANSPOSE, True, False, False),
    6: (Image.Transpose.ROTATE_270, True, False, True),
    7: (Image.Transpose.TRANSVERSE, True, True, True),
    8: (Image.Transpose.ROTATE_90, True, True, False),
}


class ImageSource:
    """An image that is opened lazily and closed again; the decoded pixels of a file are kept.

    Args:
        source: Path of a file, also of one in a tar (``a.tar/1.jpg``), or an array ``[H, W, C]`` of any number type, or
            an object with the bytes of a file (``read()``) and its name (``path``).
        channels: Number of output channels, see the table above.
        value_range: ``(low, high)``, the stored values that become 0 and 255, or such a pair for each channel; for
            what is not 8-bit. None: the range of the type, see the table.
    """

    def __init__(
        self,
        source: Union[str, os.PathLike, np.ndarray, Any],
        channels: int = 3,
        value_range: Optional[ValueRange] = None,
    ):
        source = as_member(source)
        self.channels, self.value_range = channels, checked_range(value_range)
        self._array = source if isinstance(source, np.ndarray) else None
        self._encoded = source if hasattr(source, 'read') else None
        self.path = '<array>' if self._array is not None else os.fspath(getattr(self._encoded, 'path', source))
        self._in_array = self._array is not None or self.path.lower().endswith('.npy')
        self._decoded: Dict[int, Tuple[Sequence[Plane], int]] = {}  # by the scale requested

    @cached_property
    def size(self) -> Tuple[int, int]:
        """``(width, height)`` of the upright image, from the header alone. Raises :class:`ImageReadError`."""
        with _reading(self.path):
            if self._in_array:
                return self._load_array().shape[1::-1]
            size = self._header.size
            return size[::-1] if _TURNS[self._header.orientation][1] else size

    @cached_property
    def header(self) -> Header:
        """What the file says without being decoded; of an array ``kind`` is ``'array'``.

        Raises :class:`ImageReadError`.
        """
        with _reading(self.path):
            if not self._in_array:
                return self._header
            array = self._load_array()
            return Header('array', array.shape[1::-1], 1, array.shape[2], array.dtype)

    @cached_property
    def _header(self) -> Header:
        with self._open() as file:
            return read_header(file)

    def crop(self, box: Box, size: Tuple[int, int], interpolation: str = 'bicubic') -> np.ndarray:
        """Cut out a box and resize it in one step, antialiased.

        A JPEG is decoded at the smallest of the scales 1, 1/2, 1/4, 1/8 that still has a pixel for each output pixel.

        Args:
            box: ``(left, top, width, height)`` in pixels of the upright image at full resolution; may be fractional.
            size: ``(height, width)`` of the result.
            interpolation: One of :data:`INTERPOLATIONS`.

        Returns:
            ``[height, width, channels]`` uint8.

        Raises:
            ImageReadError: if the file can't be read or doesn't have the channels.
            ValueError: if the box doesn't lie in the image.
        """
        box = self._checked_box(box)
        with _reading(self.path):
            planes, box, orientation = (self._array_region if self._in_array else self._decode)(box, size)
            turn, exchange, _, _ = _TURNS[orientation]
            planes = [_resized(plane, box, size[::-1] if exchange else size, interpolation) for plane in planes]
            if turn is not None:
                planes = [_to_image(plane).transpose(turn) for plane in planes]
        # [height, width] or [height, width, C] each
        planes = [np.atleast_3d(np.asarray(plane)) for plane in planes]
        return planes[0] if len(planes) == 1 and planes[0].flags.writeable else np.concatenate(planes, axis=2)

    def encoded_crop(self, box: Box, interpolation: str) -> Optional[bytes]:
        """Bytes of the file, if it is a complete, upright JPEG that can be cropped later; else None.

        Raises :class:`ImageReadError` for a file that is no image.
        """
        if self._in_array or any(edge != int(edge) for edge in box):
            return None
        with _reading(self.path):
            upright = self._header.kind == 'JPEG' and self._header.orientation == 1
        return self._content if upright and can_wait(self._content, interpolation) else None

    def read(self, bgr: bool = False) -> np.ndarray:
        """The whole upright image, ``[H, W, channels]`` uint8; ``bgr``: three channels in that order.

        Raises :class:`ImageReadError`.
        """
        pixels = self._whole_jpeg(bgr) if self.channels == 3 and not self._in_array else None
        if pixels is not None:
            return pixels
        width, height = self.size
        image = self.crop((0, 0, width, height), (height, width))
        return cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if bgr and self.channels == 3 else image

    def _whole_jpeg(self, bgr: bool) -> Optional[np.ndarray]:
        """The short way through an upright JPEG, without a copy; None for others, and for what is to be reported."""
        with _reading(self.path):
            if not is_plain(self._content) and (self._header.kind, self._header.orientation) != ('JPEG', 1):
                return None
            return decode_jpeg(self._content, 1, 3, bgr)

    def _checked_box(self, box: Box) -> Box:
        left, top, width, height = box
        full_width, full_height = self.size
        slack = 1e-3  # of a pixel, for rounding errors of the box
        if not (
            -slack <= left
            and -slack <= top
            and width > 0
            and height > 0
            and left + width <= full_width + slack
            and top + height <= full_height + slack
        ):
            raise ValueError(
                f'box (left, top, width, height) = {tuple(box)} does not lie in the image of '
                f'{full_width} x {full_height} pixels ({self.path})'
            )
        left, top = max(left, 0), max(top, 0)
        return left, top, min(width, full_width - left), min(height, full_height - top)

    @cached_property
    def _content(self) -> bytes:
        if self._encoded is not None:
            return self._encoded.read()
        with open(self.path, 'rb') as file:
            return file.read()

    def _open(self) -> BinaryIO:
        kept = self._encoded is not None or '_content' in vars(self)
        return io.BytesIO(self._content) if kept else open(self.path, 'rb')

    def _decode(self, box: Box, size: Tuple[int, int]) -> Tuple[Sequence[Plane], Box, int]:
        """The image as stored, the box ``(x0, y0, x1, y1)`` in it, and its orientation."""
        left, top, width, height = box
        kind, (full_width, full_height), orientation = self._header[:3]
        _, exchange, against_x, against_y = _TURNS[orientation]
        if exchange:
            left, top, width, height = top, left, height, width
        left = full_width - left - width if against_x else left
        top = full_height - top - height if against_y else top
        reduction = min(box[2] / size[1], box[3] / size[0])
        shrink = next((s for s in (8, 4, 2) if s <= reduction), 1) if kind == 'JPEG' else 1
        if shrink not in self._decoded:
            self._decoded[shrink] = self._planes(kind, shrink)
        planes, shrink = self._decoded[shrink]
        right, bottom = planes[0].shape[1::-1] if isinstance(planes[0], np.ndarray) else planes[0].size
        right, bottom = min((left + width) / shrink, right), min((top + height) / shrink, bottom)
        return planes, (left / shrink, top / shrink, right, bottom), orientation

    def _planes(self, kind: str, shrink: int) -> Tuple[Sequence[Plane], int]:
        """The pixels as stored, at 1 / ``shrink`` of the size if the format supports it; and the actual scale."""
        pixels = decode_jpeg(self._content, shrink, self.channels) if kind == 'JPEG' else None
        if pixels is not None:
            return [pixels], shrink
        if self._by_pillow:
            with self._open() as file:
                try:
                    image, _ = open_image(file)
                    shrink = _draft(image, shrink, self.channels)
                    planes = to_planes(image, self.channels, self.path, self.value_range, self._header.pages)
                    return planes, shrink
                except UnidentifiedImageError:
                    if kind != 'TIFF':
                        raise
        values = deep_to_8_bits(self._bands(), self._header.alpha, self.value_range)
        return array_to_planes(values, self.channels, self.path), 1

    @property
    def _by_pillow(self) -> bool:
        header = self._header
        first_three = header.rgb and not header.deep and self.channels in (1, 3)
        return header.reader == 'pillow' or first_three

    def _bands(self) -> np.ndarray:
        """``[H, W, C]`` as stored, of what Pillow does not read in full."""
        if self._header.reader == 'opencv':
            values = read_deep(self._content, self.path)
            return (
                values if self.channels in (1, 3, 4) else chosen_bands(values, self._header, self.channels, self.path)
            )
        with self._open() as file:
            return read_tiff(file, self._header, self.channels, self.path)

    def values(self) -> np.ndarray:
        """The pixels as stored, before any range: ``[H, W, C]`` in the type of the file, not turned upright; uint8 for
        what has 8 bits. Raises :class:`ImageReadError`."""
        if not self.header.deep:
            return self.read()
        with _reading(self.path):
            if self._in_array:
                return np.asarray(self._open_array())
            if self._header.reader != 'pillow':
                values = self._bands()
                return values[..., :-1] if self._header.alpha and values.shape[2] in (2, 4) else values
            with self._open() as file:
                image, _ = open_image(file)
                pages = range(self.channels if self._header.pages == self.channels else 1)
                return np.stack([grey_values(_page(image, page)) for page in pages], axis=-1)

    def _load_array(self) -> np.ndarray:
        """``[H, W, C]``, mapped into memory where it comes from a file.

        One that has not the channels asked for in its last axis, and has them, or the fewer, in its first, is
        ``[C, H, W]``.
        """
        array = self._array
        if array is None:
            array = (
                np.lib.format.open_memmap(self.path, mode='r')
                if self._encoded is None
                # both refuse pickled objects
                else np.lib.format.read_array(self._open(), allow_pickle=False)
            )
        if array.ndim == 2:
            array = array[:, :, None]
        if array.ndim != 3 or array.dtype.kind not in KINDS or 0 in array.shape:
            raise ImageReadError(self.path, f'holds {array.dtype} of shape {array.shape}; numbers [H, W, C] are needed')
        first, _, last = array.shape
        if last != self.channels and (first == self.channels or first < last) and self._array is None:
            return array.transpose(1, 2, 0)
        return array

    def _open_array(self) -> np.ndarray:
        """``[H, W, C]``."""
        array = self._load_array()
        if array.shape[2] != self.channels and (self._array is None or {array.shape[2], self.channels} - {1, 3, 4}):
            raise wrong_channels(self.path, f'{array.shape[2]} channels', self.channels)
        return array

    def _array_region(self, box: Box, size: Tuple[int, int]) -> Tuple[Sequence[Plane], Box, int]:
        """The part of the array that a crop needs, the box ``(x0, y0, x1, y1)`` in it, and 1 for upright."""
        left, top, width, height = box
        array = self._open_array()
        # the widest filter reaches three output pixels beyond the box
        margin_x, margin_y = 3 * max(width / size[1], 1) + 1, 3 * max(height / size[0], 1) + 1
        x0, y0 = max(floor(left - margin_x), 0), max(floor(top - margin_y), 0)
        x1, y1 = ceil(left + width + margin_x), ceil(top + height + margin_y)
        region = channels_to_8_bits(np.array(array[y0:y1, x0:x1]), self.value_range)
        planes = array_to_planes(region, self.channels, self.path)
        return planes, (left - x0, top - y0, left + width - x0, top + height - y0), 1


def _page(image: Image.Image, number: int) -> Image.Image:
    if number:
        image.seek(number)
    image.load()
    return image.copy() if number else image


def _resized(plane: Plane, box: Box, size: Tuple[int, int], interpolation: str) -> Plane:
    """The box ``(x0, y0, x1, y1)`` of a plane at ``(height, width)``."""
    if isinstance(plane, np.ndarray):
        pixels = resize_box(plane, box, size, interpolation)
        if pixels is not None:
            return pixels
    return _to_image(plane).resize(size[::-1], INTERPOLATIONS[interpolation], box)


def _to_image(plane: Plane) -> Image.Image:
    """``[H, W, 1 or 3]`` as a Pillow image; a Pillow image stays as it is."""
    if not isinstance(plane, np.ndarray):
        return plane
    return Image.fromarray(plane.squeeze(2) if plane.shape[2] == 1 else plane)


def _draft(image: Image.Image, shrink: int, channels: int) -> int:
    """Make a JPEG decode at 1 / ``shrink``; returns the scale, which is 1 for other formats."""
    applied = image.draft('L' if channels == 1 else None, (image.width // shrink, image.height // shrink))
    return shrink if applied is not None else 1


@contextmanager
def _reading(path: str):
    """Turn any exception into :class:`ImageReadError`; Pillow's warnings about metadata are not shown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    except ImageReadError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageReadError(path, too_many_pixels()) from error
    except UnidentifiedImageError as error:
        empty = os.path.isfile(path) and os.path.getsize(path) == 0
        reason = 'the file is empty' if empty else f'not an image of a known format ({", ".join(FORMATS)})'
        raise ImageReadError(path, reason) from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ValueError and more
        raise ImageReadError(path, f'{type(error).__name__}: {error}') from error
