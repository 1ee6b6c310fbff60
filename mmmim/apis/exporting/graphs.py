"""What is exported, as modules: uint8 or float32 pixels in, normalised inside, probabilities or masks out.

An encoder's is :class:`.PixelsToFeatures`.
"""

from typing import Any, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn


class Normalised(nn.Module):
    """The base: pixels of 0..255 become what the network takes.

    Args:
        mean, std: One value a channel, in units of 0..255; None: pixels are not normalised.
        flip: Whether the network takes blue first; the input has red first.
    """

    _mean: Optional[Tensor]
    _std: Optional[Tensor]

    def __init__(self, mean: Optional[Sequence[float]], std: Optional[Sequence[float]], flip: bool = False) -> None:
        super().__init__()
        for name, values in (('_mean', mean), ('_std', std)):
            table = None if values is None else torch.as_tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)
            self.register_buffer(name, table)
        self.flip = flip

    def normalise(self, pixels: Tensor) -> Tensor:
        """``[B, C, H, W]`` in 0..255 to float32."""
        images = pixels.float()
        images = images.flip(1) if self.flip else images
        return images if self._mean is None else (images - self._mean) / self._std


class ClassifierGraph(Normalised):
    """Probabilities ``[B, classes]`` of mmpretrain's ``ImageClassifier``: a softmax, of several labels sigmoids."""

    def __init__(self, model: Any, flip: bool) -> None:
        super().__init__(*statistics(model.data_preprocessor), flip)
        self.model, self.multi_label = model, is_multi_label(model)

    def forward(self, pixels: Tensor) -> Tensor:
        scores = self.model(self.normalise(pixels), mode='tensor')
        return scores.sigmoid() if self.multi_label else scores.softmax(1)


class SegmentorGraph(Normalised):
    """Index mask ``[B, H, W]`` uint8 and probabilities ``[B, classes, H, W]`` of mmseg's ``EncoderDecoder``.

    Tested in windows, all windows of all images are one batch of the network, so that the sizes of images may change:
    each window has the size that the network was trained for. What overlaps is averaged, as mmseg does.
    """

    def __init__(self, model: Any, flip: bool) -> None:
        super().__init__(*statistics(model.data_preprocessor), flip)
        self.model = model
        slides = model.test_cfg.mode == 'slide'
        self.window = tuple(model.test_cfg.crop_size) if slides else None
        self.stride = tuple(model.test_cfg.stride) if slides else None

    def forward(self, pixels: Tensor) -> Tuple[Tensor, Tensor]:
        images = self.normalise(pixels)
        logits = self._logits(images) if self.window is None else self._slide(images)
        probabilities = logits.softmax(1)
        return probabilities.argmax(1).to(torch.uint8), probabilities

    def _logits(self, images: Tensor) -> Tensor:
        metas = [dict(img_shape=tuple(images.shape[2:]))]  # to which mmseg's heads resize
        return self.model.decode_head.predict(self.model.extract_feat(images), metas, self.model.test_cfg)

    def _slide(self, images: Tensor) -> Tensor:
        assert self.window is not None and self.stride is not None
        (height, width), (batch, channels, *sides) = self.window, images.shape
        rows, columns = (places(*values) for values in zip(sides, self.window, self.stride))
        down, across = rows.shape[0], columns.shape[0]
        rows, columns = rows.flatten(), columns.flatten()
        cells = images.index_select(2, rows).index_select(3, columns)
        cells = cells.reshape(batch, channels, down, height, across, width).permute(0, 2, 4, 1, 3, 5)
        logits = self._logits(cells.reshape(batch * down * across, channels, height, width))
        classes = logits.shape[1]
        logits = logits.reshape(batch, down, across, classes, height, width).permute(0, 3, 1, 4, 2, 5)
        logits = logits.reshape(batch, classes, down * height, across * width)
        logits = logits.new_zeros(batch, classes, sides[0], across * width).index_add(2, rows, logits)
        logits = logits.new_zeros(batch, classes, *sides).index_add(3, columns, logits)
        return logits / (_counts(rows, sides[0], logits)[:, None] * _counts(columns, sides[1], logits))


def places(length: int, window: int, stride: int) -> Tensor:
    """``[n, window]`` places along an axis that each window takes; the last one ends with the axis."""
    starts = torch.arange((length - window + stride - 1) // stride + 1) * stride
    return starts.clamp(max=length - window)[:, None] + torch.arange(window)


def _counts(taken: Tensor, length: int, like: Tensor) -> Tensor:
    """``[length]``: how many windows take each place."""
    return like.new_zeros(length).index_add(0, taken, like.new_ones(taken.shape[0]))


def statistics(preprocessor: Any) -> Tuple[Optional[Tensor], Optional[Tensor]]:
    """Mean and std of a toolbox's preprocessor; None where it does not normalise."""
    on = getattr(preprocessor, '_enable_normalize', True) and getattr(preprocessor, 'mean', None) is not None
    return (preprocessor.mean, preprocessor.std) if on else (None, None)


def takes_bgr(preprocessor: Any, reads_bgr: bool) -> bool:
    """Whether a network gets blue first, of images that its pipeline reads in that order, or not."""
    turns = ('to_rgb', 'channel_conversion', '_channel_conversion')
    return reads_bgr ^ any(getattr(preprocessor, name, False) for name in turns)


def is_multi_label(model: Any) -> bool:
    """Whether a classifier's head gives each class a probability of its own."""
    return any(kind.__name__ == 'MultiLabelClsHead' for kind in type(model.head).__mro__)
