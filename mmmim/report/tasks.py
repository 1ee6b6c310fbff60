"""The report's dense tasks: what fine-tuning reaches from a random initialisation and from the pre-trained encoder."""

import os.path as osp
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..visualization.overlay import color_of
from ..visualization.panel import Panel
from . import run_metrics
from .charts import Line, line_chart
from .markup import Markup, el, table
from .pictures import Room, grid
from .run_curve import number
from .run_data import RunData, is_work_dir, load_run

# folders of a work dir, each with a folder for each start, and predictions.png
TITLES = {'segmentation': 'Segmentation', 'detection': 'Detection'}
STARTS = {'random': 'from random initialisation', 'pretrained': 'from the pre-trained encoder'}
SAME = ('seed', 'images', 'batch', 'accumulation', 'processes', 'max_iters', 'dtype')  # or the two do not compare
HEADLINES = ('mIoU', 'coco/bbox_mAP', 'coco/segm_mAP')
SHOWN = (*HEADLINES, 'mAcc', 'aAcc', 'coco/bbox_mAP_50', 'coco/segm_mAP_50')
PICTURE_BYTES = 420_000  # for all tasks of a page together
SLOTS = {'random': 7, 'pretrained': 0}  # grey, and the page's first colour
LEAST_POINTS, SMOOTHING = 10, 50


class Task(NamedTuple):
    """A dense task below a work dir."""

    name: str
    starts: Dict[str, RunData]  # by the names in STARTS, in their order
    panel: Optional[Panel]

    @property
    def title(self) -> str:
        return TITLES[self.name]

    def ends(self, metric: str) -> Tuple[Optional[float], Optional[float]]:
        """What each start reached, None where it is not measured."""
        return tuple(
            run_metrics.first_and_last(self.starts[start], metric)[1] if start in self.starts else None
            for start in STARTS
        )

    @property
    def metrics(self) -> List[str]:
        """Those worth a row, which any start has."""
        measured = run_metrics.metric_names(list(self.starts.values()))
        return [name for name in SHOWN if name in measured]


def load_tasks(run: RunData) -> List[Task]:
    """The tasks below a work dir; what is missing or broken is noted in ``run.notes``."""
    found = []
    for name in TITLES:
        folders = {start: osp.join(run.path, name, start) for start in STARTS}
        starts = {
            start: load_run(folder) for start, folder in folders.items() if osp.isdir(folder) and is_work_dir(folder)
        }
        for start, dense in starts.items():
            run.notes += [f'{name} {STARTS[start]}: {note}' for note in dense.notes]
        if starts:
            found.append(Task(name, starts, _panel(run, name)))
    return found


def _panel(run: RunData, name: str) -> Optional[Panel]:
    path = osp.join(run.path, name, 'predictions.png')
    if not osp.isfile(path):
        run.notes.append(f'{name}: no pictures (tools/visualize/compare.py draws them)')
        return None
    try:
        return Panel.load(path)
    except (OSError, ValueError):
        run.notes.append(f'{name}/predictions.png: it is no panel of pictures, or not whole')
        return None


def result(task: Task) -> str:
    """``Segmentation: mIoU 31.2% from random initialisation, 38.4% from the pre-trained encoder.``"""
    parts = []
    for name in (name for name in HEADLINES if name in task.metrics):
        metric = run_metrics.describe(name)
        said = [
            f'{metric.write(value)} {where}'
            for value, where in zip(task.ends(name), STARTS.values())
            if value is not None
        ]
        parts.append(f'{metric.title} ' + ', '.join(said))
    return f'{task.title}: ' + ('; '.join(parts) if parts else 'nothing was measured yet') + '.'


