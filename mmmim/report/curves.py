"""The report's curves: which quantities are drawn, in which order, and how."""

from typing import List, NamedTuple, Optional, Sequence

from markupsafe import Markup

from . import run_metrics, summary
from .charts import Line, line_chart
from .run_curve import Series, is_learning_rate, is_loss
from .run_data import RunData

MOST_CHARTS = 24
KNN = 'knn/'  # accuracies that stand before all other curves
LEAST_SPAN = 10  # of per cent, that an accuracy's axis covers
SMOOTHING = 50  # the running mean covers this part of a run


class Drawn(NamedTuple):
    """A run as a line of a chart: its name in the legend, and the number of its colour."""

    name: str
    slot: int
    run: RunData


def by_epoch(runs: Sequence[RunData]) -> bool:
    """Whether the x axis of all runs counts epochs rather than iterations."""
    return all(run.counts_epochs for run in runs)


def knn_curves(runs: Sequence[RunData]) -> List[Markup]:
    """A chart a k of k-NN, from the start on, the runs as its lines."""
    names = [name for name in run_metrics.metric_names(list(runs)) if name.startswith(KNN)]
    return _charts(runs, names)


def curves(runs: Sequence[RunData]) -> List[Markup]:
    """A chart for each other quantity, the runs as its lines; what is one too many is noted."""
    training = list({name: None for run in runs for name in run.curve.training})
    losses = [name for name in training if is_loss(name) and not _repeats_loss(runs, name)]
    losses.sort(key=lambda name: name != 'loss')
    rates = [name for name in training if is_learning_rate(name)]
    rest = [name for name in training if not is_loss(name) and not is_learning_rate(name)]
    measured = [name for name in run_metrics.metric_names(list(runs)) if not name.startswith(KNN)]
    charts = _charts(runs, [*losses[:1], *measured, *losses[1:], *rates, *rest])
    for run in runs if len(charts) > MOST_CHARTS else ():
        run.notes.append(f'{len(charts) - MOST_CHARTS} more curves (tools/visualize/plot_logs.py draws them)')
    return charts[:MOST_CHARTS]


def _charts(runs: Sequence[RunData], names: Sequence[str]) -> List[Markup]:
    drawn = [Drawn(run.name, slot, run) for slot, run in enumerate(runs)]
    charts = [
        chart(name, summary.capitalised(run_metrics.describe(name).title), drawn, by_epoch(runs))
        for name in names
        if not _measured_once(runs, name)
    ]
    return [drawing for drawing in charts if drawing]


def chart(
    name: str, title: str, runs: Sequence[Drawn], by_epoch: bool = False, note: Optional[str] = None
) -> Optional[Markup]:
    """The chart of one quantity; None where no run has it.

    Args:
        name: In the log.
        title: Without the unit.
        runs: Those that have it become lines.
        by_epoch: Epochs rather than iterations on the x axis.
        note: Said below; None: over how many iterations the mean goes.
    """
    found = [{**run.curve.measured, **run.measured} for _, _, run in runs]
    measured, lines = any(name in values for values in found), []
    for (label, slot, run), values in zip(runs, found):
        series = (values if measured else run.curve.training).get(name)
        if series is not None:
            x = series.iters / run.steps_per_epoch if by_epoch else series.iters
            window = 0 if measured or is_learning_rate(name) else len(x) // SMOOTHING
            lines.append(Line(label, x, series.values, slot, measured, window))
    if not lines:
        return None
    percent, window = run_metrics.describe(name).percent, max(line.smooth for line in lines)
    if note is None:
        note = f'mean of {window | 1} iterations; faint: each of them' if window > 1 else ''
    return line_chart(
        title + (', %' if percent else ''),
        lines,
        'epoch' if by_epoch else 'iteration',
        log_y=None if is_loss(name) else False,
        least_span=LEAST_SPAN if percent else 0,
        note=note,
    )


def _measured_once(runs: Sequence[RunData], name: str) -> bool:
    """Whether there would be a single point in each run."""
    measured = [run.measured[name] for run in runs if name in run.measured]
    return bool(measured) and max(len(series.iters) for series in measured) < 2


def _repeats_loss(runs: Sequence[RunData], name: str) -> bool:
    """Whether this is the only term of the loss, which would be drawn twice."""

    def same(a: Optional[Series], b: Optional[Series]) -> bool:
        return a is None or (b is not None and a.values.shape == b.values.shape and bool((a.values == b.values).all()))

    return name != 'loss' and all(same(run.curve.training.get(name), run.curve.training.get('loss')) for run in runs)
