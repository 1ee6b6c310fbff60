"""The report of one or more runs: one HTML file that needs nothing else."""

import os
import os.path as osp
from datetime import datetime
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from ..checkpoint import atomic_write_text
from ..version import __version__
from . import run_metrics
from . import tables as report_tables
from . import tasks as report_tasks
from .charts import Line, line_chart
from .commands import next_steps
from .markup import Markup, code, el, table
from .pictures import pictures
from .run_curve import Series, is_learning_rate, is_loss
from .run_data import RunData, load_runs

MOST_CHARTS, MOST_BAD_IMAGES = 24, 100
# nothing is fetched, whatever the page holds
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
LEAST_POINTS = 10  # of per cent, that an accuracy's axis covers
SMOOTHING = 50  # the running mean covers this part of a run


def write_report(dirs: Sequence[str], out: Optional[str] = None, title: Optional[str] = None) -> str:
    """Write the report of some work dirs, at most a few MB of HTML without outside links.

    Args:
        dirs: Work dirs of runs; several are shown side by side. Dense tasks below one (``segmentation/random``,
            ``segmentation/pretrained``, the same in ``detection``) become sections. What a work dir lacks, or holds
            broken, is named in the page.
        out: The file, or a folder for a ``report.html``. None: in the work dir of a single run, else in the current
            folder.
        title: Of the page; None: the names of the runs.

    Returns:
        The path of the file.

    Raises:
        FileNotFoundError, NotADirectoryError, ValueError: A folder that is no work dir.
        CheckpointWriteError: The file cannot be written.
    """
    if isinstance(dirs, (str, os.PathLike)):
        dirs = [dirs]
    if not dirs:
        raise ValueError('a report needs at least one work dir')
    runs = load_runs([os.fspath(path) for path in dirs])
    out = os.fspath(out) if out else (runs[0].path if len(runs) == 1 else '.')
    path = osp.join(out, 'report.html') if osp.isdir(out) or out.endswith(os.sep) else out
    atomic_write_text(path, build_page(runs, title))
    return path


def build_page(runs: Sequence[RunData], title: Optional[str] = None) -> str:
    """The whole page as text."""
    title = title or (' · '.join(run.name for run in runs) if len(runs) <= 3 else f'{len(runs)} runs')
    shown = pictures(runs)  # first, as the tasks: what cannot be read is noted
    tasks = {place: report_tasks.load_tasks(run) for place, run in enumerate(runs)}
    sections = {
        'Pictures': shown or [el('p', 'There are none yet.', class_='note')] * any(not run.dense for run in runs),
        'Measurements': _measurements(runs),
        **report_tasks.sections(runs, tasks),
        'Curves': _curves(runs),
        'Settings': _settings(runs),
        'Speed and hardware': [
            report_tables.side_by_side(runs, [report_tables.throughput(run) for run in runs], 'Speed and hardware')
        ],
        'How to go on': _next(runs),
        'Files': _files(runs),
        'Not shown': _notes(runs),
    }
    sections = {name: [part for part in parts if part] for name, parts in sections.items()}
    sections = {name: parts for name, parts in sections.items() if parts}
    body = [
        _header(runs, tasks, title, list(sections)),
        el('main', [el('section', el('h2', name), parts, id=_anchor(name)) for name, parts in sections.items()]),
        el('footer', f'Made {datetime.now().astimezone():%Y-%m-%d %H:%M %Z} by mmmim {__version__}.'),
    ]
    head = [
        el('meta', charset='utf-8'),
        el('meta', name='viewport', content='width=device-width, initial-scale=1'),
        el('meta', http_equiv='Content-Security-Policy', content=POLICY),
        el('meta', name='color-scheme', content='light dark'),
        el('link', rel='icon', href='data:,'),  # or a browser asks the server for one
        el('title', title),
        el('style', Markup(_style())),
    ]
    return '<!DOCTYPE html>\n' + el('html', el('head', head), '\n', el('body', body), lang='en') + '\n'


def _style() -> str:
    return (Path(__file__).parent / 'report.css').read_text(encoding='utf-8')


def _anchor(name: str) -> str:
    return name.lower().replace(' ', '-')


