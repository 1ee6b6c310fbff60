"""One progress line for everything that takes long: a bar on a terminal, plain lines elsewhere.

The environment variable ``MMMIM_PROGRESS`` chooses: ``bar``, ``lines``, ``off``; by default a bar if stderr is a
terminal, else nothing (a log file has its own lines).
"""

import os
import sys
import time
from collections import deque
from typing import Any, Iterable, Iterator, Optional

from tqdm import tqdm

BAR_FORMAT = '{desc}{percentage:3.0f}% |{bar:24}| {n_fmt}/{total_fmt} {unit}s, {rate_fmt}{postfix}, {remaining} left'
SECONDS_BETWEEN_LINES = 15.0


def mode() -> str:
    """``'bar'``, ``'lines'`` or ``'off'``."""
    chosen = os.environ.get('MMMIM_PROGRESS', 'auto')
    if chosen == 'auto':
        return 'bar' if sys.stderr is not None and sys.stderr.isatty() else 'off'
    if chosen not in ('bar', 'lines', 'off'):
        raise ValueError(f'MMMIM_PROGRESS={chosen!r} must be auto, bar, lines or off')
    return chosen


class Progress:
    """A count towards a total, with the rate and the time left.

    Args:
        total: Total number of units.
        description: Name of the task.
        unit: Name of a unit, singular.
        initial: Units done before (a resumed run); they do not count for the rate.
    """

    def __init__(self, total: int, description: str, unit: str = 'image', initial: int = 0) -> None:
        self.total, self.description, self.unit = total, description, unit
        self.initial = self.done = initial
        self.mode = mode()
        self.started = self.last_line = time.monotonic()
        self.marks = deque([(self.started, initial)], maxlen=4)  # (time, units done) of the last lines
        self.bar: Optional[tqdm] = None
        if self.mode == 'bar':
            self.bar = tqdm(
                total=total,
                desc=description,
                unit=unit,
                initial=initial,
                file=sys.stderr,
                bar_format=BAR_FORMAT,
                dynamic_ncols=True,
                mininterval=0.2,
            )

    @property
    def rate(self) -> float:
        """Units per second: over the last lines if there are any, else since the start."""
        then, done = self.marks[0]
        return (self.done - done) / max(time.monotonic() - then, 1e-9)

    def update(self, count: int = 1, **values: Any) -> None:
        """Count; ``values`` are shown beside it (floats with four digits)."""
        self.done += count
        if self.bar is not None:
            if values:
                self.bar.set_postfix(values, refresh=False)
            self.bar.update(count)
        elif self.mode == 'lines' and time.monotonic() - self.last_line >= SECONDS_BETWEEN_LINES:
            self._line(values)

    def _line(self, values: dict) -> None:
        self.last_line = time.monotonic()
        shown = ''.join(f', {k}={v:.4g}' if isinstance(v, float) else f', {k}={v}' for k, v in values.items())
        left = (self.total - self.done) / max(self.rate, 1e-9)
        print(
            f'{self.description} {100 * self.done // max(self.total, 1):3d}%  {self.done}/{self.total} {self.unit}s, '
            f'{self.rate:.4g} {self.unit}s/s{shown}, {tqdm.format_interval(left)} left',
            file=sys.stderr,
            flush=True,
        )
        self.marks.append((self.last_line, self.done))

    def describe(self, description: str) -> None:
        """Change the description."""
        self.description = description
        if self.bar is not None:
            self.bar.set_description(description, refresh=False)

    def close(self) -> None:
        """End the line."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def track(
    items: Iterable, description: str, total: Optional[int] = None, unit: str = 'image', step: int = 1
) -> Iterator:
    """Iterate with a progress line; each item counts ``step`` units."""
    progress = Progress(total if total is not None else step * len(items), description, unit)
    try:
        for item in items:
            yield item
            progress.update(min(step, progress.total - progress.done))
    finally:
        progress.close()
