"""Draw the curves of several runs as one picture: a panel a quantity, a line a run.

    python tools/visualize/plot_logs.py DIR_OR_CURVE [...] [--keys loss knn/top1_k20] [--x epoch] [--out curves.png]

Each argument is a work dir or its curve.jsonl. By default the loss is drawn, and whatever was measured more than once
(k-NN accuracy, held-out loss; results of tools/test.py count). `--x time` is training time without pauses.
"""

import argparse
import io
import os
import os.path as osp
import sys
from typing import Any, Dict, List, Optional

import numpy as np
from matplotlib.figure import Figure

from mmmim.checkpoint import atomic_write_bytes
from mmmim.engine.launch import USER_ERRORS, end_with
from mmmim.report.run_curve import find_curve, is_learning_rate, is_loss, read_curve, running_mean
from mmmim.report.run_data import RunData, distinct_names, load_run
from mmmim.report.run_metrics import describe, in_order

WIDTH, HEIGHT, COLUMNS = 5.0, 3.4, 3  # inches of a panel; panels beside each other
COLOURS = ('#1f5fb4', '#c2410c', '#0f7a5a', '#8b2fa8', '#8a6500', '#0e7490', '#b91c5c', '#4b5563')
X_AXES = dict(iter='iteration', epoch='epoch', time='minutes of training')
FORMATS = ('.png', '.pdf', '.svg', '.jpg')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', nargs='+', metavar='DIR_OR_CURVE', help='work dirs, or files curve.jsonl')
    parser.add_argument('--keys', nargs='+', help='what to draw: names in curve.jsonl')
    parser.add_argument('--x', choices=X_AXES, default='iter')
    parser.add_argument('--smooth', type=int, default=50, metavar='N', help='mean over N iterations; 0: none')
    parser.add_argument('--log', action='store_true', help='logarithmic scale for the training losses')
    parser.add_argument('--out', default='curves.png', help=f'the picture ({", ".join(FORMATS)})')
    return parser.parse_args()


def load(paths: List[str]) -> List[RunData]:
    """Read runs from work dirs and from curve files, which may have any name and place."""
    runs, ends = [], []
    for path in paths:
        curve = find_curve(path)
        if osp.basename(curve) == 'curve.jsonl':
            runs.append(load_run(osp.dirname(curve) or '.'))
            ends.append(osp.realpath(osp.dirname(curve)))
        else:
            runs.append(RunData(path=osp.dirname(curve), curve=read_curve(curve)))
            ends.append(osp.splitext(osp.realpath(curve))[0])
    for run, name in zip(runs, distinct_names(ends)):
        run.name = name
        if run.curve.skipped:
            print(f'{name}: {run.curve.skipped} line(s) of the curve are not whole and left out', file=sys.stderr)
    return runs


def values(run: RunData, key: str) -> Any:
    """The series of a run, from training or from measurements; None where it has none."""
    return run.curve.training.get(key) or run.measured.get(key) or run.curve.measured.get(key)


def choose_keys(runs: List[RunData], wanted: Optional[List[str]]) -> List[str]:
    """What to draw.

    Raises:
        ValueError: No run has a wanted quantity, or there is none at all.
    """
    training = list({key: None for run in runs for key in run.curve.training})
    measured = in_order(list({key: None for run in runs for key in (*run.measured, *run.curve.measured)}))
    if not training and not measured:
        raise ValueError(f'the curves of {", ".join(run.name for run in runs)} are empty: nothing was logged yet')
    unknown = [key for key in wanted or () if key not in training + measured]
    if unknown:
        raise ValueError(f'--keys {" ".join(unknown)}: no run has that. There are {", ".join(training + measured)}')
    if wanted:
        return wanted
    repeated = [key for key in measured if any(len(values(run, key).iters) > 1 for run in runs if values(run, key))]
    return [key for key in training if key == 'loss'] + repeated or training[:1] or measured[:1]


