"""The report's tables: probes, settings, throughput, hardware, files."""

import os
from typing import Any, Dict, List, Optional, Sequence, Tuple

from . import run_metrics
from .markup import Markup, el, table
from .run_curve import number
from .run_data import RunData, text

MOST_DIFFERENCES = 60
# what differs between any two runs and says nothing
UNINTERESTING = ('work_dir', 'source', 'experiment_name', 'resume', 'launcher')


def probe_table(run: RunData) -> Optional[Markup]:
    """A row a checkpoint, a column a metric, and the change from the first to the last."""
    names = run_metrics.metric_names([run])
    if not names:
        return None
    metrics = [run_metrics.describe(name) for name in names]
    several = len({row.config for row in run.evaluations}) > 1
    rows: List[list] = []
    for row in run_metrics.rows_of(run):
        where = f' ({os.path.basename(row.config)})' if several and row.config else ''
        rows.append(
            [
                row.label + where,
                '' if row.iter is None else f'{row.iter:,}',
                *(
                    metric.write(row.metrics[name]) if name in row.metrics else ''
                    for name, metric in zip(names, metrics)
                ),
            ]
        )
    ends = [run_metrics.first_and_last(run, name) for name in names]
    if any(None not in pair for pair in ends):
        rows.append(
            [
                el('strong', 'change'),
                '',
                *(
                    el('strong', metric.change(*pair)) if None not in pair else ''
                    for metric, pair in zip(metrics, ends)
                ),
            ]
        )
    return table(
        ['checkpoint', 'iteration', *(metric.title for metric in metrics)],
        rows,
        f'Measurements of {run.name}',
        'numbers',
    )


def comparison_table(runs: Sequence[RunData]) -> Optional[Markup]:
    """A row a metric, a column a run: from the random initialisation to the last checkpoint.

    The best accuracy is bold; losses of different masks or targets do not compare.
    """
    rows = []
    for name in run_metrics.metric_names(list(runs)):
        metric = run_metrics.describe(name)
        ends = [run_metrics.first_and_last(run, name) for run in runs]
        last = [value for _, value in ends if value is not None]
        best = max(last) if metric.percent and len(last) > 1 else None
        rows.append([metric.title, *(_cell(metric, first, value, best) for first, value in ends)])
    return table(['', *(run.name for run in runs)], rows, 'Measurements of all runs', 'numbers') if rows else None


def _cell(metric: run_metrics.Metric, first: Optional[float], last: Optional[float], best: Optional[float]) -> Any:
    if last is None:
        return '' if first is None else f'{metric.write(first)} (untrained)'
    value = el('strong' if last == best else 'span', metric.write(last))
    return value if first is None else [f'{metric.write(first)} → ', value, f' ({metric.change(first, last)})']


def settings(run: RunData) -> Dict[str, str]:
    """The settings that matter most, by what they are called."""
    config, record = run.config, run.record
    model = config.get('model') if isinstance(config.get('model'), dict) else {}
    found = {'method': text(record.get('method')) or text(model.get('type')), 'config': text(record.get('source'))}
    for part, value in model.items():
        if part not in ('type', 'data_preprocessor'):
            found[part.replace('_', ' ')] = _in_words(value)
    found['trained parameters'] = _parameters(record.get('parameters'))
    found['training images'] = _count(record.get('images'))
    found['batch'] = _batch(run)
    epochs, warmup = number(record.get('max_epochs')) or number(config.get('max_epochs')), config.get('warmup_epochs')
    iterations, steps = _count(record.get('max_iters')), config.get('warmup_iters')
    found['schedule'] = ', '.join(
        part
        for part in (
            f'{epochs:g} epochs' if epochs and not run.by_iters else '',
            f'{warmup} of them warm-up' if number(warmup) else '',
            f'{iterations} iterations' if iterations else '',
            f'{steps} of them warm-up' if number(steps) else '',
        )
        if part
    )
    wrapper = config.get('optim_wrapper')
    optimizer = wrapper.get('optimizer') if isinstance(wrapper, dict) else None
    found['optimizer'] = _in_words(optimizer) if optimizer else ''
    batch = config.get('lr_base_batch', 256)
    found['base learning rate'] = (
        f'{config["base_lr"]:g}' + (f' for {batch} images' if batch else '') if number(config.get('base_lr')) else ''
    )
    found['precision'] = text(record.get('dtype'))
    found['seed'] = '' if record.get('seed') is None else str(record['seed'])
    return {name: value for name, value in found.items() if value}


