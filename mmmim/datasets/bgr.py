"""Transforms of other libraries on the channel order that they expect."""

from typing import Dict, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose

from ..registry import TRANSFORMS


@TRANSFORMS.register_module()
class AsBGR(BaseTransform):
    """Runs transforms of mmcv and mmpretrain on ``img`` in BGR, and gives RGB back.

    Theirs take OpenCV's order for granted: RandAugment's colour and contrast would weigh red as blue in the grey image
    that they blend with.

    Args:
        transforms: Configs of the transforms.
    """

    def __init__(self, transforms: Sequence[dict]) -> None:
        self.transforms = Compose(transforms)

    def transform(self, results: Dict) -> Dict:
        """``img`` is ``[h, w, 3]`` before and after."""
        results['img'] = np.ascontiguousarray(results['img'][..., ::-1])
        results = self.transforms(results)
        results['img'] = np.ascontiguousarray(results['img'][..., ::-1])
        return results
