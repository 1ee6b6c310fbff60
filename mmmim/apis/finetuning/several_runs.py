"""Runs beside a run: other draws of labels and seeds, other starts."""

import os
import os.path as osp
import re
from dataclasses import replace
from typing import Any, Callable, Dict, List, Optional

import numpy as np

from ...models.networks import is_public
from ..compare import PUBLIC, RANDOM
from ..trained import CLASSIFICATION, CONFIG, MODEL
from .page import MISTAKES
from .request import Request, Results, Stage
from .stages import FROZEN, put
from .start import open_classifier_start

OneRun = Callable[..., Results]
DEFAULT = 'public weights'  # those that are taken where none are named


def mean_over_seeds(request: Request, results: Results, one_run: OneRun) -> None:
    """Run the other seeds, each in a folder ``seed-N``, and note mean and spread of each stage. The model of the folder
    is that of the first seed."""
    others = [one_run(request, osp.join(request.out, f'seed-{draw}'), draw) for draw in range(1, request.seeds)]
    drawn = request.share is not None or request.per_class is not None
    if not drawn:
        note = (
            'Without share or per_class all seeds have the same images and the same start: frozen features have no '
            'spread over them, and that of training is of its order and its crops alone.'
        )
        if note not in results.notes:
            results.notes.append(note)
            print(note, flush=True)
    for stage in results.stages:
        if not drawn and stage.name == FROZEN:
            continue
        found = [twin for run in [results, *others] for twin in run.stages if twin.name == stage.name]
        values = [twin.report for twin in found if twin.report is not None]
        if len(values) == request.seeds:
            stage.measures[f'mean of {len(values)} seeds'] = float(np.mean(values))
            stage.measures[f'standard deviation of {len(values)} seeds'] = float(np.std(values, ddof=1))
    kept = [next((stage for stage in run.stages if stage.kept), None) for run in [results, *others]]
    reported = [stage.report for stage in kept if stage is not None and stage.report is not None]
    if reported and (drawn or len(results.stages) > 1):
        note = (
            f'Over {len(reported)} seeds the kept models reach {np.mean(reported):.1f}% on average, from '
            f'{min(reported):.1f} to {max(reported):.1f}; the model of the folder is that of the first.'
        )
        if note not in results.notes:
            results.notes.append(note)
            print(note, flush=True)
    results.write(request.out)


def named_start(request: Request, results: Optional[Results]) -> Optional[str]:
    """What a run starts from: where no model was named, a run that has begun goes on with what it began with, also if
    others can be had now."""
    if request.model is None and results is not None and results.stages:
        return results.start.get('name')
    return request.model


def check_others(request: Request, results: Optional[Results]) -> None:
    """Open all starts of a comparison before any work.

    Raises:
        ValueError: One is not known, or cannot be had: the message names it.
    """
    own, _ = open_classifier_start(named_start(request, results), request.image_size, request.like)
    for name in _others(request, Results(CLASSIFICATION, own.facts())):
        try:
            model = None if name == DEFAULT else name
            open_classifier_start(model, request.image_size, own.name if name == RANDOM else None)
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            raise ValueError(f'compare names {name!r}, which cannot be opened: {error}') from error


