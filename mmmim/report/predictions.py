"""The page of predictions: pictures of the least sure ones, one file that needs nothing else."""

import base64
import hashlib
import os.path as osp
from datetime import datetime
from typing import Any, Dict, List, Sequence, Tuple

from markupsafe import Markup

from ..checkpoint import atomic_write_text
from ..version import __version__
from .templates import FOLDER, render

# shows the cards of a class, or those that are wrong
_SCRIPT = """
const kind = document.getElementById('kind'), wrong = document.getElementById('wrong');
const cards = document.querySelectorAll('.card'), count = document.getElementById('count');
function show() {
  let shown = 0;
  for (const card of cards) {
    const fits = !kind.value || card.dataset.labels.split(' ').includes(kind.value);
    card.hidden = !fits || (wrong && wrong.checked && !('wrong' in card.dataset));
    shown += !card.hidden;
  }
  count.textContent = shown + ' of ' + cards.length + ' pictures';
}
kind.addEventListener('change', show);
if (wrong) wrong.addEventListener('change', show);
show();
"""


def write_predictions(
    path: str,
    *,
    cards: Sequence[Dict[str, Any]],
    classes: Sequence[Dict[str, Any]],
    legend: Sequence[Tuple[str, str]],
    total: int,
    result: Dict[str, Any],
    model: str,
) -> None:
    """Write the page.

    Args:
        path: Of the file.
        cards: The pictures, the least sure first: ``source`` (a data URL), ``width``, ``height``, ``name``, ``labels``,
            ``said``, ``confidence``, ``truth``, ``wrong``.
        classes: ``label``, ``name`` and ``images`` of each class that was predicted.
        legend: Colours of the classes of masks.
        total: Images that were predicted.
        result: What :class:`~mmmim.apis.predict.Predictions` has.
        model: The checkpoint.

    Raises:
        CheckpointWriteError: The file cannot be written.
    """
    measured = result['measures']
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    page = render(
        'predictions.html.j2',
        title=f'Predictions of {osp.basename(osp.dirname(osp.abspath(model)))}',
        style=Markup((FOLDER / 'report.css').read_text(encoding='utf-8')),
        script=Markup(_SCRIPT),
        digest=digest,
        made=f'{datetime.now().astimezone():%Y-%m-%d %H:%M %Z} by mmmim {__version__}',
        model=model,
        out=result['out'],
        cards=cards,
        classes=classes,
        legend=legend,
        total=total,
        notes=[*result['notes'], *(measured.notes if measured is not None else [])],
        rows=result['rows'],
        numbers=_numbers(measured),
        measured=measured,
        per_class=_per_class(measured),
        has_truth=any(card['truth'] for card in cards),
    )
    atomic_write_text(path, page)


def _numbers(measured: Any) -> str:
    """The measures in a sentence."""
    if measured is None:
        return ''
    words = [f'{name} {value:.1f}%' for name, value in measured.values.items()]
    if measured.interval is not None:
        words[0] += f' (95% interval {measured.interval[0]:.1f} to {measured.interval[1]:.1f})'
    text = f'{", ".join(words)}, of {measured.images:,} images'
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]  # not MIoU


def _per_class(measured: Any) -> Dict[str, List]:
    """Head and rows of a table."""
    if measured is None or not measured.per_class:
        return dict(head=[], rows=[])
    head = [key for key in measured.per_class[0] if key != 'name']
    rows = [[row['name'], *(_cell(row[key]) for key in head)] for row in measured.per_class]
    return dict(head=['class', *head], rows=rows)


def _cell(value: Any) -> str:
    return '' if value is None else f'{value:.1f}%' if isinstance(value, float) else f'{value:,}'
