"""Convert any Pillow mode to the requested channels; the table is in :mod:`~mmmim.datasets.io.image_io`."""

from typing import List

import numpy as np
from PIL import Image


class ImageReadError(ValueError):
    """An image that can't be read.

    Attributes:
        path (str): The file.
        reason (str): What is wrong with it, in words.
    """

    def __init__(self, path: str, reason: str = ''):
        super().__init__(path, reason)  # both, so that it can be pickled from a worker process
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f'{self.path}: {self.reason}'


def to_planes(image: Image.Image, channels: int, path: str) -> List[Image.Image]:
    """The pixels of an image as one Pillow image of 1, 3 or 4 channels, or as ``channels`` images of one each."""
    if channels in (1, 3, 4):
        return [_to_mode(image, {1: 'L', 3: 'RGB', 4: 'RGBA'}[channels])]
    pages = getattr(image, 'n_frames', 1)
    if image.format != 'TIFF' or pages != channels:
        raise wrong_channels(path, f'{pages} page(s) of {len(image.getbands())} channel(s)', channels)
    planes = []
    for page in range(pages):
        image.seek(page)
        planes.append(_to_mode(image.copy(), 'L'))
        if planes[page].size != planes[0].size:
            raise ImageReadError(path, f'its pages have different sizes: {planes[0].size}, {planes[page].size}')
    return planes


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Any Pillow mode to ``L``, ``RGB`` or ``RGBA``, after the table of :mod:`~mmmim.datasets.io.image_io`."""
    if image.mode == 'F' or image.mode.startswith('I'):
        image = _grey_to_8_bits(image)
    if image.has_transparency_data:
        if image.mode in ('La', 'RGBa'):  # colours already multiplied by alpha
            image = image.convert('LA' if image.mode == 'La' else 'RGBA')
        image = image if image.mode == 'RGBA' else image.convert('RGBA')
        if mode != 'RGBA':
            image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
    elif image.mode not in ('L', 'RGB'):
        image = image.convert('RGB')  # the one conversion that Pillow has from every mode
    image.load()  # the file is closed after this
    return image if image.mode == mode else image.convert(mode)


def _grey_to_8_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if image.mode == 'F':
        values = np.nan_to_num(values)
        if values.min() >= 0 and values.max() <= 1:
            values = values * 255
        return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    return Image.fromarray(to_8_bits(np.clip(values, 0, 65535)))


def to_8_bits(values: np.ndarray) -> np.ndarray:
    """0..65535 to 0..255, rounded: 257 * k becomes k."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def wrong_channels(path: str, found: str, asked: int) -> ImageReadError:
    return ImageReadError(
        path,
        f'has {found}, but {asked} channels were asked for (numbers other than 1, 3 and 4 need '
        'a .npy array [H, W, C] or a TIFF with one page for each channel)',
    )
