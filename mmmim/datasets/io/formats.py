"""Image formats that are read, the endings of file names that belong to each, and the largest image."""

import os
from typing import Dict, Tuple

from PIL import Image

# A closed list: Pillow would hand an EPS file, whatever its name, to Ghostscript.
ENDINGS: Dict[str, Tuple[str, ...]] = {
    'JPEG': ('jpg', 'jpeg', 'jpe', 'jfif', 'jif', 'mpo'),
    'PNG': ('png', 'apng'),
    'WEBP': ('webp',),
    'BMP': ('bmp', 'dib'),
    'GIF': ('gif',),
    'TIFF': ('tif', 'tiff'),
    'PPM': ('ppm', 'pgm', 'pbm', 'pnm'),
    'JPEG2000': ('jp2', 'j2k', 'jpf', 'jpx', 'jpc', 'j2c'),
}
FORMATS = tuple(ENDINGS)
IMAGE_EXTENSIONS = (*(ending for endings in ENDINGS.values() for ending in endings), 'npy')

LIMIT_NAME = 'MMMIM_MAX_PIXELS'


def apply_pixel_limit() -> None:
    """Make ``MMMIM_MAX_PIXELS`` of the environment, where it is set, the largest number of pixels that Pillow opens.

    Raises:
        ValueError: It is no whole number above 0.
    """
    text = os.environ.get(LIMIT_NAME)
    if text is None:
        return
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f'{LIMIT_NAME}={text!r} must be a number of pixels, such as 1000000000')
    Image.MAX_IMAGE_PIXELS = -(-int(text) // 2)  # Pillow refuses images of more than twice its limit


def too_many_pixels() -> str:
    """What to do about an image above the limit."""
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
    return (
        f"has more than {limit:,} pixels, Pillow's limit against files that fill the memory. For files that you trust "
        f'{LIMIT_NAME}=1000000000 in the environment raises it; cutting them into tiles also trains faster'
    )
