"""Convert any Pillow mode to the requested channels; the table is in :mod:`~mmmim.datasets.io.image_io`."""

from typing import List, Optional

import numpy as np
from PIL import Image

from .value_range import ValueRange, default_range, to_8_bits


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


def to_planes(
    image: Image.Image, channels: int, path: str, value_range: Optional[ValueRange] = None, pages: int = 1
) -> List[Image.Image]:
    """The pixels of an image as one Pillow image of 1, 3 or 4 channels, or its grey pages as ``channels`` images."""
    if pages == channels > 1:
        return _pages_to_planes(image, channels, value_range)
    if channels not in (1, 3, 4):
        raise wrong_channels(path, f'{pages} page(s) of {len(image.getbands())} channel(s)', channels)
    return [_to_mode(image, {1: 'L', 3: 'RGB', 4: 'RGBA'}[channels], value_range)]


def _pages_to_planes(image: Image.Image, channels: int, value_range: Optional[ValueRange]) -> List[Image.Image]:
    one_each = value_range is not None and not isinstance(value_range[0], (int, float))
    planes: List[Image.Image] = []
    for page in range(channels):
        image.seek(page)
        wanted = value_range[page] if one_each else value_range  # type: ignore[index]
        planes.append(_to_mode(image.copy(), 'L', wanted))  # type: ignore[arg-type]
    return planes


def array_to_planes(array: np.ndarray, channels: int, path: str) -> List[Image.Image]:
    """The same of an array ``[H, W, C]`` uint8, where C is 1, 3, 4 or ``channels``.

    Raises:
        ImageReadError: It has other channels.
    """
    count = array.shape[2]
    if count == channels and count not in (1, 3):
        # also for 4, which need not be RGBA: resizing as RGBA would weight three channels by the fourth
        return [Image.fromarray(np.ascontiguousarray(array[:, :, i])) for i in range(count)]
    if count not in (1, 2, 3, 4) or channels not in (1, 3, 4):
        raise wrong_channels(path, f'{count} channel(s)', channels)
    array = np.ascontiguousarray(array[:, :, 0] if count == 1 else array)
    return to_planes(Image.fromarray(array), channels, path)


def _to_mode(image: Image.Image, mode: str, value_range: Optional[ValueRange] = None) -> Image.Image:
    """Any Pillow mode to ``L``, ``RGB`` or ``RGBA``, after the table of :mod:`~mmmim.datasets.io.image_io`."""
    if image.mode == 'F' or image.mode.startswith('I'):
        mapped = channels_to_8_bits(grey_values(image)[..., None], value_range)
        image = Image.fromarray(mapped.squeeze(2) if mapped.shape[2] == 1 else mapped)
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


def grey_values(image: Image.Image) -> np.ndarray:
    """``[H, W]`` of a grey image of more than 8 bits, in the type of the file."""
    values = np.asarray(image)
    if image.mode != 'I':
        return values
    tags = getattr(image, 'tag_v2', {})
    kind, bits = tags.get(339, (1,))[0], max(tags.get(258, (16,)))
    if tags and bits == 32:
        return values if kind == 2 else values.view(np.uint32)
    return values.astype(np.int16 if tags and kind == 2 else np.uint16) if bits == 16 else values


def deep_to_8_bits(values: np.ndarray, alpha: bool, value_range: Optional[ValueRange]) -> np.ndarray:
    """``[H, W, C]`` of any type to uint8; opacity, if it is the last channel, has the range of its type."""
    if not alpha or values.shape[2] not in (2, 4):
        return channels_to_8_bits(values, value_range)
    opacity = to_8_bits(values[..., -1:], default_range(values.dtype))
    return np.concatenate([channels_to_8_bits(values[..., :-1], value_range), opacity], axis=2)


def channels_to_8_bits(values: np.ndarray, value_range: Optional[ValueRange]) -> np.ndarray:
    """``[H, W, C]`` to uint8. Of a pair for each channel that is asked for, grey takes all those of colours and becomes
    colour, colour that becomes grey takes the one, and colour without opacity the first three."""
    count = 1 if value_range is None or isinstance(value_range[0], (int, float)) else len(value_range)
    if value_range is None or values.shape[2] == count or values.dtype == np.uint8:
        return to_8_bits(values, value_range)
    if count == 1 and not isinstance(value_range[0], (int, float)):
        return to_8_bits(values, value_range[0])
    if count in (3, 4) and values.shape[2] in (1, 3):
        return to_8_bits(np.broadcast_to(values, (*values.shape[:2], 3)), value_range[:3])  # type: ignore[arg-type]
    return to_8_bits(values, value_range)


def wrong_channels(path: str, found: str, asked: int) -> ImageReadError:
    return ImageReadError(
        path,
        f'has {found}, but {asked} channels were asked for (numbers other than 1, 3 and 4 need '
        'a .npy array [H, W, C] or a TIFF with as many channels or pages)',
    )