def throughput(run: RunData) -> Dict[str, str]:
    """How fast it ran, on what, with which versions."""
    about = run.record.get('hardware') if isinstance(run.record.get('hardware'), dict) else {}
    speed, shares = run_metrics.images_per_second(run), [s for s in run.sessions if number(s.get('data_share'))]
    share = sum(s['data_share'] * s['seconds'] for s in shares) / (sum(s['seconds'] for s in shares) or 1)
    memory, gpus = number(about.get('memory_gib')), number(about.get('gpus'))
    versions = run.record.get('versions') if isinstance(run.record.get('versions'), dict) else {}
    found = {
        'training time': run_metrics.duration(run_metrics.seconds(run)) if run.sessions else '',
        'throughput': f'{speed:,.1f} images/s' if speed else '',
        'waiting for data': f'{share:.1%} of the time' if shares else '',
        'sessions': '; '.join(
            f'{text(s.get("started"))[:16].replace("T", " ") or "?"}, iterations {s["from_iter"]:,} to {s["to_iter"]:,}'
            for s in run.sessions[-8:]
        ),
        'processes': _count(run.record.get('processes')),
        'CPU': ', '.join(
            part
            for part in (
                text(about.get('cpu')),
                f'{_count(about.get("cores"))} cores' if number(about.get('cores')) else '',
                f'{memory:g} GiB' if memory else '',
            )
            if part
        ),
        'GPU': f'{gpus:g} × {text(about.get("gpu"))}'
        if gpus and text(about.get('gpu'))
        else 'none'
        if about and not about.get('gpu')
        else '',
        'versions': ', '.join(f'{name} {version}' for name, version in versions.items() if text(version)),
    }
    return {name: value for name, value in found.items() if value}


def side_by_side(
    runs: Sequence[RunData], columns: Sequence[Dict[str, str]], caption: str, mark: bool = False
) -> Optional[Markup]:
    """A row a name, a column a run; ``mark`` points out the rows in which runs differ."""
    names = list({name: None for column in columns for name in column})
    if not names:
        return None
    rows = []
    for name in names:
        values = [column.get(name, '–') for column in columns]
        rows.append([el('mark', name) if mark and len(set(values)) > 1 else name, *values])
    several = len(runs) > 1
    return table(['', *(run.name for run in runs)] if several else [], rows, caption, 'runs' if several else None)


def differences(runs: Sequence[RunData]) -> List[Tuple[str, List[str]]]:
    """Config entries in which the runs differ, as ``(dotted name, one value a run)``."""
    flat = [_flatten(run.config) for run in runs]
    names = sorted({name for config in flat for name in config})
    found = [
        (name, [config.get(name, '–') for config in flat])
        for name in names
        # the dumped config repeats pipelines inside the data sets
        if name.split('.')[0] not in UNINTERESTING and not name.split('.')[0].endswith('_pipeline')
    ]
    return [(name, values) for name, values in found if len(set(values)) > 1]


def _flatten(value: Any, name: str = '') -> Dict[str, str]:
    nested = isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value)
    if not (isinstance(value, dict) or nested):
        return {name: repr(value)}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    flat: Dict[str, str] = {}
    for key, item in items:
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
    return ': '.join(part for part in (text(value.get('type')), rest) if part)


def _parameters(parts: Any) -> str:
    if not isinstance(parts, dict):
        return ''
    return ', '.join(f'{part} {count / 1e6:.2f} M' for part, count in parts.items() if number(count))


def _batch(run: RunData) -> str:
    sizes = [number(run.record.get(key)) for key in ('batch', 'accumulation', 'processes')]
    if not sizes[0]:
        return ''
    factors = [f'{size:g}{unit}' for size, unit in zip(sizes, ('', ' accumulated', ' processes')) if size]
    total = sizes[0] * (sizes[1] or 1) * (sizes[2] or 1)
    return f'{total:g}' + (f' ({" × ".join(factors)})' if total != sizes[0] else '')


def _count(value: Any) -> str:
    value = number(value)
    return '' if value is None else f'{int(value):,}'
