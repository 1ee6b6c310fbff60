"""The report's tables: measurements, settings, throughput, hardware, files."""

import os
import os.path as osp
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from . import run_metrics, summary
from .run_curve import evenly, number
from .run_data import RunData, mapping, text
from .summary import count, joined

MOST_ROWS, MOST_DIFFERENCES, MOST_BAD_IMAGES = 12, 60, 100
# what differs between any two runs and says nothing
UNINTERESTING = ('work_dir', 'source', 'experiment_name', 'resume', 'launcher')
FILES = {
    'encoder.safetensors': "the encoder alone, under timm's names",
    'curve.jsonl': 'a line an iteration',
    'run.json': 'command, sizes, hardware, speed, health',
    'labels.json': 'the labelled images and their split',
    'comparison.json': 'the run beside other networks',
    'last_checkpoint': 'the newest checkpoint',
    'bad_images.txt': 'images that could not be read',
    'non_finite.json': 'where the loss was not finite',
}


class Cell(NamedTuple):
    """A cell that stands out: the HTML element around its text, and what is before and after that."""

    text: str
    tag: str = 'strong'
    before: str = ''
    after: str = ''


class Table(NamedTuple):
    """Rows that begin with their name; without a head where ``head`` is empty.

    ``kind`` is ``'numbers'`` (aligned to the right) or ``'runs'`` (a column a run).
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Union[str, Cell]]]
    kind: str = ''


def probe_table(run: RunData) -> Optional[Table]:
    """A row a checkpoint, a column a metric, and the change from the first to the last; long lists are thinned."""
    metrics = {name: run_metrics.describe(name) for name in run_metrics.metric_names([run])}
    if not metrics:
        return None
    several = len({row.config for row in run.evaluations}) > 1
    rows: List[list] = []
    for row in [run.evaluations[place] for place in evenly(len(run.evaluations), MOST_ROWS)]:
        where = f' ({osp.basename(row.config)})' if several and row.config else ''
        values = [metric.write(row.metrics.get(name)) for name, metric in metrics.items()]
        rows.append([row.label + where, count(row.iter), *values])
    changes = [metric.change(*run_metrics.first_and_last(run, name)) for name, metric in metrics.items()]
    if any(changes):
        rows.append([Cell('change'), '', *map(Cell, changes)])
    head = ['checkpoint', 'iteration', *(metric.title for metric in metrics.values())]
    return Table(f'Measurements of {run.name}', head, rows, 'numbers')


def comparison_table(runs: Sequence[RunData]) -> Optional[Table]:
    """A row a metric, a column a run: from the random initialisation to the last checkpoint.

    The best accuracy is bold; losses of different masks or targets do not compare.
    """
    rows = []
    for name in run_metrics.metric_names(list(runs)):
        metric = run_metrics.describe(name)
        ends = [run_metrics.first_and_last(run, name) for run in runs]
        last = [value for _, value in ends if value is not None]
        best = max(last) if metric.percent and len(last) > 1 else None
        rows.append([metric.title, *(_comparison(metric, first, value, best) for first, value in ends)])
    return Table('Measurements of all runs', ['', *(run.name for run in runs)], rows, 'numbers') if rows else None


def _comparison(
    metric: run_metrics.Metric, first: Optional[float], last: Optional[float], best: Optional[float]
) -> Union[str, Cell]:
    if last is None:
        return '' if first is None else f'{metric.write(first)} (untrained)'
    tag = 'strong' if last == best else 'span'
    before, after = ('', '') if first is None else (f'{metric.write(first)} → ', f' ({metric.change(first, last)})')
    return Cell(metric.write(last), tag, before, after)


def settings(run: RunData) -> Dict[str, str]:
    """The settings that matter most, by what they are called."""
    config, record = run.config, run.record
    model, optimizer = mapping(config.get('model')), mapping(config.get('optim_wrapper')).get('optimizer')
    epochs, warmup = number(record.get('max_epochs')) or number(config.get('max_epochs')), config.get('warmup_epochs')
    iterations, steps = count(record.get('max_iters'), ' iterations'), config.get('warmup_iters')
    base_lr, batch = number(config.get('base_lr')), config.get('lr_base_batch', 256)
    parameters = mapping(record.get('parameters')).items()
    found = {
        'method': text(record.get('method')) or text(model.get('type')),
        'config': text(record.get('source')),
        **{
            part.replace('_', ' '): _in_words(value)
            for part, value in model.items()
            if part not in ('type', 'data_preprocessor')
        },
        'trained parameters': joined(*(f'{part} {size / 1e6:.2f} M' for part, size in parameters if number(size))),
        'training images': count(record.get('images')),
        'batch': _batch(run),
        'schedule': joined(
            f'{epochs:g} epochs' if epochs and not run.by_iters else '',
            f'{warmup} of them warm-up' if number(warmup) else '',
            iterations,
            f'{steps} of them warm-up' if number(steps) else '',
        ),
        'optimizer': _in_words(optimizer) if optimizer else '',
        'base learning rate': f'{base_lr:g}' + (f' for {batch} images' if batch else '') if base_lr else '',
        'precision': text(record.get('dtype')),
        'seed': '' if record.get('seed') is None else str(record['seed']),
    }
    return {name: value for name, value in found.items() if value}


def throughput(run: RunData) -> Dict[str, str]:
    """How fast it ran, on what, with which versions."""
    about, versions = mapping(run.record.get('hardware')), mapping(run.record.get('versions'))
    speed, share = summary.images_per_second(run), summary.session_mean(run, 'data_share')
    memory, gpus, gpu = number(about.get('memory_gib')), number(about.get('gpus')), text(about.get('gpu'))
    sessions = [
        f'{text(s.get("started"))[:16].replace("T", " ") or "?"}, iterations {s["from_iter"]:,} to {s["to_iter"]:,}'
        for s in run.sessions[-8:]
    ]
    found = {
        'training time': summary.duration(summary.seconds(run)) if run.sessions else '',
        'throughput': f'{speed:,.1f} images/s' if speed else '',
        'waiting for data': f'{share:.1%} of the time' if share else '',
        'sessions': '; '.join(sessions),
        'processes': count(run.record.get('processes')),
        'CPU': joined(text(about.get('cpu')), count(about.get('cores'), ' cores'), f'{memory:g} GiB' if memory else ''),
        'GPU': 'none' if about and not about.get('gpu') else f'{gpus:g} × {gpu}' if gpus and gpu else '',
        'versions': joined(*(f'{name} {version}' for name, version in versions.items() if text(version))),
    }
    return {name: value for name, value in found.items() if value}


def side_by_side(
    runs: Sequence[RunData], columns: Sequence[Dict[str, str]], caption: str, mark: bool = False
) -> Optional[Table]:
    """A row a name, a column a run; ``mark`` points out the rows in which runs differ."""
    rows = []
    for name in {name: None for column in columns for name in column}:
        values = [column.get(name, '–') for column in columns]
        rows.append([Cell(name, 'mark') if mark and len(set(values)) > 1 else name, *values])
    if len(runs) == 1:
        return Table(caption, [], rows) if rows else None
    return Table(caption, ['', *(run.name for run in runs)], rows, 'runs') if rows else None


def difference_table(runs: Sequence[RunData]) -> Tuple[Optional[Table], int]:
    """Config entries in which the runs differ, and how many more there are."""
    found = differences(runs)
    rows = [[Cell(name, 'code'), *values] for name, values in found[:MOST_DIFFERENCES]]
    head = ['', *(run.name for run in runs)]
    return Table('What differs in the configs', head, rows, 'runs') if rows else None, len(found) - len(rows)


def differences(runs: Sequence[RunData]) -> List[Tuple[str, List[str]]]:
    """Config entries in which the runs differ, as ``(dotted name, one value a run)``."""
    flat = [_flatten(run.config) for run in runs]
    found = []
    for name in sorted({name for config in flat for name in config}):
        values, key = [config.get(name, '–') for config in flat], name.split('.')[0]
        # the dumped config repeats pipelines inside the data sets
        if len(set(values)) > 1 and key not in UNINTERESTING and not key.endswith('_pipeline'):
            found.append((name, values))
    return found


def files_table(run: RunData) -> Optional[Table]:
    """What lies in the work dir, with sizes."""
    rows = []
    for name in sorted(os.listdir(run.path)):
        if run.file(name) and name != 'report.html' and not name.startswith('.'):
            other = 'the config as it ran' if name == run.config_name else ''
            what = FILES.get(name, 'a checkpoint' if name.endswith('.pth') else other)
            rows.append([name, what, _size(osp.join(run.path, name))])
    return Table(f'Files of {run.name}', ['file', 'what it is', 'size'], rows) if rows else None


def bad_images_table(run: RunData) -> Optional[Table]:
    """The first of the images that could not be read."""
    bad = run.bad_images[:MOST_BAD_IMAGES]
    return Table(f'Unreadable images of {run.name}', ['file', 'reason'], bad) if bad else None


def _size(path: str) -> str:
    size = float(osp.getsize(path))
    for unit in ('B', 'kB', 'MB'):
        if size < 1000:
            return f'{size:.3g} {unit}'
        size /= 1000
    return f'{size:.3g} GB'


def _flatten(value: Any, name: str = '') -> Dict[str, str]:
    nested = isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value)
    if not (isinstance(value, dict) or nested):
        return {name: repr(value)}
    flat: Dict[str, str] = {}
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        flat.update(_flatten(item, f'{name}.{key}' if name else str(key)))
    return flat


def _in_words(value: Any) -> str:
    """``MAEDecoder: embed_dim 128, depth 2``."""
    if not isinstance(value, dict):
        return ', '.join(map(_in_words, value)) if isinstance(value, (list, tuple)) else str(value)
    rest = ', '.join(
        f'{key} ({_in_words(item)})' if isinstance(item, dict) else f'{key} {_in_words(item)}'
        for key, item in value.items()
        if key not in ('type', 'init_cfg')
    )
    return joined(text(value.get('type')), rest, by=': ')


def _batch(run: RunData) -> str:
    passes = 'passes' if 'passes' in run.record else 'accumulation'  # as earlier versions wrote it
    batch, *factors = (number(run.record.get(key)) for key in ('batch', passes, 'processes'))
    if not batch:
        return ''
    total = batch * (factors[0] or 1) * (factors[1] or 1)
    said = [f'{factor:g} {unit}' for factor, unit in zip(factors, ('accumulated', 'processes')) if factor]
    return f'{total:g}' + (f' ({" × ".join([f"{batch:g}", *said])})' if total != batch else '')
