"""A run beside other networks (``comparison.json``), its labels, its start and which weights it kept."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Union

from ..models.networks import non_commercial
from .run_curve import number
from .run_data import RunData, mapping, text
from .summary import capitalised, duration, joined
from .tables import Cell, Table

KINDS = {'public': 'public', 'random': 'random weights', 'own': 'pre-trained here', 'file': 'a file'}


class Judged(NamedTuple):
    """What ``comparison.json`` says: a sentence about its images, the table, sentences about differences, notes."""

    counts: str
    table: Table
    differences: Sequence[str]
    notes: Sequence[str]


class Start(NamedTuple):
    """The weights that a run began with, in words."""

    words: str
    warning: str


def judged(run: RunData) -> Optional[Judged]:
    """The networks compared on the labelled images; None where none were."""
    rows = [row for row in map(mapping, _list(run.comparison.get('rows'))) if text(row.get('name'))]
    if not rows:
        return None
    shown = {
        'linear probe': [_interval(row, 'linear') for row in rows],
        '25 labels a class': [_percent(row.get('linear_25')) for row in rows],
        'k-NN': [_interval(row, 'knn') for row in rows],
        'pixels': [_pixels(row) for row in rows],
        'time': [duration(seconds) if (seconds := number(row.get('seconds'))) is not None else '' for row in rows],
    }
    shown = {title: column for title, column in shown.items() if any(column)}
    for title, key in (('linear probe', 'linear'), ('25 labels a class', 'linear_25'), ('k-NN', 'knn')):
        if title in shown:
            shown[title] = _best(shown[title], [number(row.get(key)) for row in rows])
    lines = [[_name(row), _what(row), *(column[i] for column in shown.values())] for i, row in enumerate(rows)]
    table = Table(f'Networks beside {run.name}', ['network, frozen', 'weights, licence', *shown], lines, 'numbers')
    sentences = [text(mapping(item).get('sentence')) for item in _list(run.comparison.get('differences'))]
    notes = [text(note) for note in _list(run.comparison.get('notes'))]
    return Judged(_counts(run), table, [s for s in sentences if s], [note for note in notes if note])


def labels(run: RunData) -> List[str]:
    """What is to be known of the labels, in sentences."""
    note, source = text(run.labels.get('note')), text(run.labels.get('source'))
    parts = {'fit': 'to fit on', 'selection': 'to select by', 'report': 'to report'}
    counts = [f'{len(_list(run.labels.get(key))):,} {what}' for key, what in parts.items() if run.labels.get(key)]
    classes, seen = _list(run.labels.get('classes')), number(run.labels.get('seen'))
    said = joined(f'{len(classes)} classes' if classes else '', *counts)
    return [
        sentence
        for sentence in (
            f'Labels{f" of {source}" if source else ""}: {said}.' if said else '',
            f'{seen:,.0f} of those that select or report are also pre-trained on.' if seen else '',
            f'{capitalised(note.rstrip("."))}.' if note else '',
        )
        if sentence
    ]


def start(run: RunData) -> Optional[Start]:
    """What the run began with, and whether its licence forbids commercial use; None where the record does not say."""
    found = mapping(run.record.get('start'))
    name, licence, note = (text(found.get(key)) for key in ('name', 'licence', 'note'))
    if not name:
        return None
    if text(found.get('kind')) == 'random':
        return Start(joined(f'Start: random weights ({name})', capitalised(note), by='. '), '')
    warning = ''
    if non_commercial(licence):
        warning = (
            f'The licence of {name} ({licence}) forbids commercial use: look whether that holds for what is trained '
            'from these weights, too.'
        )
    return Start(joined(f'Start: {name}, licence {licence or "unknown"}', capitalised(note), by='. '), warning)


def kept(run: RunData) -> str:
    """Which weights were exported, in words."""
    return text(mapping(run.record.get('kept')).get('sentence'))


def candidates(run: RunData) -> Optional[Table]:
    """The weights that were to choose from, on the selection images."""
    found = mapping(run.record.get('kept'))
    rows: List[List[Union[str, Cell]]] = []
    for row in map(mapping, _list(found.get('candidates'))):
        name = text(row.get('name'))
        chosen = Cell(name, after=' (exported)') if name and name == text(found.get('chosen')) else name
        rows.append([chosen, _percent(row.get('knn')), _percent(row.get('linear'))])
    head = ['weights', 'k-NN', 'linear probe']
    return Table(f'Weights to choose from, {run.name}', head, rows, 'numbers') if rows else None


def _list(value: Any) -> list:
    return value if isinstance(value, list) else []


def _percent(value: Any) -> str:
    value = number(value)
    return '' if value is None else f'{value:.1f}%'


def _pixels(row: Dict[str, Any]) -> str:
    """The size of the images that a network saw: of a square its side."""
    sides = [number(side) for side in _list(row.get('image_size'))]
    return '×'.join(dict.fromkeys(f'{side:g}' for side in sides if side is not None)) if len(sides) == 2 else ''


def _interval(row: Dict[str, Any], key: str) -> str:
    """``'53.4% (48.1–58.2)'``."""
    ends = [number(end) for end in _list(row.get(f'{key}_interval'))]
    known = len(ends) == 2 and None not in ends
    return _percent(row.get(key)) + (f' ({ends[0]:.1f}–{ends[1]:.1f})' if known and row.get(key) is not None else '')


def _best(column: Sequence[str], values: Sequence[Optional[float]]) -> List[Union[str, Cell]]:
    """The highest value of several stands out."""
    known = [value for value in values if value is not None]
    best = max(known) if len(known) > 1 else None
    return [
        Cell(shown.partition(' ')[0], after=shown[len(shown.partition(' ')[0]) :]) if value == best and shown else shown
        for shown, value in zip(column, values)
    ]


def _name(row: Dict[str, Any]) -> Union[str, Cell]:
    name = text(row['name'])
    layer = number(row.get('layer'))
    after = f', layer {layer:g}' if layer is not None else ''
    return Cell(name, after=after) if row.get('kind') == 'own' else name + after


def _what(row: Dict[str, Any]) -> str:
    """What the row is, and its licence."""
    kind, licence = text(row.get('kind')), text(row.get('licence'))
    shown = licence if kind not in ('random', 'own') or non_commercial(licence) else ''
    forbids = ' (non-commercial)' if non_commercial(shown) else ''
    return joined(KINDS.get(kind, kind), f'{shown}{forbids}' if shown else '')


def _counts(run: RunData) -> str:
    counts, limit = mapping(run.comparison.get('counts')), number(run.comparison.get('limit'))
    fit, report, classes = (number(counts.get(key)) for key in ('fit', 'report', 'classes'))
    if fit is None or report is None:
        return ''
    fitted = f'{fit:,.0f} images' if limit is None or fit <= limit else f'at most {limit:,.0f} of {fit:,.0f} images'
    of = f' of {classes:g} classes' if classes else ''
    return (
        f'Every network is frozen; k-NN and logistic regression are fitted on {fitted}{of} and measured on '
        f'{report:,.0f} others. In brackets: 95% intervals.'
    )
