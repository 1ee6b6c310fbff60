"""Line charts as inline SVG; the page's style sheet gives colours and type, so they follow its light or dark mode."""

import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import List, Optional, Sequence, Union

import numpy as np

from .markup import Markup, el
from .run_curve import running_mean

# in units of the drawing, which the page scales: at a phone's width text of 13 is drawn with 11 pixels
WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 20, 12, 40
INNER_WIDTH, INNER_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
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
    drawing = el(
        'svg',
        _grid(x_axis, y_axis, x_label),
        _plot(lines, x_axis, y_axis, x_label, title),
        viewBox=f'0 0 {WIDTH} {HEIGHT}',
        role='img',
        class_='chart',
        aria_label=f'{title} by {x_label}. ' + ' '.join(_in_words(line, x_label) for line in lines),
    )
    notes = [part for part in (note, 'logarithmic' if y_axis.log else '') if part]
    return el(
        'figure',
        el('figcaption', title),
        drawing,
        legend(lines) if len(lines) > 1 else None,
        el('small', ', '.join(notes)) if notes else None,
        class_='plot',
    )


def legend(lines: Sequence[Line]) -> Markup:
    """Names beside their colours."""
    return el(
        'ul',
        [
            el(
                'li',
                el('svg', el('path', d='M0 6H22', class_=_look(line, 'line')), viewBox='0 0 22 12', aria_hidden='true'),
                line.name,
            )
            for line in lines
        ],
        class_='legend',
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


def _grid(x_axis: Axis, y_axis: Axis, x_label: str) -> List[Markup]:
    parts = []
    for tick, label in zip(y_axis.ticks, tick_labels(y_axis.ticks)):
        y = TOP + float(y_axis(tick))
        parts += [
            el('line', x1=LEFT, x2=WIDTH - RIGHT, y1=_round(y), y2=_round(y), class_='grid'),
            el('text', label, x=LEFT - 7, y=_round(y + 4), text_anchor='end'),
        ]
    for tick, label in zip(x_axis.ticks, tick_labels(x_axis.ticks)):
        x = _round(LEFT + float(x_axis(tick)))
        parts.append(el('text', label, x=x, y=HEIGHT - BOTTOM + 17, text_anchor='middle'))
    parts.append(el('line', x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, class_='axis'))
    parts.append(el('text', x_label, x=LEFT + INNER_WIDTH / 2, y=HEIGHT - 5, text_anchor='middle', class_='label'))
    return parts


def _plot(lines: Sequence[Line], x_axis: Axis, y_axis: Axis, x_label: str, title: str) -> Markup:
    parts = [_faint(line, x_axis, y_axis) for line in lines if line.smooth > 1]
    for line in lines:
        kept = np.unique(np.linspace(0, len(line.x) - 1, min(len(line.x), MOST_POINTS)).round().astype(int))
        parts.append(el('path', d=_path(x_axis(line.x[kept]), y_axis(line.drawn[kept])), class_=_look(line, 'line')))
        if len(line.x) == 1 or (line.dots and len(line.x) <= MOST_DOTS):
            parts += [
                el('circle', cx=_round(x), cy=_round(y), r=3.5, class_=_look(line, 'dot'))
                for x, y in zip(x_axis(line.x[kept]), y_axis(line.drawn[kept]))
            ]
    parts += _stops(lines, x_axis, x_label, title)
    # an inner svg clips what leaves the axes; dots at the border stay whole
    return el(
        'svg',
        el('g', parts, transform='translate(6 6)'),
        x=LEFT - 6,
        y=TOP - 6,
        width=INNER_WIDTH + 12,
        height=INNER_HEIGHT + 12,
        overflow='hidden',
    )


def _faint(line: Line, x_axis: Axis, y_axis: Axis) -> Markup:
    """Every value: a thin line, or a band from the smallest to the largest where there are too many."""
    if len(line.x) <= 2 * MOST_BINS:
        return el('path', d=_path(x_axis(line.x), y_axis(line.y)), class_=_look(line, 'raw'))
    bins = np.array_split(np.arange(len(line.x)), MOST_BINS)
    x = x_axis([line.x[part].mean() for part in bins])
    high, low = (y_axis([pick(line.y[part]) for part in bins]) for pick in (np.max, np.min))
    outline = _path(np.concatenate([x, x[::-1]]), np.concatenate([high, low[::-1]]))
    return el('path', d=f'{outline}Z', class_=_look(line, 'band'))


def _stops(lines: Sequence[Line], x_axis: Axis, x_label: str, title: str) -> List[Markup]:
    """Unseen columns that show a hair line and the values below it when pointed at."""
    grid = np.unique(np.concatenate([line.x for line in lines]))
    if len(grid) > STOPS:
        grid = np.linspace(grid[0], grid[-1], STOPS)
    places = x_axis(grid)
    edges = np.concatenate([[-6], (places[1:] + places[:-1]) / 2, [INNER_WIDTH + 6]])
    return [
        el(
            'g',
            el('title', _tooltip(lines, value, x_label, title)),
            el('rect', x=_round(left), y=0, width=_round(right - left), height=INNER_HEIGHT),
            el('path', d=f'M{_round(place)} 0V{INNER_HEIGHT}'),
            class_='stop',
        )
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


def _in_words(line: Line, x_label: str) -> str:
    y = line.drawn
    return f'{line.name}: {y[0]:.4g} at {x_label} {line.x[0]:.4g}, {y[-1]:.4g} at {x_label} {line.x[-1]:.4g}.'


def _look(line: Line, kind: str) -> str:
    """CSS classes: the kind, the colour, and dashes once all colours are taken."""
    return f'{kind} s{line.slot % COLOURS}' + (' dashed' if line.slot >= COLOURS and kind == 'line' else '')


def _path(x: np.ndarray, y: np.ndarray) -> str:
    return 'M' + 'L'.join(f'{a:.1f} {b:.1f}' for a, b in zip(x, np.clip(y, -1e4, 1e4)))


def _round(value: float) -> Union[float, int]:
    value = round(float(value), 1)
    return int(value) if value == int(value) else value
