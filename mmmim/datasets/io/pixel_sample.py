"""What some images of a data set, taken together, say of its pixels: which range they fill, and in how many levels."""

from dataclasses import dataclass, field
from typing import Iterable, List, NamedTuple, Optional, Sequence

import numpy as np

from .image_io import ImageReadError, ImageSource
from .value_range import Pair, ValueRange, default_range, shown, to_8_bits

PIXELS = 20000  # of an image
SMALL = 128  # pixels that the longer side of an 8-bit image is brought to
ENOUGH = 32  # levels of 256
TAIL = 0.001  # of the values on either side decides nothing
# ranges that are declared rather than measured, where the values fill them: of bit depths, of reflectance, of floats
_DECLARED = ((0, 1), (-1, 1), (0, 255), (0, 1023), (0, 4095), (0, 10000), (0, 16383), (0, 65535))
_FILLED = 0.98


class Found(NamedTuple):
    """A range, and why it."""

    value_range: ValueRange
    reason: str


@dataclass
class PixelSample:
    """Pixels of some images.

    Attributes:
        deep: ``[n, C]`` of each image of other than 8 bits, as stored, finite or not.
        dtypes: Their types.
        mapped: ``[n, C]`` uint8 of each 8-bit image.
    """

    deep: List[np.ndarray] = field(default_factory=list)
    dtypes: List[np.dtype] = field(default_factory=list)
    mapped: List[np.ndarray] = field(default_factory=list)

    def as_read(self, value_range: Optional[ValueRange]) -> np.ndarray:
        """``[n, C]`` uint8 of the deep images, by the range or that of their types."""
        return np.concatenate([to_8_bits(values, value_range) for values in self.deep])

    def clipped(self, value_range: Optional[ValueRange]) -> float:
        """Share of the values that lie outside of the range; NaN counts."""
        outside = [_outside(v, value_range or default_range(v.dtype)) for v in self.deep]
        return float(np.concatenate(outside).mean())

    def find_range(self) -> Optional[Found]:
        """The range of the deep images: one for all channels, or, where that leaves some of them too few levels, one
        each. None where all values are the same, or there are none."""
        if not self.deep:
            return None
        values = np.concatenate([v.astype(np.float64) for v in self.deep])
        pair = _range_of(values)
        if pair is None:
            return None
        told = f'of {len(self.deep)} images, {100 * TAIL:g}% to {100 - 100 * TAIL:g}% of the values, rounded outwards'
        pairs = [_range_of(values[:, i]) or pair for i in range(values.shape[1])]
        narrow = [count_levels(to_8_bits(values[:, i : i + 1], pair)) < ENOUGH for i in range(len(pairs))]
        if len(pairs) > 1 and any(narrow) and pairs != [pair] * len(pairs):
            return Found(shown(tuple(pairs)), f'{told}, a channel each: one for all would leave some < {ENOUGH} levels')
        return Found(shown(pair), told)


def take_sample(sources: Iterable[ImageSource]) -> PixelSample:
    """Some pixels of each image, always the same. What cannot be read is left out."""
    sample, rng = PixelSample(), np.random.default_rng(0)
    for source in sources:
        try:
            if source.header.deep:
                values = source.values()
                values = _in_columns(values, source.channels)
                sample.deep.append(values[rng.integers(0, len(values), PIXELS)])
                sample.dtypes.append(values.dtype)
            else:
                width, height = source.size
                factor = min(SMALL / max(width, height), 1)
                size = max(round(height * factor), 1), max(round(width * factor), 1)
                sample.mapped.append(source.crop((0, 0, width, height), size, 'box').reshape(-1, source.channels))
        except ImageReadError:
            continue
    return sample


def _in_columns(values: np.ndarray, channels: int) -> np.ndarray:
    """``[H, W, C]`` as ``[n, channels]``: grey is repeated, and colour that is read as grey is one pool of values."""
    if channels == 1:
        return values.reshape(-1, 1)
    return values.reshape(-1, values.shape[2])[:, np.arange(channels) % values.shape[2]]


def count_levels(mapped: np.ndarray) -> int:
    """Of ``[n, C]`` uint8 the levels that occur, without the tails; of the channel that has most."""
    counts = [np.bincount(mapped[:, channel], minlength=256) for channel in range(mapped.shape[1])]
    return max(_occurring(count) for count in counts)


def _occurring(count: np.ndarray) -> int:
    share = np.cumsum(count) / max(count.sum(), 1)
    first, last = np.searchsorted(share, [TAIL, 1 - TAIL])
    return int((count[first : last + 1] > 0).sum())


def _outside(values: np.ndarray, value_range: ValueRange) -> np.ndarray:
    low, high = np.asarray(value_range, np.float64).reshape(-1, 2).T
    return ~((values >= low) & (values <= high)).ravel()


def _range_of(values: np.ndarray) -> Optional[Pair]:
    """The readable range of values, without fill values; None where they are all the same."""
    values = _without_fill(np.sort(values[np.isfinite(values)], axis=None))
    if not len(values) or values[0] == values[-1]:
        return None
    low, high = np.percentile(values, [100 * TAIL, 100 - 100 * TAIL])
    if low == high:  # of few bright pixels on a plain ground
        low, high = values[0], values[-1]
    for declared in _DECLARED:
        span = declared[1] - declared[0]
        if (
            declared[0] <= low <= declared[0] + (1 - _FILLED) * span
            and declared[1] - (1 - _FILLED) * span <= high <= declared[1]
        ):
            return float(declared[0]), float(declared[1])
    step = 10.0 ** (np.floor(np.log10(high - low)) - 1)
    return _readable(np.floor(low / step), step), _readable(np.ceil(high / step), step)


def _readable(count: float, step: float) -> float:
    return float(f'{count * step:.10g}')


def _without_fill(ordered: np.ndarray) -> np.ndarray:
    """Sorted values without those that stand for missing ones: one value, at an end, of many pixels, and further from
    all others than these are from each other (-9999 below reflectance, 65535 above 12 bits)."""
    for _ in range(2):
        if len(ordered) < 3:
            break
        first, last = np.searchsorted(ordered, ordered[0], 'right'), np.searchsorted(ordered, ordered[-1], 'left')
        if TAIL <= first / len(ordered) < 1 and _far(ordered[first:], ordered[0]):
            ordered = ordered[first:]
        elif TAIL <= 1 - last / len(ordered) < 1 and _far(ordered[:last], ordered[-1]):
            ordered = ordered[:last]
    return ordered


def _far(others: Sequence[float], fill: float) -> bool:
    low, high = np.percentile(others, [100 * TAIL, 100 - 100 * TAIL])
    return high > low and min(abs(low - fill), abs(high - fill)) > high - low