def _header(
    runs: Sequence[RunData], tasks: Dict[int, List[report_tasks.Task]], title: str, sections: List[str]
) -> Markup:
    results = []
    for slot, run in enumerate(runs):
        swatch = el('span', class_=f'swatch s{slot % 8}') if len(runs) > 1 else None
        name = el('strong', run.name) if len(runs) > 1 else None
        state = run_metrics.state(run)
        results += [
            el('p', swatch, name, ' ' if name else None, run_metrics.result(run), class_='result'),
            *(el('p', report_tasks.result(task), class_='result') for task in tasks[slot]),
            el('p', f'{state[0].upper()}{state[1:]}.', class_='state') if state else None,
            _warning(run),
        ]
    links = [el('a', name, href=f'#{_anchor(name)}') for name in sections]
    return el('header', el('h1', title), results, el('nav', links, aria_label='Sections'))


def _warning(run: RunData) -> Optional[Markup]:
    """A loss that was not finite, unless the run has gone past it since."""
    step = run.non_finite.get('iter')
    if not run.non_finite or (isinstance(step, int) and run.curve.last_iter > step):
        return None
    values = run.non_finite.get('values')
    values = ', '.join(f'{k} {v}' for k, v in values.items()) if isinstance(values, dict) else ''
    return el(
        'p',
        f'Ended at iteration {step}: the loss was not finite'
        + (f' ({values})' if values else '')
        + '. non_finite.json names the images; a lower learning rate, optim_wrapper.clip_grad or dtype=float32 '
        'may help.',
        class_='warning',
    )


def _measurements(runs: Sequence[RunData]) -> List[Optional[Markup]]:
    if len(runs) == 1:
        return [report_tables.probe_table(runs[0])]
    tables = [(run, report_tables.probe_table(run)) for run in runs]
    return [
        report_tables.comparison_table(runs),
        *(el('details', el('summary', f'Every measurement of {run.name}'), rows) for run, rows in tables if rows),
    ]


def _curves(runs: Sequence[RunData]) -> List[Optional[Markup]]:
    """A chart a quantity, the runs as its lines."""
    training = list({name: None for run in runs for name in run.curve.training})
    losses = sorted(
        (name for name in training if is_loss(name) and not _repeats_loss(runs, name)), key=lambda name: name != 'loss'
    )
    rates = [name for name in training if is_learning_rate(name)]
    rest = [name for name in training if not is_loss(name) and not is_learning_rate(name)]
    by_epoch = all(run.counts_epochs for run in runs)
    charts = [
        _chart(runs, name, by_epoch)
        for name in [*losses[:1], *run_metrics.metric_names(list(runs)), *losses[1:], *rates, *rest]
    ]
    charts = [chart for chart in charts if chart]
    for run in runs if len(charts) > MOST_CHARTS else ():
        run.notes.append(f'{len(charts) - MOST_CHARTS} more curves (tools/analysis/plot_logs.py draws them)')
    return [el('div', charts[:MOST_CHARTS], class_='plots')] if charts else []


def _repeats_loss(runs: Sequence[RunData], name: str) -> bool:
    """Whether this is the only term of the loss, which would be drawn twice."""

    def same(a: Optional[Series], b: Optional[Series]) -> bool:
        return a is None or (b is not None and a.values.shape == b.values.shape and bool((a.values == b.values).all()))

    return name != 'loss' and all(same(run.curve.training.get(name), run.curve.training.get('loss')) for run in runs)


def _chart(runs: Sequence[RunData], name: str, by_epoch: bool) -> Optional[Markup]:
    measured, smoothed = any(name in run.measured for run in runs), not is_learning_rate(name)
    lines = []
    for slot, run in enumerate(runs):
        series = run.measured.get(name) if measured else run.curve.training.get(name)
        if series is not None:
            x = series.iters / run.steps_per_epoch if by_epoch else series.iters
            window = len(x) // SMOOTHING if smoothed and not measured else 0
            lines.append(Line(run.name, x, series.values, slot, measured, window))
    if not lines or (measured and max(len(line.x) for line in lines) < 2):
        return None
    metric = run_metrics.describe(name)
    title = metric.title if metric.title.startswith(('k-NN', 'mIoU')) else metric.title[0].upper() + metric.title[1:]
    window = max(line.smooth for line in lines)
    note = f'mean of {window | 1} iterations; faint: each of them' if window > 1 else ''
    return line_chart(
        title + (', %' if metric.percent else ''),
        lines,
        'epoch' if by_epoch else 'iteration',
        None if is_loss(name) else False,
        LEAST_POINTS if metric.percent else 0,
        note,
    )


