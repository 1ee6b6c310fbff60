"""Preprocessing of a batch on the device: normalisation, and colour augmentation of a view."""

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from mmengine.model import BaseDataPreprocessor, BaseModule
from torch import Tensor, nn

from .. import randomness
from ..datasets.io.encoded import EncodedCrop, StandIn, decode_crops
from ..registry import MODELS
from .build import build_part
from .layers.blur import gaussian_blur

_GRAY = (0.2989, 0.587, 0.114)  # ITU-R 601, as torchvision rounds them
_STEPS = ('brightness', 'contrast', 'saturation', 'hue')


@MODELS.register_module()
class ColorAugment(BaseModule):
    """Colour augmentation of contrastive methods: colour jitter, grayscale and Gaussian blur.

    The jitter is torchvision's ``ColorJitter``: brightness, contrast, saturation and hue in a random order for each
    image. The draws depend on the image's seed alone, not on ranks or batches.

    Args:
        brightness, contrast, saturation: A factor is drawn from [max(0, 1 - x), 1 + x].
        hue: A shift is drawn from [-x, x], x at most 0.5.
        prob: Probability of colour jitter.
        gray_prob: Probability of grayscale.
        blur_prob: Probability of blur.
        blur_sigma: Range of the blur's standard deviation in pixels, drawn uniformly.

    Raises:
        ValueError: A value out of its range; when used, images that don't have 3 channels.
    """

    def __init__(
        self,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.1,
        prob: float = 0.8,
        gray_prob: float = 0.2,
        blur_prob: float = 0.0,
        blur_sigma: Sequence[float] = (0.1, 2.0),
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.strength = dict(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)
        if min(self.strength.values()) < 0 or hue > 0.5:
            raise ValueError(f'{self.strength} must not be negative, and hue at most 0.5')
        if not all(0 <= p <= 1 for p in (prob, gray_prob, blur_prob)) or not 0 < blur_sigma[0] <= blur_sigma[1]:
            raise ValueError(
                f'prob={prob}, gray_prob={gray_prob}, blur_prob={blur_prob} must lie in [0, 1], and '
                f'blur_sigma={tuple(blur_sigma)} be an ordered pair above 0'
            )
        self.prob, self.gray_prob, self.blur_prob, self.blur_sigma = prob, gray_prob, blur_prob, tuple(blur_sigma)

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        """``[B, 3, H, W]`` float in [0, 1] to the same. ``seeds`` ``[B]`` int64 lie on the host."""
        if images.shape[1] != 3:
            raise ValueError(
                f'colours are changed in images of 3 channels, but these have {images.shape[1]}: leave '
                'the colour part out (data_preprocessor.target_view=None)'
            )
        # drawn on the host, so that no device synchronisation is needed to select images
        draws = randomness.uniform(seeds, (12,), randomness.VIEW)
        images = self._jitter(images.clone(), draws)
        _change(images, draws[:, 9] < self.gray_prob, lambda x: _gray(x).expand_as(x))
        low, high = self.blur_sigma
        sigma = (low + (high - low) * draws[:, 11]).to(images.device, images.dtype, non_blocking=True)
        blurred = draws[:, 10] < self.blur_prob
        _change(images, blurred, lambda x, s: gaussian_blur(x, s, max_sigma=high), sigma)
        return images

    def _jitter(self, images: Tensor, draws: Tensor) -> Tensor:
        jittered, order = draws[:, 8] < self.prob, draws[:, 4:8].argsort(dim=1)
        factors = self._factors(draws[:, :4])
        for place in range(len(_STEPS)):
            for step, name in enumerate(_STEPS):
                if self.strength[name]:
                    factor = factors[name].to(images.device, images.dtype, non_blocking=True)
                    _change(images, jittered & (order[:, place] == step), _CHANGES[name], factor)
        return images

    def _factors(self, draws: Tensor) -> Dict[str, Tensor]:
        """``[B, 4]`` uniform numbers to each change's factor ``[B]``."""
        factors = {}
        for i, name in enumerate(_STEPS):
            x, center = self.strength[name], 0.0 if name == 'hue' else 1.0
            low = center - x if name == 'hue' else max(0.0, center - x)
            factors[name] = low + (center + x - low) * draws[:, i]
        return factors


def _change(images: Tensor, chosen: Tensor, function: Callable, *values: Tensor) -> None:
    """Apply ``function`` in place to the ``chosen`` (``[B]`` bool, on the host) images and their values."""
    ids = chosen.nonzero()[:, 0]
    if len(ids):
        ids = ids.to(images.device, non_blocking=True)
        images[ids] = function(images[ids], *(value[ids] for value in values))


def _gray(images: Tensor) -> Tensor:
    # plain numbers: creating a tensor of them here would synchronise with the GPU
    return sum(weight * channel for weight, channel in zip(_GRAY, images.split(1, dim=1)))


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    factor = factor.reshape(-1, 1, 1, 1)
    return (factor * images + (1 - factor) * other).clamp(0, 1)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """``[B, 3, H, W]`` in [0, 1] by one factor per image ``[B]``; the others likewise."""
    return (images * factor.reshape(-1, 1, 1, 1)).clamp(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(images, _gray(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(images, _gray(images), factor)


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Rotate the hue by ``shift`` ``[B]``, as a share of the circle."""
    hue, saturation, value = _to_hsv(images)
    turned = (hue + shift.reshape(-1, 1, 1)) % 1.0
    # each channel as a function of the hue: a trapezium over the circle of six
    position = torch.stack([start + 6 * turned for start in (5.0, 3.0, 1.0)], dim=1) % 6
    edge = torch.minimum(position, 4 - position).clamp(0, 1)
    return value[:, None] * (1 - saturation[:, None] * edge)


def _to_hsv(images: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """``[B, 3, H, W]`` to three of ``[B, H, W]``."""
    red, green, blue = images.unbind(dim=1)
    value, low = images.amax(dim=1), images.amin(dim=1)
    chroma = value - low
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))  # gray has no hue: 0
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    saturation = chroma / torch.where(value > 0, value, torch.ones_like(value))
    return (hue / 6) % 1.0, saturation, value


_CHANGES = dict(brightness=adjust_brightness, contrast=adjust_contrast, saturation=adjust_saturation, hue=adjust_hue)


IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@MODELS.register_module()
class MIMDataPreprocessor(BaseDataPreprocessor):
    """Moves a batch to the device and normalises it there.

    Images travel as uint8. The result is in torch's default dtype. Two views (a list of batches) stay a list.

    Args:
        mean: One value per channel, in units of 0..255 (default: ImageNet's, RGB).
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

        Crops that are still encoded (``LoadImage(decode='device')``) are decoded here. An unreadable one is replaced by
        another of the batch, which its data sample records as if the data set had replaced it.

        Raises:
            ImageReadError: No image of the batch can be read, or one can't and there are no data samples to record it.
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
        """Augment several views before they are normalised; here nothing."""
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
    """Record replaced images in the samples, for the loop's hooks, as :class:`.RetryingDataset` does."""
    for place, (other, error) in stand_ins.items():
        if not data_samples:
            raise error
        sample, shown = data_samples[place], data_samples[other]
        replaced = [*sample.get('replaced', []), (error.path, error.reason)]
        box = {key: shown.get(key) for key in ('crop_box', 'flipped') if key in shown}
        sample.set_metainfo(dict(img_path=shown.img_path, replaced=replaced, **box))
        if 'gt_label' in shown:
            sample.gt_label = shown.gt_label


@MODELS.register_module()
class ViewPreprocessor(MIMDataPreprocessor):
    """Also augments the colours of the second of two views, the target's, on the device (CMAE, section 3.2).

    Args:
        target_view: Config of the augmentation, such as ``dict(type='ColorAugment')``; None: none.
        mean, std, non_blocking: See :class:`MIMDataPreprocessor`.
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
        seeds = _seeds(data_samples, len(second))
        return [online, self.target_view(second / 255, seeds) * 255]


@MODELS.register_module()
class ColorPreprocessor(MIMDataPreprocessor):
    """Also augments the colours of training images, on the device.

    Args:
        colors: Config of the augmentation, such as ``dict(type='ColorAugment')``; None: none.
        mean, std, non_blocking: See :class:`MIMDataPreprocessor`.
    """

    def __init__(
        self,
        colors: Optional[dict] = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(mean, std, non_blocking)
        self.colors: Optional[nn.Module] = build_part(colors, 'data_preprocessor.colors')

    def forward(self, data: dict, training: bool = False) -> dict:
        """As :class:`MIMDataPreprocessor`, for images of one size that are decoded.

        Raises:
            TypeError: A list of images.
        """
        if training and self.colors is not None:
            if not isinstance(data['inputs'], Tensor):
                raise TypeError(
                    'ColorPreprocessor takes decoded images of one size, stacked: collate_fn=dict(type='
                    "'mmmim.mim_collate'), and LoadImage without decode='device'"
                )
            images = self.to_float(data['inputs'])
            seeds = _seeds(data.get('data_samples'), len(images))
            data = dict(data, inputs=self.colors(images / 255, seeds) * 255)
        return super().forward(data, training)


def _seeds(data_samples: Optional[list], count: int) -> Tensor:
    """``[count]`` int64 on the host: the samples' own, or drawn in a call outside the training loop."""
    if data_samples and all('seed' in sample for sample in data_samples):
        return torch.tensor([sample.seed for sample in data_samples], dtype=torch.int64)
    return torch.randint(2**62, (count,))


class AnyChannels:
    """Lets a preprocessor that derives from MMEngine's ``ImgDataPreprocessor`` have as many channels as mean and std.

    MMEngine's refuses other numbers than 1 and 3, and would exchange the first three where there are more. To stand
    before the toolbox's class in the bases of one.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **kwargs: Any) -> None:
        if len(mean) != len(std) or min(std, default=0) <= 0:
            raise ValueError(f'mean={mean} and std={std} need one value a channel, and a std above 0')
        super().__init__(mean=list(mean[:1]), std=list(std[:1]), **kwargs)  # type: ignore[call-arg]
        if len(mean) != 3:
            self._channel_conversion = False
        self.mean, self.std = (torch.tensor(values).reshape(-1, 1, 1) for values in (mean, std))
