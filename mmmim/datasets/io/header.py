"""What an image file says of itself before its pixels are read: format, size, orientation, channels, type of values."""

import os
import struct
from typing import BinaryIO, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from .formats import FORMATS, apply_pixel_limit

ORIENTATION_TAG = 0x0112
_TIFF_STARTS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')  # the latter two: BigTIFF
_PNG_START = b'\x89PNG\r\n\x1a\n'
_COLOURS = {2: 3, 3: 3, 5: 4, 6: 3, 8: 3}  # TIFF's photometric interpretation: samples of a pixel; others have one
_MOST_PAGES, _MOST_ENTRIES = 4096, 4096  # looked at, at most: pages, and entries of one


class Header(NamedTuple):
    """What is known without decoding.

    Attributes:
        kind: Pillow's name of the format.
        size: ``(width, height)`` as stored.
        orientation: EXIF's, 1 to 8, as far as it is still to be applied.
        bands: Channels without alpha: 1 for grey, 3 for any colour, else what a TIFF states.
        dtype: Of the stored values.
        reader: Who decodes it: ``'pillow'``; ``'opencv'`` (PNG of 16-bit colour, which Pillow would cut to 8 bits); or
            ``'tiff'`` (:mod:`~mmmim.datasets.io.tiff`).
        alpha: Whether the last sample of a pixel is opacity.
        rgb: Whether the first three channels of more are red, green and blue.
        pages: Of a grey TIFF, if all have the size of the first: they may be channels. Else 1.
    """

    kind: str
    size: Tuple[int, int]
    orientation: int
    bands: int = 3
    dtype: np.dtype = np.dtype(np.uint8)
    reader: str = 'pillow'
    alpha: bool = False
    rgb: bool = False
    pages: int = 1

    @property
    def deep(self) -> bool:
        """Whether its values are other than 8 bits."""
        return self.dtype != np.uint8


def read_header(file: BinaryIO) -> Header:
    """The header of a file. Raises what Pillow raises for a file that is no image."""
    apply_pixel_limit()
    start = file.read(32)
    file.seek(0)
    if start[:4] in _TIFF_STARTS:
        return _tiff_header(file)
    image, orientation = open_image(file)
    kind, size, bands = str(image.format), image.size, 1 if image.mode in _GREY else 3
    if start.startswith(_PNG_START) and start[24] == 16:
        colour = start[25]  # 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA
        reader = 'pillow' if colour == 0 else 'opencv'
        return Header(kind, size, orientation, bands, np.dtype(np.uint16), reader, colour in (4, 6))
    return Header(kind, size, orientation, bands, _dtype_of(image.mode), alpha=image.mode in _ALPHA)


_GREY = ('1', 'L', 'LA', 'La', 'I', 'F', 'I;16', 'I;16B', 'I;16L', 'I;16N')
_ALPHA = ('LA', 'La', 'RGBA', 'RGBa', 'PA')


def _dtype_of(mode: str) -> np.dtype:
    """Of the values in a Pillow mode. ``I`` is what Pillow makes of 16-bit PPM."""
    return np.dtype(np.float32 if mode == 'F' else np.uint16 if mode.startswith('I') else np.uint8)


def open_image(file: BinaryIO) -> Tuple[ImageFile.ImageFile, int]:
    """The image with only its header read, and its EXIF orientation (1 to 8)."""
    apply_pixel_limit()
    image = Image.open(file, formats=FORMATS)
    if image.format == 'TIFF':
        return image, 1  # Pillow turns these upright itself
    try:
        # not image.getexif(): for a PNG that decodes all pixels
        orientation = Image.Image.getexif(image).get(ORIENTATION_TAG)
        if orientation is None and image.format == 'PNG':
            exif = Image.Exif()
            exif.load(_late_png_exif(file))
            orientation = exif.get(ORIENTATION_TAG)
    except Exception:  # damaged metadata says nothing about the pixels
        orientation = 1
    return image, orientation if orientation in range(1, 9) else 1


def _late_png_exif(file: BinaryIO) -> bytes:
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


