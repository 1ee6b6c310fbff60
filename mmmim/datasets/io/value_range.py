"""One scale for a data set: which stored values become 0 and 255."""

from typing import Any, Optional, Sequence, Tuple, Union

import numpy as np

Pair = Tuple[float, float]
ValueRange = Union[Pair, Tuple[Pair, ...]]  # for all channels, or one a channel

KINDS = 'buif'  # NumPy's letters: bool, unsigned, signed, float


def default_range(dtype: Any) -> Pair:
    """What is scaled where no range is given: 0..1 of floats, the positive half of signed integers, all of others.

    Of integers of more than 16 bits 0..65535, as they mostly hold what 16 bits could.
    """
    dtype = np.dtype(dtype)
    if dtype.kind in 'fb':
        return 0.0, 1.0
    return 0.0, 65535.0 if dtype.itemsize > 2 else float(np.iinfo(dtype).max)


def checked_range(value: Any, channels: Optional[int] = None) -> Optional[ValueRange]:
    """A range as tuples of floats; None stays None.

    Args:
        value: ``(low, high)``, or one such pair for each channel.
        channels: Their number; None: any.

    Raises:
        ValueError: Something else, or a pair that does not grow.
    """
    if value is None:
        return None
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    pairs = array.shape == (2,) or (array.ndim == 2 and array.shape[1] == 2 and channels in (None, len(array)))
    if not pairs or not np.isfinite(array).all() or not (array[..., 0] < array[..., 1]).all():
        many = 'each channel' if channels is None else f'each of {channels} channels'
        raise ValueError(
            f'value_range is {value!r}; it takes (low, high) with low < high, the stored values that become 0 and 255, '
            f'or one such pair for {many}'
        )
    return tuple(array.tolist()) if array.ndim == 1 else tuple(map(tuple, array.tolist()))


def to_8_bits(values: np.ndarray, value_range: Optional[ValueRange] = None) -> np.ndarray:
    """Stored values to 0..255: linear from low to high, clipped, rounded; NaN becomes 0.

    Args:
        values: ``[..., C]`` or ``[H, W]`` of any number type. uint8 is returned as it is, whatever the range.
        value_range: ``(low, high)``, or a pair for each of C channels; None: :func:`default_range` of the type.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    chosen = default_range(values.dtype) if value_range is None else value_range
    if isinstance(chosen[0], (int, float)):
        return _mapped(values, chosen)  # type: ignore[arg-type]
    if values.shape[-1] != len(chosen):
        raise ValueError(f'value_range has {len(chosen)} pairs, and the image {values.shape[-1]} channels')
    return np.stack([_mapped(values[..., i], pair) for i, pair in enumerate(chosen)], axis=-1)  # type: ignore


def _mapped(values: np.ndarray, pair: Pair) -> np.ndarray:
    if values.dtype.itemsize == 2 and values.dtype.kind == 'u':  # a table is several times as fast
        return _scaled(np.arange(65536), pair)[values]
    return _scaled(values, pair)


def _scaled(values: np.ndarray, pair: Sequence[float]) -> np.ndarray:
    low, high = pair
    # float32 would round integers above 2**24
    scaled = values.astype(np.float64 if values.dtype.itemsize > 2 and values.dtype.kind != 'f' else values.dtype)
    if scaled.dtype.itemsize < 4:
        scaled = scaled.astype(np.float32)
    scaled = (scaled - low) * 255 / (high - low)
    return np.rint(np.clip(np.where(np.isnan(scaled), 0, scaled), 0, 255)).astype(np.uint8)


def shown(value_range: ValueRange) -> Any:
    """A range with whole numbers as ints, for configs and messages."""
    if isinstance(value_range[0], (int, float)):
        return tuple(int(v) if float(v).is_integer() else v for v in value_range)  # type: ignore[arg-type]
    return tuple(shown(pair) for pair in value_range)  # type: ignore[arg-type]
