"""Random colours of one image, in the loading workers."""

import math
from typing import Dict, Sequence, Union

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from ..registry import TRANSFORMS
from .transforms import current_image


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

        self.ranges = {}  # of those that change anything
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
