"""The page of a fine-tuned model: the result, its stages, its classes, what it takes for another class."""

import os.path as osp
import shlex
from datetime import datetime
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np
from markupsafe import Markup

from ..checkpoint import atomic_write_text
from ..version import __version__
from .pictures import Room
from .summary import duration
from .tables import Table
from .templates import FOLDER, render

MOST_CLASSES = 200
ROOM = Room(rows=0, strip_rows=0, side=160, tile_bytes=12_000)
FROZEN = 'frozen'
HEADING = 'Some of the images that the kept model takes for another class, the surest first'
WRONG_STYLE = (
    '.wrong{display:flex;flex-wrap:wrap;gap:1rem}.wrong figure{margin:0;max-width:10rem}'
    '.wrong img{max-width:100%;height:auto}.wrong figcaption{font-size:.85rem;overflow-wrap:anywhere}'
)


class Wrong(NamedTuple):
    """A picture, ``pixels [H, W, 3]`` uint8, such as an image taken for another class, and what is said of it."""

    pixels: np.ndarray
    text: str


def write_finetuned(
    folder: str, results: Mapping[str, Any], wrong: Sequence[Wrong] = (), heading: str = HEADING
) -> str:
    """Write ``report.html`` of a fine-tuned model; returns its path.

    Args:
        folder: Of the results.
        results: Content of ``finetune.json``.
        wrong: Pictures to show.
        heading: Above them.
    """
    stages = results['stages']
    kept = next((stage for stage in stages if stage['kept']), None)
    row = next((row for row in results['table'] if row.get('kept')), None)
    style = (FOLDER / 'report.css').read_text(encoding='utf-8') + WRONG_STYLE
    page = render(
        'finetuned.html.j2',
        title=f'{results["task"].capitalize()} from {results["start"].get("name", "")}: {osp.basename(folder)}',
        style=Markup(style),
        made=f'{datetime.now().astimezone():%Y-%m-%d %H:%M %Z} by mmmim {__version__}',
        result=_result(row if row and row.get('folder', '.') != '.' else kept or row or {}, results),
        stages=_stages(stages),
        stage_notes=[f'{stage["name"]}: {stage["note"]}.' for stage in stages if stage['note']],
        starts=_starts(results['table']),
        classes=_classes(results['per_class']),
        heading=heading,
        wrong=[ROOM.picture(one.pixels, one.text) for one in wrong],
        notes=[*results['notes'], 'Intervals are 95%, by a bootstrap over the images that are reported.'],
        commands=_commands(folder),
    )
    path = osp.join(folder, 'report.html')
    atomic_write_text(path, page)
    return path


def _result(kept: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """The first sentence."""
    value, interval = kept.get('report'), kept.get('interval')
    name = kept.get('name', '')
    if value is None:
        return f'Kept: {name}; there are no images to report by.' if name else 'Nothing was kept yet.'
    shown = f' (95% interval {interval[0]:.1f} to {interval[1]:.1f})' if interval else ''
    count = results['counts'].get('report') or results['counts'].get('fit', 0)
    return f'{value:.1f}% {kept["metric"]}{shown} on {count:,} images. Kept: {name}.'


def _stages(stages: Sequence[Mapping[str, Any]]) -> Optional[Table]:
    if not stages:
        return None
    others = list(dict.fromkeys(key for stage in stages for key in stage['measures']))
    metric = stages[0]['metric']
    head = ['', 'kept', f'{metric}, choosing', f'{metric}, reported', '95% interval', *others, 'time']
    rows = []
    for stage in stages:
        name = 'frozen features + logistic regression' if stage['name'] == FROZEN else stage['name']
        values = [_percent(stage['measures'].get(key)) for key in others]
        rows.append(
            [name, 'yes' if stage['kept'] else '', _percent(stage['selection']), _percent(stage['report']),
             _interval(stage['interval']), *values, duration(stage['seconds'])]
        )  # fmt: skip
    return Table('Stages', head, rows)


def _starts(table: Sequence[Mapping[str, Any]]) -> Optional[Table]:
    if not table:
        return None
    head = ['', 'kept', 'frozen', '95% interval', 'best stage', table[0].get('metric', ''), '95% interval', 'licence']
    rows = [
        [str(row.get('name')), 'yes' if row.get('kept') else '', _percent(row.get('frozen')),
         _interval(row.get('frozen_interval')), str(row.get('stage', '')), _percent(row.get('report')),
         _interval(row.get('interval')), str(row.get('licence', ''))]
        for row in table
    ]  # fmt: skip
    return Table('Starts', head, rows)


def _classes(per_class: Sequence[Mapping[str, Any]]) -> Optional[Table]:
    if not per_class:
        return None
    keys = [key for key in per_class[0] if key not in ('name', 'images', 'report')]
    rows = [
        [str(row['name']), f'{row["images"]:,}', _count(row.get('report')), *(_percent(row.get(key)) for key in keys)]
        for row in per_class[:MOST_CLASSES]
    ]
    return Table('Classes', ['', 'images to fit on', 'reported', *keys], rows)


def _percent(value: Any) -> str:
    return f'{value:.1f}' if isinstance(value, (int, float)) else ''


def _count(value: Any) -> str:
    return f'{value:,}' if isinstance(value, int) else ''


def _interval(value: Any) -> str:
    return f'{value[0]:.1f} to {value[1]:.1f}' if value else ''


def _commands(folder: str) -> List[str]:
    out = shlex.quote(osp.abspath(folder))
    return [
        f'mmmim predict --model {out} --data NEW_PHOTOS --out predictions',
        f'mmmim export --model {out} --out model.onnx',
    ]
