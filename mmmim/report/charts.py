"""Line charts as inline SVG; the page's style sheet gives colours and type, so they follow its light or dark mode."""

import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from markupsafe import Markup

from .run_curve import evenly, running_mean
from .templates import render

# in units of the drawing, which the page scales: at a phone's width text of 13 is drawn with 11 pixels
WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 20, 12, 40
INNER_WIDTH, INNER_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
FRAME = dict(width=WIDTH, height=HEIGHT, left=LEFT, right=WIDTH - RIGHT, top=TOP, bottom=HEIGHT - BOTTOM)
COLOURS = 8  # that the style sheet defines; more lines are dashed
MOST_POINTS, MOST_BINS, MOST_DOTS, STOPS = 300, 180, 40, 48
LOG_FROM = 10.0  # a loss that falls by more is drawn on a logarithmic scale


@dataclass(frozen=True)
class Line:
    """What is drawn for one run: ``x [N]`` ascending, ``y [N]`` finite.

    Attributes:
        name: In the legend.
        slot: Which colour; the same for a run in all charts.
        dots: A few measurements rather than a value every iteration.
        smooth: Window of the running mean; below 2 the values themselves are drawn.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    slot: int = 0
    dots: bool = False
    smooth: int = 0

    @cached_property
    def drawn(self) -> np.ndarray:
        """``[N]``: what the strong line shows."""
        return running_mean(self.y, self.smooth)

    def look(self, kind: str) -> str:
        """CSS classes: the kind, the colour, and dashes once all colours are taken."""
        dashed = ' dashed' if self.slot >= COLOURS and kind == 'line' else ''
        return f'{kind} s{self.slot % COLOURS}{dashed}'

    def in_words(self, x_label: str) -> str:
        """Where it begins and where it ends."""
        y = self.drawn
        return f'{self.name}: {y[0]:.4g} at {x_label} {self.x[0]:.4g}, {y[-1]:.4g} at {x_label} {self.x[-1]:.4g}.'


class Stroke(NamedTuple):
    """A path of the drawing, with dots on it."""

    path: str
    look: str
    dots: Sequence[Tuple[float, float]] = ()
    dot_look: str = ''


class Stop(NamedTuple):
    """An unseen column that shows a hair line and the values below it when pointed at."""

    text: str
    left: float
    width: float
    place: float


class Axis:
    """A range of values on a stretch of the drawing, with ticks."""

    def __init__(self, low: float, high: float, start: float, length: float, log: bool = False) -> None:
        if high - low <= 1e-6 * max(abs(low), abs(high)):  # a constant, but for rounding
            low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
        self.low, self.high, self.start, self.length, self.log = low, high, start, length, log

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Places in the drawing."""
        values, low, high = np.asarray(values, np.float64), self.low, self.high
        if self.log:
            values, low, high = np.log(np.maximum(values, low / 1e3)), math.log(low), math.log(high)
        return self.start + (values - low) / (high - low) * self.length

    @property
    def ticks(self) -> List[float]:
        return log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high)

    @property
    def labels(self) -> List[Tuple[str, float]]:
        """What stands at each tick, and its place."""
        return list(zip(tick_labels(self.ticks), map(float, self(self.ticks))))


def line_chart(
    title: str,
    lines: Sequence[Line],
    x_label: str,
    log_y: Optional[bool] = None,
    least_span: float = 0.0,
    note: str = '',
) -> Markup:
    """A figure: caption, drawing, and a legend where there is more than one line.

    Args:
        title: What is drawn, with its unit.
        lines: At least one; those without values are left out.
        x_label: ``'epoch'`` or ``'iteration'``.
        log_y: Whether y is logarithmic; None: where smoothed values span more than a factor of ten. Values that are
            not positive are always drawn linearly.
        least_span: The least that y covers, so that noise does not fill the drawing.
        note: Said under the drawing, for example what was smoothed.

    Raises:
        ValueError: No line has a value.
    """
    lines = [line for line in lines if len(line.x)]
    if not lines:
        raise ValueError(f'there is nothing to draw for {title!r}')
    y_axis = _y_axis(lines, log_y, least_span)
    x_axis = Axis(0, max(1e-9, *(line.x[-1] for line in lines)), 0, INNER_WIDTH)  # training starts at 0
    faint = [_faint(line, x_axis, y_axis) for line in lines if line.smooth > 1]
    return render(
        'chart.html.j2',
        title=title,
        label=f'{title} by {x_label}. ' + ' '.join(line.in_words(x_label) for line in lines),
        x_label=x_label,
        x_ticks=x_axis.labels,
        y_ticks=y_axis.labels,
        strokes=faint + [_strong(line, x_axis, y_axis) for line in lines],
        stops=_stops(lines, x_axis, x_label, title),
        legend=[(line.look('line'), line.name) for line in lines] if len(lines) > 1 else [],
        note=', '.join(part for part in (note, 'logarithmic' if y_axis.log else '') if part),
        **FRAME,
    )


