"""How sure a measured accuracy or difference is: bootstrap over images (Efron and Tibshirani, 1993, chapter 13)."""

from typing import Sequence, Tuple, Union

import numpy as np
from torch import Tensor

RESAMPLES = 10_000
Values = Union[Sequence[float], np.ndarray, Tensor]


def mean_interval(values: Values, resamples: int = RESAMPLES, seed: int = 0) -> Tuple[float, float]:
    """The 95% percentile interval of a mean over images.

    ``resamples`` times as many images as there are, are drawn with replacement. Drawing images is the same as drawing
    how often each distinct value comes, a multinomial number; so 10,000 resamples of a million images take no time.

    Args:
        values: ``[M]``, a number for each image: 1 where it was classified right, or a difference of two such numbers,
            which makes the interval a paired one.
        resamples: How many.
        seed: Of the draw.

    Returns:
        The 2.5th and the 97.5th percentile of the means.

    Raises:
        ValueError: There are no images.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f'an interval needs one number for each of some images; got shape {list(values.shape)}')
    distinct, counts = np.unique(values, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(values), counts / len(values), size=resamples)
    low, high = np.percentile(drawn @ distinct / len(values), [2.5, 97.5])
    return float(low), float(high)


def difference_in_words(a: str, b: str, right_a: Values, right_b: Values) -> Tuple[float, Tuple[float, float], str]:
    """By how much one start is better than another, on the same images.

    Args:
        a, b: Names.
        right_a, right_b: ``[M]`` in 0..1: which images each classified right, in the same order.

    Returns:
        The difference a - b in points (percent), its paired 95% interval, and a sentence.
    """
    paired = 100 * (np.asarray(right_a, dtype=np.float64) - np.asarray(right_b, dtype=np.float64))
    difference, (low, high) = float(paired.mean()), mean_interval(paired)
    if low <= 0 <= high:
        sentence = (
            f'{a} and {b}: no difference can be shown with {len(paired):,} images '
            f'({difference:+.1f} points, 95% interval {low:.1f} to {high:.1f})'
        )
    else:
        word, size, ends = ('better', difference, (low, high)) if low > 0 else ('worse', -difference, (-high, -low))
        sentence = f'{a} is {word} than {b} by {size:.1f} points (95% interval {ends[0]:.1f} to {ends[1]:.1f})'
    return difference, (low, high), sentence