def horizontal(run: RunData, iters: np.ndarray, unit: str) -> np.ndarray:
    """Places on the x axis: iterations, epochs or minutes of training.

    Raises:
        ValueError: The run does not tell how long its epochs are, or how long it took.
    """
    if unit == 'iter':
        return iters
    if unit == 'epoch':
        if not run.steps_per_epoch:
            raise ValueError(f'{run.name} has no whole epoch yet, nor a run.json: use --x iter')
        return iters / run.steps_per_epoch
    if not run.sessions:
        raise ValueError(f'{run.name} has no run.json with the times of its sessions: use --x iter or --x epoch')
    return elapsed(run, iters) / 60


def elapsed(run: RunData, iters: np.ndarray) -> np.ndarray:
    """Seconds of training until each iteration, without the pauses between sessions."""
    ends, times = [0.0], [0.0]
    for session in run.sessions:
        ends += [max(ends[-1], session['from_iter']), max(ends[-1], session['to_iter'])]
        times += [times[-1], times[-1] + session['seconds']]
    pace = times[-1] / max(ends[-1], 1)  # of what was logged after run.json was last brought up to date
    return np.interp(iters, ends, times) + pace * np.maximum(iters - ends[-1], 0)


def draw(runs: List[RunData], keys: List[str], args: argparse.Namespace) -> Figure:
    """A panel for each key."""
    columns = 2 if len(keys) == 4 else min(COLUMNS, len(keys))
    rows = -(-len(keys) // columns)
    figure = Figure((columns * WIDTH, rows * HEIGHT), dpi=150, layout='constrained')
    lines: Dict[str, Any] = {}
    for place, key in enumerate(keys, 1):
        axes, metric = figure.add_subplot(rows, columns, place), describe(key)
        for slot, run in enumerate(runs):
            line = draw_run(axes, run, slot, key, args)
            if line:
                lines.setdefault(run.name, line)
            else:
                print(f'{run.name} has no {key}', file=sys.stderr)
        axes.set(title=metric.title, ylabel='%' if metric.percent else None, xlabel=X_AXES[args.x])
        if args.log and is_loss(key):
            axes.set_yscale('log')
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    legend = dict(loc='outside lower center', ncols=min(len(lines), 3 * columns), frameon=False)
    figure.legend(lines.values(), lines.keys(), **legend)
    return figure


def draw_run(axes: Any, run: RunData, slot: int, key: str, args: argparse.Namespace) -> Any:
    """One line, with every value faintly behind it where it is smoothed; None where the run has none."""
    series = values(run, key)
    if series is None:
        return None
    x, measured = horizontal(run, series.iters, args.x), '/' in key
    window = 0 if measured or is_learning_rate(key) else args.smooth
    look = dict(color=COLOURS[slot % len(COLOURS)], linestyle='-' if slot < len(COLOURS) else '--')
    if window > 1:
        axes.plot(x, series.values, linewidth=0.6, alpha=0.25, **look)
    look.update(marker='o' if measured else None, markersize=4, linewidth=1.6)
    return axes.plot(x, running_mean(series.values, window), **look)[0]


def output_path(out: str) -> str:
    """``out``, as a PNG where it has no ending or is a folder.

    Raises:
        ValueError: An ending that cannot be drawn.
    """
    out = osp.join(out, 'curves.png') if osp.isdir(out) or out.endswith(os.sep) else out
    ending = osp.splitext(out)[1].lower()
    if ending and ending not in FORMATS:
        raise ValueError(f'--out {out}: a picture ends in one of {", ".join(FORMATS)}')
    return out if ending else f'{out}.png'


def plot(args: argparse.Namespace) -> str:
    """Draw, and write in one step; a line that says what and where."""
    path, runs = output_path(args.out), load(args.runs)
    keys = choose_keys(runs, args.keys)
    data = io.BytesIO()
    draw(runs, keys, args).savefig(data, format=osp.splitext(path)[1][1:])
    atomic_write_bytes(data.getvalue(), path)
    return f'{path}: {", ".join(keys)}'


def main() -> None:
    args = parse_args()
    try:
        print(plot(args))
    except USER_ERRORS as error:
        end_with(error, None)


if __name__ == '__main__':
    main()
