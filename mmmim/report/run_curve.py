"""The curve of a run, read for drawing: one pair of arrays a quantity."""

import json
import math
import os
import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np


class Series(NamedTuple):
    """Values of one quantity: ``iters [N]`` ascending, ``values [N]`` finite."""

    iters: np.ndarray
    values: np.ndarray


@dataclass
class Curve:
    """What ``curve.jsonl`` holds.

    Attributes:
        training: Losses, learning rates and other values of every iteration, by their name in the log.
        measured: Measurements now and then: names with a slash (``knn/top1_k20``), and those of lines that hold
            neither a loss nor a learning rate (``mIoU``).
        steps_per_epoch: Iterations an epoch; None while less than one epoch is known.
        skipped: Lines that could not be read.
    """

    training: Dict[str, Series] = field(default_factory=dict)
    measured: Dict[str, Series] = field(default_factory=dict)
    steps_per_epoch: Optional[int] = None
    skipped: int = 0

    @property
    def last_iter(self) -> int:
        """The last iteration that was recorded, 0 for none."""
        return max((int(series.iters[-1]) for series in (*self.training.values(), *self.measured.values())), default=0)


def read_curve(path: str) -> Curve:
    """Read a ``curve.jsonl`` of any length; lines that a crash has torn are counted and left out.

    A value that is not a finite number is a gap. Where an iteration was recorded twice, the later line counts.

    Raises:
        FileNotFoundError: There is no such file.
    """
    found: Dict[str, Tuple[List[int], List[float]]] = {}
    second_epoch, skipped, measured = math.inf, 0, set()
    with open(path, encoding='utf-8', errors='replace') as file:
        for line in file:
            record = _record(line)
            if record is None:
                skipped += bool(line.strip())
                continue
            step = record.pop('iter')
            epoch = record.pop('epoch', None)
            if epoch == 2:
                second_epoch = min(second_epoch, step)
            trained = any(is_loss(name) or is_learning_rate(name) for name in record)
            measured.update(name for name in record if '/' in name or not trained)
            for name, value in ((name, quantity(name, value)) for name, value in record.items()):
                if value is not None:
                    iters, values = found.setdefault(name, ([], []))
                    iters.append(step)
                    values.append(value)
    curve = Curve(skipped=skipped, steps_per_epoch=None if second_epoch == math.inf else max(1, second_epoch - 1))
    for name, (iters, values) in found.items():
        kind = curve.measured if name in measured else curve.training
        kind[name] = make_series(iters, values)
    return curve


def number(value: Any) -> Optional[float]:
    """``value`` when it is a finite number, else None."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and -1e300 < value < 1e300
    return value if good else None


def quantity(name: str, value: Any) -> Optional[float]:
    """A value of the log as it is shown, None where there is none.

    mmdet logs average precisions as fractions, and -1 where there was nothing to measure: here they are percentages.
    """
    value = number(value)
    if value is None or not re.search(r'(bbox|segm)_mAP(_|$)', name):
        return value
    return 100 * value if value >= 0 else None


def make_series(iters: List[int], values: List[float]) -> Series:
    """Sorted by iteration; of several values at one iteration the last."""
    iters, values = np.asarray(iters, np.int64), np.asarray(values, np.float64)
    order = np.argsort(iters, kind='stable')
    iters, values = iters[order], values[order]
    last = np.append(iters[1:] != iters[:-1], True)
    return Series(iters[last], values[last])


def is_loss(name: str) -> bool:
    """Whether MMEngine minimises the value of this name."""
    return 'loss' in name and '/' not in name


def is_learning_rate(name: str) -> bool:
    """``lr``, or one optimizer's of several: ``generator.lr``."""
    return name == 'lr' or name.endswith('.lr')


def evenly(count: int, most: int) -> List[int]:
    """Places of at most ``most`` of ``count`` things, at equal distances; the first and the last are among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over ``window`` values around each; less far ahead at the start, where a loss is steep.

    Args:
        values: ``[N]``.
        window: An even one is as wide as the next odd one; below 2 nothing is smoothed.
    """
    half = min(window, len(values)) // 2
    if half < 1:
        return values
    sums = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    first = np.maximum(place - half, 0)
    end = np.minimum(place + np.minimum(half, np.maximum(place, half // 8)) + 1, len(values))
    return (sums[end] - sums[first]) / (end - first)


def find_curve(path: str) -> str:
    """The curve file that ``path`` means: itself, or ``curve.jsonl`` in it.

    Raises:
        FileNotFoundError: There is none.
    """
    inside = os.path.join(path, 'curve.jsonl')
    if os.path.isdir(path):
        if not os.path.isfile(inside):
            raise FileNotFoundError(f'{path} has no curve.jsonl: give the work dir of a pre-training run, or its curve')
        return inside
    if not os.path.isfile(path):
        raise FileNotFoundError(f'there is no {path}: give the work dir of a pre-training run, or its curve.jsonl')
    return path


def _record(line: str) -> Optional[dict]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(record, dict) and isinstance(record.get('iter'), int) and abs(record['iter']) < 1 << 62
    return record if whole else None
