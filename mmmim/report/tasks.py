"""The report's dense tasks: what fine-tuning reaches from a random initialisation and from the pre-trained encoder."""

import os.path as osp
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from markupsafe import Markup

from ..visualization.overlay import color_of
from ..visualization.panel import Panel
from . import run_metrics, summary
from .curves import Drawn, chart
from .pictures import Room, load_panel, sheets
from .run_curve import number
from .run_data import RunData, is_work_dir, load_run, mapping
from .summary import count
from .tables import Cell, Table

# folders of a work dir, each with a folder for each start, and predictions.png
TITLES = {'segmentation': 'Segmentation', 'detection': 'Detection'}
STARTS = {'random': 'from random initialisation', 'pretrained': 'from the pre-trained encoder'}
SAME = ('seed', 'images', 'batch', 'accumulation', 'processes', 'max_iters', 'dtype')  # or the two do not compare
HEADLINES = ('mIoU', 'coco/bbox_mAP', 'coco/segm_mAP')
SHOWN = (*HEADLINES, 'mAcc', 'aAcc', 'coco/bbox_mAP_50', 'coco/segm_mAP_50')
PICTURE_BYTES = 420_000  # for all tasks of a page together
SLOTS = {'random': 7, 'pretrained': 0}  # grey, and the page's first colour
# names that people know: mmseg's and mmdet's classes say nothing
DECODERS = {'UPerHead': 'UperNet', 'MaskRCNN': 'Mask R-CNN', 'CascadeRCNN': 'Cascade Mask R-CNN'}


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

    @property
    def headlines(self) -> List[str]:
        """Those worth a sentence and a chart."""
        return [name for name in self.metrics if name in HEADLINES]


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
    if run.file(f'{name}/predictions.png'):
        return load_panel(run, f'{name}/predictions.png')
    run.notes.append(f'{name}: no pictures (tools/visualize/compare.py draws them)')
    return None


def result(task: Task) -> str:
    """``Segmentation: mIoU 31.2% from random initialisation, 38.4% from the pre-trained encoder.``"""
    parts = []
    for name in task.headlines:
        metric, values = run_metrics.describe(name), zip(task.ends(name), STARTS.values())
        said = [f'{metric.write(value)} {where}' for value, where in values if value is not None]
        parts.append(f'{metric.title} {", ".join(said)}')
    return f'{task.title}: {"; ".join(parts) or "nothing was measured yet"}.'


def sections(runs: Sequence[RunData], tasks: Sequence[List[Task]]) -> Dict[str, List[Dict[str, Any]]]:
    """What each task's section shows, by its title; ``tasks`` of each run."""
    most_bytes = PICTURE_BYTES // (sum(map(len, tasks)) or 1)
    parts: Dict[str, List[Dict[str, Any]]] = {title: [] for title in TITLES.values()}
    for run, found in zip(runs, tasks):
        for task in found:
            parts[task.title].append(dict(_section(task, most_bytes), run=run.name))
    return parts


def _section(task: Task, most_bytes: int) -> Dict[str, Any]:
    first = next(iter(task.starts.values()))
    length = [count(first.record.get('max_iters'), ' iterations'), count(first.record.get('batch'), ' images')]
    return dict(
        decoder=_decoder(task, first),
        length=summary.joined(*length, by=' of ') or 'some iterations',
        problems=_problems(task),
        numbers=_numbers(task),
        pictures=_pictures(task.panel, task.name, most_bytes) if task.panel else None,
        charts=_charts(task),
    )


def _pictures(panel: Panel, name: str, most_bytes: int) -> Dict[str, Any]:
    """A row an image: the image, the truth, each start's prediction; the classes with their colours."""
    classes, detection = panel.notes.get('classes'), name == 'detection'
    classes = enumerate(classes if isinstance(classes, list) else [])
    room = Room(len(panel.tiles), 0, 224, most_bytes // (len(panel.tiles) * len(panel.columns)))
    return dict(
        score=number(panel.notes.get('score')) if detection else None,
        # boxes bear the number of their class
        legend=[(_colour(place), f'{place} {title}' if detection else title) for place, title in classes],
        sheets=sheets(panel, panel.columns, range(len(panel.tiles)), room, named=False),
    )


def _colour(place: int) -> str:
    return '#{:02x}{:02x}{:02x}'.format(*color_of(place))


def _decoder(task: Task, run: RunData) -> str:
    head = mapping(run.config.get('model')).get('decode_head')
    name = str(head.get('type') if isinstance(head, dict) else run.record.get('method') or task.name)
    return DECODERS.get(name, name)


def _problems(task: Task) -> List[str]:
    """What makes the two starts no fair comparison."""
    states = {STARTS[start]: summary.state(run) for start, run in task.starts.items()}
    problems = [f'{where}: {state}' for where, state in states.items() if state]
    problems += [f'there is no run {where}' for start, where in STARTS.items() if start not in task.starts]
    first, *others = (run.record for run in task.starts.values())
    different = [key for key in SAME if any(record.get(key) != first.get(key) for record in others)]
    return problems + ([f'the two runs differ in {", ".join(different)}'] if different else [])


def _numbers(task: Task) -> Optional[Table]:
    rows = []
    for name in task.metrics:
        metric, ends = run_metrics.describe(name), task.ends(name)
        rows.append([metric.title, *(metric.write(value) or '–' for value in ends), Cell(metric.change(*ends))])
    head = ['', *STARTS.values(), 'difference']
    return Table(f'{task.title}: what was measured', head, rows, 'numbers') if rows else None


def _charts(task: Task) -> List[Markup]:
    drawn = [Drawn(STARTS[start], SLOTS[start], run) for start, run in task.starts.items()]
    charts = [chart(name, run_metrics.describe(name).title, drawn) for name in task.headlines]
    charts.append(chart('loss', 'Training loss', drawn, note='running mean; faint: each iteration'))
    return [drawing for drawing in charts if drawing]
