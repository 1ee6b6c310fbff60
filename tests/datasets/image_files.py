"""Pictures and image files for tests."""

import numpy as np
from PIL import Image


def save(path, image, **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(path, **options)
    return str(path)


def smooth(height, width):
    """A colour picture without sharp edges, [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    waves = [127 + 100 * np.sin(x / 23 + y / 31 + phase) for phase in (0, 2, 4)]
    return np.stack(waves, axis=2).astype(np.uint8)


def exif_with(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# What each orientation does to the pixels that are stored, [H, W, C], written down independently of Pillow.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}
