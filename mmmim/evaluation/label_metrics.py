"""What scores of labelled images are worth: accuracy, balanced accuracy, average precision, with intervals."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from .bootstrap import mean_interval

ACCURACY, BALANCED, MAP = 'accuracy', 'balanced accuracy', 'mAP'


class Measured(NamedTuple):
    """Percent.

    Attributes:
        values: By the names ``'accuracy'``, ``'balanced accuracy'``; of several labels an image ``'mAP'``.
        intervals: 95% of each, by a bootstrap over images.
        per_class: For each class ``images`` and ``recall`` and ``precision`` (None where undefined), or ``AP``.
        right: ``[M]`` bool: which images are right; None for several labels an image.
        guess: ``[M]``: the class of each; likewise.
        sure: ``[M]``: its probability, by a softmax over the scores; likewise.
    """

    values: Dict[str, float]
    intervals: Dict[str, Tuple[float, float]]
    per_class: List[Dict[str, Any]]
    right: Optional[np.ndarray]
    guess: Optional[np.ndarray] = None
    sure: Optional[np.ndarray] = None


def measure(scores: Tensor, truth: Tensor) -> Measured:
    """Measure scores of M images.

    Args:
        scores: ``[M, C]``, larger is more likely.
        truth: ``[M]`` labels, or ``[M, C]`` of 0 and 1 for several labels an image.

    Raises:
        ValueError: There are no images.
    """
    if not len(scores):
        raise ValueError('there are no images to measure')
    if truth.ndim == 2:
        return _several_labels(scores.double().numpy(), truth.numpy().astype(bool))
    guess, labels = scores.argmax(1).numpy(), truth.numpy()
    right, classes = guess == labels, scores.shape[1]
    per_class = []
    for label in range(classes):
        theirs, called = labels == label, guess == label
        recall = 100 * float(right[theirs].mean()) if theirs.any() else None
        precision = 100 * float(right[called].mean()) if called.any() else None
        per_class.append(dict(images=int(theirs.sum()), recall=recall, precision=precision))
    recalls = [row['recall'] for row in per_class if row['recall'] is not None]
    values = {ACCURACY: 100 * float(right.mean()), BALANCED: float(np.mean(recalls))}
    intervals = {ACCURACY: mean_interval(100.0 * right), BALANCED: _balanced_interval(right, labels)}
    return Measured(values, intervals, per_class, right, guess, scores.softmax(1).amax(1).numpy())


def _balanced_interval(right: np.ndarray, labels: np.ndarray, resamples: int = 2000) -> Tuple[float, float]:
    """95% interval of the mean recall: images are drawn anew within each class, whose size stays."""
    generator, means = np.random.default_rng(0), []
    for label in np.unique(labels):
        mine = right[labels == label]
        means.append(generator.binomial(len(mine), mine.mean(), resamples) / len(mine))
    low, high = np.percentile(100 * np.mean(means, axis=0), [2.5, 97.5])
    return float(low), float(high)


def _several_labels(scores: np.ndarray, truth: np.ndarray, resamples: int = 200) -> Measured:
    found = [average_precision(scores[:, c], truth[:, c]) for c in range(truth.shape[1])]
    per_class = [dict(images=int(truth[:, c].sum()), AP=value) for c, value in enumerate(found)]
    generator, drawn = np.random.default_rng(0), []
    for _ in range(resamples):
        rows = generator.integers(0, len(truth), len(truth))
        drawn.append(mean_average_precision(scores[rows], truth[rows]))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Measured({MAP: mean_average_precision(scores, truth)}, {MAP: (float(low), float(high))}, per_class, None)


def average_precision(scores: np.ndarray, truth: np.ndarray) -> Optional[float]:
    """Percent: the mean of the precision at each positive image, in the order of the scores; None without positives.

    Equal scores count as one step, as scikit-learn's ``average_precision_score`` has it.
    """
    if not truth.any():
        return None
    order = np.argsort(-scores, kind='stable')
    hits = np.cumsum(truth[order])
    ends = np.append(np.diff(scores[order]) != 0, True)  # the last image of each score
    precision = (hits / np.arange(1, len(hits) + 1))[ends]
    return 100 * float(np.sum(np.diff(hits[ends], prepend=0) * precision) / hits[-1])


def mean_average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Percent, over the classes that have a positive image."""
    found = [average_precision(scores[:, c], truth[:, c]) for c in range(truth.shape[1])]
    return float(np.mean([value for value in found if value is not None] or [np.nan]))


def one_hot(labels: Sequence[Sequence[int]], classes: int) -> Tensor:
    """``[M, C]`` float32 of 0 and 1."""
    truth = torch.zeros(len(labels), classes)
    for row, found in enumerate(labels):
        truth[row, list(found)] = 1
    return truth
