"""From uint8 batches to normalised float batches, on the device."""

from typing import Dict, List, Optional, Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn

from ..datasets.encoded import EncodedCrop, StandIn, decode_crops
from ..registry import MODELS
from .build import build_part

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@MODELS.register_module()
class MIMDataPreprocessor(BaseDataPreprocessor):
    """Moves a batch to the device and normalises it there.

    Images travel as uint8. The result is in torch's default dtype. Two views (a list of batches) stay a list.

    Args:
        mean: One value a channel, in units of 0..255 (default: ImageNet's, RGB).
        std: The same.
        non_blocking: Copy from pinned memory without waiting.

    Raises:
        ValueError: Different lengths of mean and std, a std that is not positive, or images with another number of
            channels.
    """

    def __init__(
        self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD, non_blocking: bool = True
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        mean, std = tuple(map(float, mean)), tuple(map(float, std))
        if len(mean) != len(std) or min(std, default=0) <= 0:
            raise ValueError(f'mean={mean} and std={std} need one value a channel, and a std above 0')
        self.mean, self.std = mean, std
        self.register_buffer('_mean', torch.tensor(mean).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer('_std', torch.tensor(std).reshape(1, -1, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """``dict(inputs=uint8 [B, C, H, W] or a list of such, data_samples=list)`` to the same with float inputs.

        Crops that are still encoded (``LoadImage(decode='device')``) are decoded here. Where one can't be read,
        another of the batch stands in for it, which its data sample then says as if the data set had replaced it.

        Raises:
            ImageReadError: None of such a batch can be read, or one where there are no data samples to say so.
        """
        inputs = data['inputs']
        if isinstance(inputs, (list, tuple)) and any(isinstance(image, EncodedCrop) for image in inputs):
            inputs, stand_ins = decode_crops(inputs, self.device)
            _record(stand_ins, data.get('data_samples'))
        if isinstance(inputs, (list, tuple)) and inputs and inputs[0].ndim == 3:
            inputs = torch.stack(list(inputs))
        if isinstance(inputs, (list, tuple)):
            views = self.change_views([self.to_float(view) for view in inputs], data.get('data_samples'))
            inputs = [self.normalize(view) for view in views]
        else:
            inputs = self.normalize(inputs)
        return dict(inputs=inputs, data_samples=self.cast_data(data.get('data_samples')))

    def change_views(self, views: List[Tensor], data_samples: Optional[list]) -> List[Tensor]:
        """What happens to several views before they are normalised: here nothing."""
        return views

    def to_float(self, images: Tensor) -> Tensor:
        """``[B, C, H, W]`` in 0..255 to torch's default dtype, on the device."""
        if images.shape[1] != len(self.mean):
            raise ValueError(
                f'images have {images.shape[1]} channels, but data_preprocessor.mean has {len(self.mean)} '
                'values. Let `channels` of the loading transform, `in_chans` of the backbone and the '
                'length of mean and std agree'
            )
        return images.to(self.device, non_blocking=self._non_blocking).to(torch.get_default_dtype())

    def normalize(self, images: Tensor) -> Tensor:
        """``[B, C, H, W]`` in 0..255 to zero mean and unit variance, on the device."""
        return (self.to_float(images) - self._mean) / self._std

    def denormalize(self, images: Tensor) -> Tensor:
        """Inverse of :meth:`normalize`, for pictures: ``[B, C, H, W]`` in 0..255, float."""
        return images * self._std + self._mean

    def cast_data(self, data: Optional[list]) -> Optional[list]:
        """Labels stay on the host: pre-training does not need them on the device."""
        return data


def _record(stand_ins: Dict[int, StandIn], data_samples: Optional[list]) -> None:
    """Write on the samples, which the loop's hooks also see, what :class:`.RetryingDataset` would have written."""
    for place, (other, error) in stand_ins.items():
        if not data_samples:
            raise error
        sample, shown = data_samples[place], data_samples[other]
        replaced = [*sample.get('replaced', []), (error.path, error.reason)]
        sample.set_metainfo(dict(img_path=shown.img_path, replaced=replaced))
        if 'gt_label' in shown:
            sample.gt_label = shown.gt_label


@MODELS.register_module()
class ViewPreprocessor(MIMDataPreprocessor):
    """Also changes the colours of the second of two views, the target's, on the device (CMAE, section 3.2).

    Args:
        target_view: Config of the change, such as ``dict(type='ColorAugment')``; None: none.
        mean, std, non_blocking: Of :class:`MIMDataPreprocessor`.
    """

    def __init__(
        self,
        target_view: Optional[dict] = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(mean, std, non_blocking)
        self.target_view: Optional[nn.Module] = build_part(target_view, 'data_preprocessor.target_view')

    def change_views(self, views: List[Tensor], data_samples: Optional[list]) -> List[Tensor]:
        if self.target_view is None:
            return views
        online, second = views
        if data_samples and all('seed' in sample for sample in data_samples):
            seeds = torch.tensor([sample.seed for sample in data_samples], dtype=torch.int64)
        else:  # a call outside the training loop
            seeds = torch.randint(2**62, (len(second),))
        return [online, self.target_view(second / 255, seeds) * 255]