def linear_ticks(low: float, high: float, about: int = 5) -> List[float]:
    """Round values within a range, roughly ``about`` of them."""
    step = 10 ** math.floor(math.log10((high - low) / about))
    step = next(step * factor for factor in (1, 2, 2.5, 5, 10) if (high - low) / (step * factor) <= about + 0.5)
    return [
        round(i * step, 3 - math.floor(math.log10(step)))
        for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def log_ticks(low: float, high: float) -> List[float]:
    """Powers of ten, with twos and fives between them where the range is short."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 3 else (1,)
    step = max(1, len(powers) // 6)
    ticks = [factor * 10.0**power for power in powers[::step] for factor in factors]
    return [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]


def tick_labels(ticks: Sequence[float]) -> List[str]:
    """Short, and different: ``0.25``, ``12k``, ``5e-4``."""
    labels: List[str] = []
    for digits in range(3, 12):
        labels = [_tick_label(tick, digits) for tick in ticks]
        if len(set(labels)) == len(labels):
            break
    return labels


def _tick_label(value: float, digits: int) -> str:
    size = abs(value)
    if size >= 1e6 or 0 < size < 0.01:
        return re.sub(r'\.?0*e([-+])0*', r'e\1', f'{value:.{digits - 1}e}').replace('e+', 'e')
    return f'{value / 1e3:.{digits}g}k' if size >= 1e4 else f'{value:.{max(digits, 4)}g}'


def _y_axis(lines: Sequence[Line], log_y: Optional[bool], least_span: float) -> Axis:
    strong = np.concatenate([line.drawn for line in lines])
    if log_y is None:
        log_y = strong.max() > LOG_FROM * strong.min()
    log_y = bool(log_y and strong.min() > 0)
    # single outliers of the faint values may leave the drawing
    faint = [np.quantile(line.y, (0.005, 0.995)) for line in lines if line.smooth > 1]
    values = np.concatenate([strong, *faint])
    values = values[values > 0] if log_y else values
    low, high = float(values.min()), float(values.max())
    if log_y and high > low:
        room = (high / low) ** 0.04
        return Axis(low / room, high * room, INNER_HEIGHT, -INNER_HEIGHT, log=True)
    room = max((high - low) * 0.05, (least_span - (high - low)) / 2)
    return Axis(low - room, high + room, INNER_HEIGHT, -INNER_HEIGHT)


def _strong(line: Line, x_axis: Axis, y_axis: Axis) -> Stroke:
    """The strong line, with a dot at each of a few values."""
    kept = evenly(len(line.x), MOST_POINTS)
    x, y = x_axis(line.x[kept]), y_axis(line.drawn[kept])
    dotted = len(line.x) == 1 or (line.dots and len(line.x) <= MOST_DOTS)
    return Stroke(_path(x, y), line.look('line'), list(zip(x, y)) if dotted else [], line.look('dot'))


def _faint(line: Line, x_axis: Axis, y_axis: Axis) -> Stroke:
    """Every value: a thin line, or a band from the smallest to the largest where there are too many."""
    if len(line.x) <= 2 * MOST_BINS:
        return Stroke(_path(x_axis(line.x), y_axis(line.y)), line.look('raw'))
    bins = np.array_split(np.arange(len(line.x)), MOST_BINS)
    x = x_axis([line.x[part].mean() for part in bins])
    high, low = (y_axis([pick(line.y[part]) for part in bins]) for pick in (np.max, np.min))
    outline = _path(np.concatenate([x, x[::-1]]), np.concatenate([high, low[::-1]]))
    return Stroke(f'{outline}Z', line.look('band'))


def _stops(lines: Sequence[Line], x_axis: Axis, x_label: str, title: str) -> List[Stop]:
    grid = np.unique(np.concatenate([line.x for line in lines]))
    if len(grid) > STOPS:
        grid = np.linspace(grid[0], grid[-1], STOPS)
    places = x_axis(grid)
    edges = np.concatenate([[-6], (places[1:] + places[:-1]) / 2, [INNER_WIDTH + 6]])
    return [
        Stop(_tooltip(lines, value, x_label, title), left, right - left, place)
        for value, place, left, right in zip(grid.tolist(), places, edges[:-1], edges[1:])
    ]


def _tooltip(lines: Sequence[Line], x: float, x_label: str, title: str) -> str:
    rows = [f'{x_label} {x:.4g}']
    for line in lines:
        if line.x[0] <= x <= line.x[-1]:
            i = int(np.searchsorted(line.x, x))
            if not line.dots or line.x[i] == x:
                rows.append(f'{line.name if len(lines) > 1 else title}: {line.drawn[i]:.4g}')
    return '\n'.join(rows)


def _path(x: np.ndarray, y: np.ndarray) -> str:
    return 'M' + 'L'.join(f'{a:.1f} {b:.1f}' for a, b in zip(x, np.clip(y, -1e4, 1e4)))
