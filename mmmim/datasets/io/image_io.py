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
16-bit grey                             times 1/257, so that 65535 becomes 255 (Pillow's own conversion clips)
32-bit integer grey                     taken for 16-bit values: clipped to 0..65535, then times 1/257
16-bit colour                           the high byte
float grey                              times 255 if all values lie in [0, 1], otherwise clipped to 0..255; NaN is 0
several frames (GIF, WebP, TIFF ...)    the first one, for 1, 3 and 4 channels
TIFF with exactly C pages               one channel a page (its luminance), for C other than 1, 3 and 4
``.npy`` array [H, W, C] or [H, W]      as it is, any C: uint8, or uint16 times 1/257; never unpickled
======================================  =========================================================================

Anything else, and any other number of channels, raises :class:`ImageReadError`, as does a file that is empty,
truncated, not an image, or so large that it looks like a decompression bomb (Pillow's limit).
"""

import io
import os
import struct
import warnings
from contextlib import contextmanager
from functools import cached_property
from math import ceil, floor
from typing import Any, BinaryIO, Dict, Optional, Sequence, Tuple, Union

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from .jpeg import can_wait, decode_jpeg, resize_box
from .pixel_formats import ImageReadError, to_8_bits, to_planes, wrong_channels

Box = Tuple[float, float, float, float]
Plane = Union[Image.Image, np.ndarray]  # the latter [H, W, 1 or 3] uint8

INTERPOLATIONS = {
    name: getattr(Image.Resampling, name.upper())
    for name in ('nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos')
}

# A closed list: Pillow would hand an EPS file, whatever its name, to Ghostscript.
FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'GIF', 'TIFF', 'PPM', 'JPEG2000')

_ORIENTATION_TAG = 0x0112
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
        source: Path of a file, or an array ``[H, W, C]`` uint8 or uint16, or an object with the bytes of a file
            (``read()``) and its name (``path``).
        channels: Number of output channels, see the table above.
    """

    def __init__(self, source: Union[str, os.PathLike, np.ndarray, Any], channels: int = 3):
        self.channels = channels
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
                return self._open_array().shape[1::-1]
            _, size, orientation = self._header
            return size[::-1] if _TURNS[orientation][1] else size

    @cached_property
    def _header(self) -> Tuple[str, Tuple[int, int], int]:
        """Format, size as stored, and orientation."""
        with self._open() as file:
            image, orientation = _open_image(file)
            return image.format, image.size, orientation

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
            kind, _, orientation = self._header
        return self._content if orientation == 1 and kind == 'JPEG' and can_wait(self._content, interpolation) else None

    def read(self) -> np.ndarray:
        """The whole upright image, ``[H, W, channels]`` uint8. Raises :class:`ImageReadError`."""
        width, height = self.size
        return self.crop((0, 0, width, height), (height, width))

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
        return open(self.path, 'rb') if self._encoded is None else io.BytesIO(self._content)

    def _decode(self, box: Box, size: Tuple[int, int]) -> Tuple[Sequence[Plane], Box, int]:
        """The image as stored, the box ``(x0, y0, x1, y1)`` in it, and its orientation."""
        left, top, width, height = box
        kind, (full_width, full_height), orientation = self._header
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
        with self._open() as file:
            image, _ = _open_image(file)
            shrink = _draft(image, shrink, self.channels)
            return to_planes(image, self.channels, self.path), shrink

    def _open_array(self) -> np.ndarray:
        """``[H, W, C]``, mapped into memory where it comes from a file."""
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
        if array.ndim != 3 or array.dtype not in (np.uint8, np.uint16) or 0 in array.shape:
            raise ImageReadError(
                self.path, f'holds {array.dtype} of shape {array.shape}; uint8 or uint16 [H, W, C] is needed'
            )
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
        region = np.array(array[y0:y1, x0:x1])
        if region.dtype == np.uint16:
            region = to_8_bits(region)
        count = region.shape[2]
        if count == self.channels and count not in (1, 3):
            # also for 4, which need not be RGBA: resizing as RGBA would weight three channels by the fourth
            planes = [Image.fromarray(np.ascontiguousarray(region[:, :, i])) for i in range(count)]
        else:
            planes = to_planes(Image.fromarray(region[:, :, 0] if count == 1 else region), self.channels, self.path)
        return planes, (left - x0, top - y0, left + width - x0, top + height - y0), 1


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


def _open_image(file) -> Tuple[ImageFile.ImageFile, int]:
    """The image with only its header read, and its EXIF orientation (1 to 8)."""
    image = Image.open(file, formats=FORMATS)
    if image.format == 'TIFF':
        return image, 1  # Pillow turns these upright itself
    try:
        # not image.getexif(): for a PNG that decodes all pixels
        orientation = Image.Image.getexif(image).get(_ORIENTATION_TAG)
        if orientation is None and image.format == 'PNG':
            exif = Image.Exif()
            exif.load(_late_png_exif(file))
            orientation = exif.get(_ORIENTATION_TAG)
    except Exception:  # damaged metadata says nothing about the pixels
        orientation = 1
    return image, orientation if orientation in _TURNS else 1


def _late_png_exif(file) -> bytes:
    """The eXIf chunk of a PNG that stands behind the pixels; empty if there is none."""
    position = file.tell()
    file.seek(8)
    exif = b''
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack('>I4s', head)
        if kind == b'eXIf':
            exif = file.read(length)
            break
        file.seek(length + 4, os.SEEK_CUR)  # 4: the checksum
    file.seek(position)
    return exif


@contextmanager
def _reading(path: str):
    """Turn any exception into :class:`ImageReadError`; Pillow's warnings about metadata are not shown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    except ImageReadError:
        raise
    except UnidentifiedImageError as error:
        empty = os.path.isfile(path) and os.path.getsize(path) == 0
        reason = 'the file is empty' if empty else f'not an image of a known format ({", ".join(FORMATS)})'
        raise ImageReadError(path, reason) from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ValueError and more
        raise ImageReadError(path, f'{type(error).__name__}: {error}') from error
