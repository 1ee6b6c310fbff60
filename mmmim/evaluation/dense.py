"""Accuracies of segmentors and detectors with intervals by a bootstrap over images (Efron and Tibshirani, 1993).

Every number is a function of counts that each image adds to: resampled are the images, and a resample is a weight, how
often an image was drawn, so that no model and no matching of boxes runs again.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

RESAMPLES = 1000
BOX_RESAMPLES = 200  # each sums the detections of all classes at ten overlaps
Interval = Optional[Tuple[float, float]]


class Scored(NamedTuple):
    """A mean over classes, in percent.

    Attributes:
        value: The mean over the classes that occur; None where none does.
        interval: 95%, of ``value``; None with fewer than two images.
        per_class: NaN for a class that does not occur.
    """

    value: Optional[float]
    interval: Interval
    per_class: List[float]


def _weights(images: int, resamples: int, seed: int = 0) -> np.ndarray:
    """``[R, M]``: how often each image was drawn in each resample."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples)


def _scored(per_class: np.ndarray, resampled: Optional[np.ndarray]) -> Scored:
    """Of ``[C]`` and ``[R, C]``, in 0..1."""
    interval = None
    if resampled is not None:
        means = _mean(resampled)
        if np.isfinite(means).any():
            low, high = np.nanpercentile(means, [2.5, 97.5])
            interval = (100 * float(low), 100 * float(high))
    value = float(_mean(per_class[None])[0])
    return Scored(None if np.isnan(value) else 100 * value, interval, (100 * per_class).tolist())


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the last axis, without NaN; NaN where there is nothing else."""
    there = np.isfinite(values)
    return np.where(there, values, 0).sum(-1) / np.where(there.any(-1), there.sum(-1), np.nan)


# -------------------------------------------------------------------------------------------------------- segmentation


class ClassCounts:
    """Pixels of each class in each image: predicted right, predicted, true.

    Args:
        classes: Their number.
        ignored: The label that is not measured.
    """

    def __init__(self, classes: int, ignored: int = 255) -> None:
        self.classes, self.ignored = classes, ignored
        self.rows: List[np.ndarray] = []

    def add(self, predicted: np.ndarray, true: np.ndarray) -> None:
        """An image: class numbers ``[H, W]`` of both."""
        known = true != self.ignored
        predicted, true = predicted[known], true[known]
        parts = (predicted[predicted == true], predicted, true)
        self.rows.append(np.stack([np.bincount(part, minlength=self.classes)[: self.classes] for part in parts]))

    def iou(self, resamples: int = RESAMPLES) -> Scored:
        """The mean intersection over union over the classes that occur, as mmseg's ``IoUMetric`` (mIoU) has it."""
        rows = np.stack(self.rows).astype(np.float64)  # [M, 3, C]
        weights = _weights(len(rows), resamples) if len(rows) > 1 else None
        drawn = None if weights is None else _iou(np.einsum('rm,mkc->rkc', weights, rows))
        return _scored(_iou(rows.sum(0)), drawn)

    def accuracy(self) -> float:
        """Percent of the pixels that are predicted right."""
        right, _, true = np.stack(self.rows).sum((0, 2))
        return 100 * float(right / max(true, 1))


def _iou(counts: np.ndarray) -> np.ndarray:
    """``[..., 3, C]`` to ``[..., C]``."""
    right, predicted, true = counts[..., 0, :], counts[..., 1, :], counts[..., 2, :]
    union = predicted + true - right
    return right / np.where(union > 0, union, np.nan)


# ----------------------------------------------------------------------------------------------------------- detection

RECALLS = np.linspace(0, 1, 101)


def average_precision(evaluated: Any, resamples: int = BOX_RESAMPLES) -> Scored:
    """Average precision over overlaps of 0.5 to 0.95, for objects of all sizes, as pycocotools summarises it first.

    Args:
        evaluated: pycocotools' ``COCOeval`` after ``evaluate()``: which detection matches, of each image and class.
        resamples: Of the images, for the interval; 0: none.
    """
    parameters = evaluated.params
    images, areas, most = len(parameters.imgIds), len(parameters.areaRng), parameters.maxDets[-1]
    # areas begin with all sizes; entries are by class, then area, then image
    entries = [
        evaluated.evalImgs[place * areas * images : place * areas * images + images]
        for place in range(len(parameters.catIds))
    ]
    weights = _weights(images, resamples) if resamples and images > 1 else np.zeros((0, images))
    weights = np.concatenate([np.ones((1, images)), weights])
    found = np.stack([_class_precision(rows, weights, most) for rows in entries], 1)  # [1 + R, C]
    return _scored(found[0], found[1:] if len(found) > 1 else None)


def _class_precision(entries: Sequence[Optional[Dict[str, Any]]], weights: np.ndarray, most: int) -> np.ndarray:
    """``[R]``: the average precision of one class under each row of ``weights``; NaN without objects."""
    there = [(place, entry) for place, entry in enumerate(entries) if entry is not None]
    result = np.full(len(weights), np.nan)
    if not there:
        return result
    objects = np.zeros(len(entries))
    for place, entry in there:
        objects[place] = np.count_nonzero(np.asarray(entry['gtIgnore']) == 0)
    total = weights @ objects  # [R]
    scores = np.concatenate([np.asarray(entry['dtScores'][:most]) for _, entry in there])
    order = np.argsort(-scores, kind='mergesort')
    owner = np.concatenate([np.full(len(entry['dtScores'][:most]), place) for place, entry in there]).astype(int)[order]
    matched = np.concatenate([entry['dtMatches'][:, :most] for _, entry in there], 1)[:, order] != 0  # [T, D]
    counted = ~np.concatenate([entry['dtIgnore'][:, :most] for _, entry in there], 1)[:, order].astype(bool)
    for place in np.flatnonzero(total > 0):
        weight = weights[place][owner]  # [D]
        right = np.cumsum(weight * (matched & counted), 1)
        wrong = np.cumsum(weight * (~matched & counted), 1)
        result[place] = np.mean([_at_recalls(r, w, total[place]) for r, w in zip(right, wrong)])
    return result


def _at_recalls(right: np.ndarray, wrong: np.ndarray, total: float) -> float:
    """The mean of the precision at 101 recalls, where it is the highest at this recall or a larger one."""
    if not len(right):
        return 0.0
    recall = right / total
    precision = right / np.maximum(right + wrong, np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, RECALLS, side='left')
    return float(np.where(places < len(envelope), envelope[np.minimum(places, len(envelope) - 1)], 0).mean())
