"""The summary of a run in words: what came of it, how far it is, in which time, on what."""

from typing import Any, Dict, List, Optional

from .run_curve import is_loss, number
from .run_data import RunData, mapping, text
from .run_metrics import describe, first_and_last, metric_names


def result(run: RunData) -> str:
    """What came of a run, in a sentence."""
    found = []
    for name in metric_names([run]):
        first, last = first_and_last(run, name)
        metric = describe(name)
        if last is not None:
            ends = joined(metric.write(first), metric.write(last), by=' → ')
            found.append(f'{metric.title} ' + ends.replace('% →', ' →'))
    effort = [f'in {duration(seconds(run))}' if seconds(run) else '', f'on {hardware(run)}' if hardware(run) else '']
    speed = images_per_second(run)
    sentence = joined(
        *(found or _training_loss(run))[:4], joined(*effort, by=' '), f'{speed:,.0f} images/s' if speed else ''
    )
    return f'{capitalised(sentence)}.' if sentence else 'Nothing was measured yet.'


def state(run: RunData) -> str:
    """How far the run is, where it has not ended: ``'not finished: 93 of 235 iterations'``."""
    end = number(run.record.get('max_iters'))
    if run.record.get('finished') is True or not run.record:
        return ''
    return f'not finished: {run.iters:,}' + (f' of {int(end):,}' if end else '') + ' iterations'


def joined(*parts: str, by: str = ', ') -> str:
    """Those that are not empty."""
    return by.join(part for part in parts if part)


def capitalised(words: str) -> str:
    """As a sentence or a title begins; names keep their first letter."""
    return words if words.startswith(('k-NN', 'mIoU')) else words[:1].upper() + words[1:]


def count(value: Any, unit: str = '') -> str:
    """``'1,200 iterations'``; '' for what is no number."""
    value = number(value)
    return '' if value is None else f'{int(value):,}{unit}'


def duration(seconds: float) -> str:
    """``4 min 52 s``, ``3 h 12 min``, ``2 d 4 h``."""
    seconds = round(seconds)
    for unit, smaller, size, part in (('d', 'h', 86400, 3600), ('h', 'min', 3600, 60), ('min', 's', 60, 1)):
        if seconds >= size:
            rest = seconds % size // part
            return f'{seconds // size} {unit}' + (f' {rest} {smaller}' if rest else '')
    return f'{seconds} s'


def seconds(run: RunData) -> float:
    """Of training, all sessions together."""
    return sum(session['seconds'] for session in run.sessions)


def images_per_second(run: RunData) -> Optional[float]:
    """Over all sessions that measured it."""
    return session_mean(run, 'images_per_second')


def session_mean(run: RunData, key: str) -> Optional[float]:
    """What sessions measured, each counted by its length; None where none did."""
    timed = [(s['seconds'], s[key]) for s in run.sessions if number(s.get(key)) is not None and s['seconds'] > 0]
    return sum(t * value for t, value in timed) / sum(t for t, _ in timed) if timed else None


def hardware(run: RunData) -> str:
    """``2 cores of AMD EPYC`` or ``8 x NVIDIA H200``."""
    about = mapping(run.record.get('hardware'))
    gpu, cores, cpu = text(about.get('gpu')), number(about.get('cores')), text(about.get('cpu')) or 'an unknown CPU'
    if gpu:
        processes = number(run.record.get('processes')) or 1
        return f'{processes:g} × {gpu}' if processes > 1 else gpu
    return f'{cores:g} core{"s" * (cores != 1)} of {cpu}' if cores else ''


def _training_loss(run: RunData) -> List[str]:
    """Means of the first and the last twentieth of the iterations, for each loss."""
    found: Dict[str, str] = {}
    for name, series in run.curve.training.items():
        if is_loss(name):
            part = max(1, len(series.values) // 20)
            ends = series.values[:part].mean(), series.values[-part:].mean()
            found[name] = f'{describe(name).title} {ends[0]:.4g} → {ends[1]:.4g}'
    return [found['loss']] if 'loss' in found else list(found.values())
