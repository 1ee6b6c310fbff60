"""Random colour changes of whole batches, each image by its own seed, on the device."""

from typing import Callable, Dict, Optional, Sequence, Tuple

import torch
from mmengine.model import BaseModule
from torch import Tensor

from .. import randomness
from ..registry import MODELS
from .blur import gaussian_blur

_GRAY = (0.2989, 0.587, 0.114)  # ITU-R 601, as torchvision rounds them
_STEPS = ('brightness', 'contrast', 'saturation', 'hue')


@MODELS.register_module()
class ColorAugment(BaseModule):
    """Colour jitter, grayscale and Gaussian blur, as contrastive methods change a view's colours.

    The jitter is torchvision's ``ColorJitter``: brightness, contrast, saturation and hue in a random order for each
    image. What is drawn depends on the image's seed alone, so that neither ranks nor batches change anything.

    Args:
        brightness, contrast, saturation: A factor is drawn from [max(0, 1 - x), 1 + x].
        hue: A shift is drawn from [-x, x], x at most 0.5.
        prob: How often an image is jittered at all.
        gray_prob: How often it loses its colours.
        blur_prob: How often it is blurred.
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
        # drawn on the host, where it is known without waiting for the device which images take which change
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
    # plain numbers: a tensor of them, made here, would make the host wait for a GPU
    return sum(weight * channel for weight, channel in zip(_GRAY, images.split(1, dim=1)))


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    factor = factor.reshape(-1, 1, 1, 1)
    return (factor * images + (1 - factor) * other).clamp(0, 1)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """``[B, 3, H, W]`` in [0, 1], one factor an image ``[B]``; so are the others."""
    return (images * factor.reshape(-1, 1, 1, 1)).clamp(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(images, _gray(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(images, _gray(images), factor)


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by ``shift`` ``[B]`` of a whole circle."""
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
