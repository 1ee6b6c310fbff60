"""Putting samples together into a batch."""

from typing import Dict, List, Sequence, Union

import torch
from torch import Tensor

from ..registry import FUNCTIONS
from .encoded import EncodedCrop


@FUNCTIONS.register_module()
def mim_collate(samples: Sequence[dict]) -> Dict[str, Union[Tensor, list]]:
    """Collate what :class:`~mmmim.datasets.transforms.PackImage` packs.

    Args:
        samples: Each ``dict(inputs=uint8 [C, H, W], data_samples=DataSample)``; ``inputs`` may also be a list of views,
            or an :class:`~mmmim.datasets.encoded.EncodedCrop`.

    Returns:
        ``dict(inputs=uint8 [B, C, H, W], data_samples=list of B)``; for views ``inputs`` is a list of such tensors; if
        some images are to be decoded on the device, a list of B.

    Raises:
        ValueError: if the images have different shapes.
    """
    inputs = [sample['inputs'] for sample in samples]
    data_samples = [sample['data_samples'] for sample in samples]
    if isinstance(inputs[0], (list, tuple)):
        return dict(inputs=[_stack(list(view)) for view in zip(*inputs, strict=True)], data_samples=data_samples)
    if any(isinstance(image, EncodedCrop) for image in inputs):
        return dict(inputs=inputs, data_samples=data_samples)
    return dict(inputs=_stack(inputs), data_samples=data_samples)


def _stack(images: List[Tensor]) -> Tensor:
    first = images[0].shape
    for image in images:
        if image.shape != first:
            raise ValueError(
                f'a batch needs images of one shape, but these have {list(first)} and {list(image.shape)} '
                '([C, H, W]). Put a crop of fixed size in the pipeline, such as RandomResizedCrop, '
                'CenterCrop or Resize.'
            )
    return torch.stack(images)