def _tiff_header(file: BinaryIO) -> Header:
    tags, pages = _tiff_tags(file), _pages_of_one_size(file)
    file.seek(0)
    samples, bits, photometric = tags.get(277, 1), tags.get(258, (1,)), tags.get(262, 1)
    dtype = _tiff_dtype(max(bits), max(tags.get(339, (1,))))
    extra = tags.get(338, ())
    usual = _COLOURS.get(photometric, 1)
    alpha = samples > 1 and len(extra) > 0 and extra[-1] in (1, 2)
    bands, rgb = samples - alpha, photometric == 2
    plain = dtype == np.uint8 and bands == usual
    if samples == 1 and (plain or dtype is not None):
        reader = 'pillow' if dtype is not None and dtype.str[1:] in ('u1', 'u2', 'u4', 'i2', 'i4', 'f4') else 'tiff'
    else:
        reader = 'pillow' if plain else 'tiff'
    bands, pages = 3 if plain and usual > 1 else bands, pages if samples == 1 and usual == 1 else 1
    size = (int(tags[256]), int(tags[257]))
    Image._decompression_bomb_check(size)
    turned = tags.get(ORIENTATION_TAG, 1)
    turned = turned if turned in range(1, 9) else 1
    if reader == 'pillow':  # which turns TIFFs upright itself, and says the upright size
        size, turned = size[::-1] if turned > 4 else size, 1
    return Header('TIFF', size, turned, bands, np.dtype(dtype or np.uint8), reader, alpha, rgb, pages)


def _tiff_tags(file: BinaryIO) -> TiffImagePlugin.ImageFileDirectory_v2:
    """The first directory. Pillow opens only those pixels that it has a mode for."""
    file.seek(0)
    start = file.read(8)
    if start[2:3] == b'+' or start[3:4] == b'+':
        start += file.read(8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(start)
    file.seek(tags.next)
    tags.load(file)
    if 256 not in tags or 257 not in tags:
        raise ValueError('the TIFF states no size')
    return tags


def _pages_of_one_size(file: BinaryIO) -> int:
    """Directories in the chain of a TIFF; 1 where their images differ in size, as those of a thumbnail do."""
    file.seek(0)
    start = file.read(16)
    order, big = '<' if start[:2] == b'II' else '>', b'+' in start[2:4]
    place = struct.unpack(order + ('Q' if big else 'I'), start[8:16] if big else start[4:8])[0]
    long, entry = (8, 20) if big else (4, 12)
    seen, sizes = set(), set()
    while place and place not in seen and len(seen) < _MOST_PAGES:
        seen.add(place)
        file.seek(place)
        head = file.read(8 if big else 2)
        if len(head) < (8 if big else 2):
            break
        count = struct.unpack(order + ('Q' if big else 'H'), head)[0]
        entries = file.read(min(count, _MOST_ENTRIES) * entry)
        sizes.add(_size_in(entries, entry, order))
        if len(sizes) > 1 or count > _MOST_ENTRIES:
            return 1
        following = file.read(long)
        place = struct.unpack(order + ('Q' if big else 'I'), following)[0] if len(following) == long else 0
    return max(len(seen), 1)


def _size_in(entries: bytes, length: int, order: str) -> Tuple[int, int]:
    """Width and height that a directory states, each in an entry of ``length`` bytes: tag, type, count, value."""
    found = {256: 0, 257: 0}
    for start in range(0, len(entries) - length + 1, length):
        tag, kind = struct.unpack_from(f'{order}HH', entries, start)
        if tag in found and kind in (3, 4):  # 16 bits, 32 bits
            (found[tag],) = struct.unpack_from(order + ' HI'[kind - 2], entries, start + length // 2 + 2)
    return found[256], found[257]


def _tiff_dtype(bits: int, sample_format: int) -> Optional[np.dtype]:
    """Of TIFF's BitsPerSample and SampleFormat; None for one that NumPy does not have. Fewer bits than 8 count as 8."""
    if bits <= 8 and sample_format in (1, 4):
        return np.dtype(np.uint8)
    if bits <= 16 and sample_format in (1, 4) and bits not in (16,):  # 10, 12, 14 bits
        return np.dtype(np.uint16)
    kind = {1: 'u', 2: 'i', 3: 'f', 4: 'u'}.get(sample_format)
    if kind is None or bits not in (8, 16, 32, 64) or (kind == 'f' and bits == 8):
        return None
    return np.dtype(f'{kind}{bits // 8}')