def _settings(runs: Sequence[RunData]) -> List[Optional[Markup]]:
    parts = []
    different = report_tables.differences(runs) if len(runs) > 1 else []
    if different:
        rows = [[el('code', name), *map(str, values)] for name, values in different[: report_tables.MOST_DIFFERENCES]]
        more = len(different) - len(rows)
        parts += [
            el('h3', 'What differs in the configs'),
            table(['', *(run.name for run in runs)], rows, 'What differs in the configs', 'runs'),
            el('p', f'and {more} more', class_='note') if more else None,
            el('h3', 'The settings of each'),
        ]
    parts.append(report_tables.side_by_side(runs, [report_tables.settings(run) for run in runs], 'Settings', mark=True))
    for run in runs:
        if run.config_text:
            of = '' if len(runs) == 1 else f' of {run.name}'
            parts.append(
                el('details', el('summary', f'The whole config{of} ({run.config_name})'), code(run.config_text))
            )
    return parts


def _next(runs: Sequence[RunData]) -> List[Optional[Markup]]:
    parts = []
    for run in runs:
        steps = [
            [el('h4', step.title), el('p', step.note, class_='note') if step.note else None, code(step.lines)]
            for step in next_steps(run)
        ]
        if len(runs) > 1 and steps:
            parts.append(el('details', el('summary', run.name), steps))
        else:
            parts += steps
    return (
        [el('p', 'Commands are for the folder that the run was started from.', class_='note'), *parts]
        if any(parts)
        else []
    )


def _files(runs: Sequence[RunData]) -> List[Optional[Markup]]:
    """What lies in each work dir, with sizes."""
    known: Dict[str, str] = {
        'encoder.safetensors': "the encoder alone, under timm's names",
        'curve.jsonl': 'a line an iteration',
        'run.json': 'command, sizes, hardware, speed',
        'last_checkpoint': 'the newest checkpoint',
        'bad_images.txt': 'images that could not be read',
        'non_finite.json': 'where the loss was not finite',
    }
    parts = []
    for run in runs:
        rows = [
            [
                name,
                known.get(
                    name,
                    'a checkpoint'
                    if name.endswith('.pth')
                    else 'the config as it ran'
                    if name == run.config_name
                    else '',
                ),
                _size(osp.join(run.path, name)),
            ]
            for name in sorted(os.listdir(run.path))
            if run.file(name) and name != 'report.html' and not name.startswith('.')
        ]
        listed = table(['file', 'what it is', 'size'], rows, f'Files of {run.name}') if rows else None
        where = el('code', osp.abspath(run.path))
        parts += [el('p', where), listed] if len(runs) == 1 else [el('details', el('summary', where), listed)]
        if run.bad_images:
            bad = run.bad_images[:MOST_BAD_IMAGES]
            count = f'{len(run.bad_images)} image{"s" * (len(run.bad_images) != 1)}'
            parts.append(
                el(
                    'details',
                    el(
                        'summary',
                        f'{count} could not be read and were replaced by others'
                        + (f' (the first {len(bad)})' if len(bad) < len(run.bad_images) else ''),
                    ),
                    table(['file', 'reason'], bad, f'Unreadable images of {run.name}'),
                )
            )
    return parts


def _size(path: str) -> str:
    size = float(osp.getsize(path))
    for unit in ('B', 'kB', 'MB'):
        if size < 1000:
            return f'{size:.3g} {unit}'
        size /= 1000
    return f'{size:.3g} GB'


def _notes(runs: Sequence[RunData]) -> List[Optional[Markup]]:
    notes = [note if len(runs) == 1 else f'{run.name}: {note}' for run in runs for note in run.notes]
    return [el('ul', [el('li', note) for note in dict.fromkeys(notes)])] if notes else []