def sections(runs: Sequence[RunData], tasks: Dict[int, List[Task]]) -> Dict[str, List[Optional[Markup]]]:
    """A section a task that any run has; ``tasks`` by the place of their run."""
    count = sum(len(found) for found in tasks.values())
    parts: Dict[str, List[Optional[Markup]]] = {title: [] for title in TITLES.values()}
    for place, found in tasks.items():
        for task in found:
            if len(runs) > 1:
                parts[task.title].append(el('h3', runs[place].name))
            parts[task.title] += _section(task, PICTURE_BYTES // count)
    return parts


def _section(task: Task, most_bytes: int) -> List[Optional[Markup]]:
    return [
        el('p', _caption(task), class_='note'),
        _warning(task),
        _numbers(task),
        *_pictures(task, most_bytes),
        _charts(task),
    ]


def _caption(task: Task) -> str:
    record = next(iter(task.starts.values())).record
    model = str(record.get('method') or task.name)
    length = [
        f'{int(value):,} {unit}'
        for value, unit in ((number(record.get('max_iters')), 'iterations'), (number(record.get('batch')), 'images'))
        if value
    ]
    return (
        f'{_decoder(task, model)} trained for {" of ".join(length) or "some iterations"}, twice: the encoder '
        'starts at random, or as pre-trained; seed, data and schedule are the same. One seed and a short schedule: '
        'small differences may be chance.'
    )


def _decoder(task: Task, model: str) -> str:
    """A name that people know: mmseg's class says nothing."""
    config = next(iter(task.starts.values())).config.get('model')
    head = config.get('decode_head') if isinstance(config, dict) else None
    known = {'UPerHead': 'UperNet', 'MaskRCNN': 'Mask R-CNN', 'CascadeRCNN': 'Cascade Mask R-CNN'}
    name = str(head.get('type')) if isinstance(head, dict) else model
    return known.get(name, name)


def _warning(task: Task) -> Optional[Markup]:
    """What makes the two starts no fair comparison."""
    problems = [
        f'{STARTS[start]}: {state}' for start, run in task.starts.items() for state in [run_metrics.state(run)] if state
    ]
    problems += [f'there is no run {STARTS[start]}' for start in STARTS if start not in task.starts]
    records = [run.record for run in task.starts.values()]
    different = [key for key in SAME if any(record.get(key) != records[0].get(key) for record in records)]
    if different:
        problems.append(f'the two runs differ in {", ".join(different)}')
    return el('p', f'Not to be compared: {"; ".join(problems)}.', class_='warning') if problems else None


def _numbers(task: Task) -> Optional[Markup]:
    rows = []
    for name in task.metrics:
        metric, (first, last) = run_metrics.describe(name), task.ends(name)
        both = first is not None and last is not None
        rows.append(
            [
                metric.title,
                *('–' if value is None else metric.write(value) for value in (first, last)),
                el('strong', metric.change(first, last)) if both else '',
            ]
        )
    return (
        table(['', *STARTS.values(), 'difference'], rows, f'{task.title}: what was measured', 'numbers')
        if rows
        else None
    )


def _charts(task: Task) -> Optional[Markup]:
    charts = []
    for name in (*(name for name in HEADLINES if name in task.metrics), 'loss'):
        lines = []
        for start, run in task.starts.items():
            measured = name in run.measured
            series = run.measured.get(name) if measured else run.curve.training.get(name)
            if series is not None:
                window = 0 if measured else len(series.iters) // SMOOTHING
                lines.append(Line(STARTS[start], series.iters, series.values, SLOTS[start], measured, window))
        if lines:
            metric = run_metrics.describe(name)
            charts.append(
                line_chart(
                    metric.title[0].upper() + metric.title[1:] if name == 'loss' else f'{metric.title}, %',
                    lines,
                    'iteration',
                    None if name == 'loss' else False,
                    LEAST_POINTS if metric.percent else 0,
                    'running mean; faint: each iteration' if name == 'loss' else '',
                )
            )
    return el('div', charts, class_='plots') if charts else None


def _pictures(task: Task, most_bytes: int) -> List[Markup]:
    """A row an image: the image, the truth, each start's prediction; the classes' colours above."""
    panel = task.panel
    if panel is None:
        return []
    room = Room(len(panel.tiles), 0, 224, most_bytes // (len(panel.tiles) * len(panel.columns)))
    rows = [
        ([(tile, f'{title}: {name}') for tile, title in zip(tiles, panel.columns)], '')
        for tiles, name in zip(panel.tiles, panel.row_names)
    ]
    score = number(panel.notes.get('score'))
    shown = f' Predictions with a score of {score:g} or more.' if task.name == 'detection' and score else ''
    return [
        el('h3', 'Held-out images'),
        el('p', f'Not chosen: at equal distances in the set.{shown}', class_='note'),
        _legend(task),
        el('div', _halves(panel.columns, rows, room), class_='sheets'),
    ]


def _halves(columns: Sequence[str], rows: List[Any], room: Room) -> List[Markup]:
    """Two stacks of rows, which share the width of the page."""
    half = (len(rows) + 1) // 2
    return [grid(columns, part, room) for part in (rows[:half], rows[half:]) if part]


def _legend(task: Task) -> Optional[Markup]:
    """The classes beside their colours, and beside the numbers that are drawn at boxes."""
    names = task.panel.notes.get('classes')
    items = [
        el(
            'li',
            el('span', class_='patch', style='background:#{:02x}{:02x}{:02x}'.format(*color_of(index))),
            f'{index} {name}' if task.name == 'detection' else name,
        )
        for index, name in enumerate(names if isinstance(names, list) else [])
    ]
    return el('ul', items, class_='legend') if items else None
