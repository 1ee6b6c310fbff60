"""Transforms that make two views of an image: ``views``, a list of the online and the target one.

The colour augmentation of the target view runs later, on the batch
(:class:`~mmmim.models.preprocess.ViewPreprocessor`).
"""

from typing import Dict, Sequence

import numpy as np

from ..registry import TRANSFORMS
from .transforms import BaseTransform, RandomFlip, RandomResizedCrop, Size, _checked_size


@TRANSFORMS.register_module()
class PixelShift(BaseTransform):
    """CMAE's two views: windows of one master crop, a few pixels apart (section 3.2). The image is decoded once.

    The master is a random resized crop, flipped or not. The online view is its window at [0, 0]; the target view's is
    at (r_h, r_w), each drawn from 0..``max_shift`` inclusive.

    Args:
        size: ``(height, width)`` of both views, or one int.
        master_size: ``(height, width)`` of the master crop, or one int. The paper's is ``size + max_shift + 1``, the
            range of r being [0, 32).
        max_shift: Largest shift in pixels; 31 in the paper (Figure 4a varies it), at 224 pixels.
        scale: Range of the master's area as a share of the image's.
        ratio: Range of its width / height.
        interpolation: nearest, box, bilinear, hamming, bicubic or lanczos.
        flip_prob: Probability that the master is mirrored left to right.

    Raises:
        ValueError: The windows do not fit into the master crop.
    """

    def __init__(
        self,
        size: Size = 224,
        master_size: Size = 256,
        max_shift: int = 31,
        scale: Sequence[float] = (0.2, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
        flip_prob: float = 0.5,
    ):
        self.size, self.master_size, self.max_shift = _checked_size(size), _checked_size(master_size), max_shift
        if not isinstance(max_shift, int) or max_shift < 0:
            raise ValueError(f'max_shift is {max_shift!r}; it must be an int, 0 or more')
        room = min(m - s for m, s in zip(self.master_size, self.size))
        if room < max_shift:
            raise ValueError(
                f'max_shift={max_shift} is more than a master crop of {self.master_size} leaves for views '
                f'of {self.size}: lower it to {room} (if that is not negative) or raise master_size to '
                f'{max(self.size) + max_shift}'
            )
        self.master = RandomResizedCrop(master_size, scale, ratio, interpolation)
        self.flip = RandomFlip(flip_prob)

    def transform(self, results: Dict) -> Dict:
        """Turn ``source`` into ``views``."""
        results['decode'] = 'worker'  # once, for both views
        master = self.flip.transform(self.master.transform(results)).pop('img')
        (h, w), (top, left) = self.size, np.random.randint(0, self.max_shift + 1, size=2)
        results['views'] = [master[:h, :w], master[top : top + h, left : left + w]]
        return results


@TRANSFORMS.register_module()
class TwoCrops(BaseTransform):
    """Two independent random resized crops, as contrastive methods take them (CMAE, Table 4b "Rand crop").

    Args:
        size: ``(height, width)`` of both views, or one int.
        scale: Range of each crop's area as a share of the image's.
        ratio: Range of its width / height.
        interpolation: nearest, box, bilinear, hamming, bicubic or lanczos.
        flip_prob: Probability that each is mirrored left to right.
    """

    def __init__(
        self,
        size: Size = 224,
        scale: Sequence[float] = (0.2, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
        flip_prob: float = 0.5,
    ):
        self.crop = RandomResizedCrop(size, scale, ratio, interpolation)
        self.flip = RandomFlip(flip_prob)

    def transform(self, results: Dict) -> Dict:
        """Turn ``source`` into ``views``."""
        results['decode'] = 'worker'
        results['views'] = [self.flip.transform(self.crop.transform(results)).pop('img') for _ in range(2)]
        return results
