"""TIFFs that Pillow has no mode for: many bands, chunky or planar, any number type; by tifffile and imagecodecs."""

from typing import Any, BinaryIO

import cv2
import numpy as np

from .header import Header
from .pixel_formats import ImageReadError, wrong_channels

INSTALL = 'pip install tifffile imagecodecs (the extra "tiff")'


def read_tiff(file: BinaryIO, header: Header, channels: int, path: str) -> np.ndarray:
    """The pixels as stored, ``[H, W, C]`` in their own type.

    C is ``channels``, or for 1, 3 and 4 of them also 1 (grey) or 3 and 4 (the red, green and blue of more bands, and
    alpha), to be converted.

    Raises:
        ImageReadError: tifffile or a codec is not installed, or the file has other channels.
    """
    try:
        import tifffile
    except ImportError:
        return _by_opencv(file, header, path)
    try:
        with tifffile.TiffFile(file) as tiff:
            pages: Any = tiff.pages
            first = pages[0]
            if header.pages == channels > 1:
                return np.stack([page.asarray() for page in pages], axis=-1)
            values = first.asarray()
            axes, inverted = first.axes, int(first.photometric) == 0 and values.dtype.kind == 'u'
    except (ValueError, ImportError) as error:
        missing = isinstance(error, ImportError) or 'imagecodecs' in str(error)
        reason = (
            f'its compression needs imagecodecs ({str(error).splitlines()[0]}): {INSTALL}'
            if missing
            else f'{type(error).__name__}: {error}'
        )
        raise ImageReadError(path, reason) from error
    values = values[..., None] if values.ndim == 2 else values.transpose(1, 2, 0) if axes[0] == 'S' else values
    if inverted:  # white is 0
        values = np.iinfo(values.dtype).max - values
    return chosen_bands(values, header, channels, path)


def chosen_bands(values: np.ndarray, header: Header, channels: int, path: str) -> np.ndarray:
    """Of the bands ``[H, W, C]`` of a file those that make ``channels`` channels. Raises :class:`ImageReadError`."""
    if header.bands == channels:
        return values[..., :channels]  # without alpha
    if channels in (1, 3, 4):
        colours = 3 if header.rgb else 1 if values.shape[2] - header.alpha == 1 else 0
        if colours:
            kept = values[..., :colours]
            return np.concatenate([kept, values[..., -1:]], axis=2) if header.alpha else kept
    if values.shape[2] == channels:
        return values
    raise wrong_channels(path, f'{header.bands} channel(s)', channels)


def _by_opencv(file: BinaryIO, header: Header, path: str) -> np.ndarray:
    """Three channels are read without tifffile, too."""
    if header.bands == 3 and not header.alpha:
        return read_deep(file.read(), path)
    raise ImageReadError(
        path,
        f'a TIFF of {header.bands} channels of {header.dtype} is read by tifffile, which is not installed: {INSTALL}; '
        'or convert it to a .npy array [H, W, C]',
    )


def read_deep(content: bytes, path: str) -> np.ndarray:
    """RGB or RGBA of more than 8 bits ``[H, W, 3 or 4]``, by OpenCV. Raises :class:`ImageReadError`."""
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3:
        raise ImageReadError(path, 'it is damaged or not whole')
    return cv2.cvtColor(values, cv2.COLOR_BGR2RGB if values.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