def compare_starts(request: Request, results: Results, one_run: OneRun) -> None:
    """Run the other starts, each in a folder below ``compare/``, into ``results.table``. The first row is public
    weights, frozen. The best model on the selection images is the model of the folder."""
    rows = [_row(results, request)]
    public = []
    for name in _others(request, results):
        folder = osp.join(request.out, 'compare', _slug(name))
        frozen_only = request.quick or name == DEFAULT or (is_public(name) and not public and not _is_public(results))
        like = results.start['name'] if name == RANDOM else None
        asked = replace(
            request, model=None if name == DEFAULT else name, quick=frozen_only, compare=None, like=like, seeds=1
        )
        print(f'--- {name}', flush=True)
        run = one_run(asked, folder)
        if request.seeds > 1:
            mean_over_seeds(replace(asked, out=folder, seeds=request.seeds), run, one_run)
        row = dict(_row(run, asked), folder=osp.relpath(folder, request.out))
        (public if _is_public(run) and not public and not _is_public(results) else rows).append(row)
    results.table = [*public, *rows]
    chosen = max(results.table, key=lambda row: -1.0 if row['selection'] is None else row['selection'])
    for row in results.table:
        row['kept'] = row is chosen
    ending = ': the best on the images that choose.'
    results.notes = [note for note in results.notes if not note.endswith(ending)]  # an earlier comparison's
    if chosen['folder'] != '.':
        for file in (MISTAKES, CONFIG, MODEL):
            put(osp.join(request.out, chosen['folder'], file), osp.join(request.out, file), link=file != CONFIG)
        results.notes.append(f'The model of the folder is that of {chosen["name"]}{ending}')
        found = Results.read(osp.join(request.out, chosen['folder']))
        chosen.update(own_per_class=results.per_class)  # what this start goes on with
        results.per_class = found.per_class if found is not None else results.per_class
    results.write(request.out)


def own_classes(results: Results) -> None:
    """Undo what a comparison that another start has won wrote into ``per_class``."""
    for row in results.table:
        results.per_class = row.pop('own_per_class', results.per_class)


def _others(request: Request, results: Results) -> List[str]:
    """Names of the other starts; public weights first, also where none are named."""
    given = request.compare
    names = given.split(',') if isinstance(given, str) else [os.fspath(name) for name in given or ()]
    names = [name.strip() for name in names if name.strip()]
    names = [name for name in dict.fromkeys(names) if name not in (request.model, results.start.get('name'))]
    public = [name for name in names if is_public(name)]
    rest = [name for name in names if not is_public(name)]
    return [*(public or ([] if _is_public(results) else [DEFAULT])), *rest]


def _is_public(results: Results) -> bool:
    return results.start.get('kind') == 'public'


def _row(results: Results, request: Request) -> Dict[str, Any]:
    """A start in the table: its frozen features, and the model that was kept."""
    frozen = next((stage for stage in results.stages if stage.name == FROZEN), Stage(FROZEN, ''))
    kept = next((stage for stage in results.stages if stage.kept), frozen)
    row: Dict[str, Any] = dict(results.start, folder='.', metric=frozen.metric, stage=kept.name)
    row.update(frozen=frozen.report, frozen_interval=frozen.interval)
    row.update(selection=kept.selection, report=kept.report, interval=kept.interval)
    spread = f'of {request.seeds} seeds'
    for key, stage in dict(frozen=frozen, report=kept).items():
        row.update({f'{key}: {name}': value for name, value in stage.measures.items() if name.endswith(spread)})
    return row


def table_lines(table: List[Dict[str, Any]]) -> List[str]:
    """The table as text."""
    if not table:
        return []
    head = ['', 'frozen + regression', '95% interval', 'kept', table[0]['metric'], '95% interval']
    rows = [head]
    for row in table:
        name = f'{"* " if row.get("kept") else "  "}{row["name"]}'
        rows.append(
            [name, _percent(row['frozen']), _interval(row['frozen_interval']), str(row['stage']),
             _percent(row['report']), _interval(row['interval'])]
        )  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ['  '.join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip() for cells in rows]


def _percent(value: Any) -> str:
    return '-' if value is None else f'{value:.1f}'


def _interval(value: Any) -> str:
    return '' if value is None else f'{value[0]:.1f} to {value[1]:.1f}'


def _slug(name: str) -> str:
    """A name of a folder."""
    if name == DEFAULT:
        return f'public-{re.sub(r"[^A-Za-z0-9.]+", "-", PUBLIC).strip("-")}'
    return re.sub(r'[^A-Za-z0-9.]+', '-', osp.relpath(name) if osp.exists(name) else name).strip('-.') or 'start'
