"""Tolerant reader of a work dir: missing or broken files become notes, nothing raises."""

import json
import os
import os.path as osp
import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..checkpoint.config_text import ConfigTextError, parse_config_text
from .run_curve import Curve, Series, make_series, number, quantity, read_curve

RANDOM = 'random initialisation'
MOST_TEXT = 200_000  # characters of a config or list that are read
ABOUT = ('checkpoint', 'config', 'iter', 'epoch', 'when')  # in a file of evaluations/, beside what was measured
HEALTH = 'health/'  # names of what HealthHook measures begin so
MARKS = ('curve.jsonl', 'run.json', 'evaluations', 'reconstructions')  # any of them makes a folder a work dir


class Evaluation(NamedTuple):
    """One row of the probe table: a checkpoint, where it stands, what was measured."""

    label: str
    iter: Optional[int]
    metrics: Dict[str, float]
    config: str = ''


@dataclass
class RunData:
    """A run as its work dir shows it.

    Attributes:
        path: The work dir as it was given.
        name: Its shortest name among the runs shown.
        curve: Of ``curve.jsonl``.
        record: Of ``run.json``; values may be of any type, see :func:`~mmmim.report.run_curve.number`.
        evaluations: Random initialisation first, then by iteration.
        config: The dumped config as a dict, ``{}`` where there is none.
        config_text: The same as text.
        panels: ``(number in the file name, path)`` of pictures of reconstructions, oldest first.
        bad_images: ``(file, reason)`` of images that could not be read.
        non_finite: Of ``non_finite.json``: where a loss was not finite.
        comparison: Of ``comparison.json``: the run beside other networks.
        labels: Of ``labels.json``: the labelled images.
        notes: What is not shown, and why; one line each.
    """

    path: str
    name: str = ''
    curve: Curve = field(default_factory=Curve)
    record: Dict[str, Any] = field(default_factory=dict)
    evaluations: List[Evaluation] = field(default_factory=list)
    config: Dict[str, Any] = field(default_factory=dict)
    config_text: str = ''
    config_name: str = ''
    panels: List[Tuple[int, str]] = field(default_factory=list)
    bad_images: List[Tuple[str, str]] = field(default_factory=list)
    non_finite: Dict[str, Any] = field(default_factory=dict)
    comparison: Dict[str, Any] = field(default_factory=dict)
    labels: Dict[str, Any] = field(default_factory=dict)
    notes: List[str] = field(default_factory=list)

    @property
    def steps_per_epoch(self) -> Optional[int]:
        steps = number(self.record.get('steps_per_epoch'))
        return int(steps) if steps and steps >= 1 else self.curve.steps_per_epoch

    @property
    def by_iters(self) -> bool:
        """Whether its length is stated in iterations, as segmentors' are."""
        return bool(number(self.config.get('max_iters')))

    @property
    def counts_epochs(self) -> bool:
        """Whether iterations can be told, and should be, as epochs."""
        return bool(self.steps_per_epoch) and not self.by_iters

    @property
    def dense(self) -> bool:
        """Whether it trained a segmentor or a detector."""
        return text(self.config.get('default_scope')) in ('mmseg', 'mmdet')

    @property
    def iters(self) -> int:
        """Iterations done so far."""
        return max([self.curve.last_iter, *(int(s.get('to_iter')) for s in self.sessions)], default=0)

    @property
    def sessions(self) -> List[Dict[str, Any]]:
        """The whole ones of ``run.json``: each with ``from_iter``, ``to_iter`` and ``seconds`` as numbers."""
        sessions, needed = self.record.get('sessions'), ('from_iter', 'to_iter', 'seconds')
        sessions = map(mapping, sessions if isinstance(sessions, list) else [])
        return [s for s in sessions if all(number(s.get(key)) is not None for key in needed)]

    @property
    def measured(self) -> Dict[str, Series]:
        """Measurements while training and by ``tools/test.py`` together, by name."""
        found: Dict[str, Tuple[List[int], List[float]]] = {}
        for row in self.evaluations:
            for name, value in row.metrics.items() if row.iter is not None else ():
                iters, values = found.setdefault(name, ([], []))
                iters.append(row.iter)
                values.append(value)
        return {name: make_series(*series) for name, series in found.items()}

    def file(self, name: str) -> Optional[str]:
        """The path of a file in the work dir, None where there is none."""
        path = osp.join(self.path, name)
        return path if osp.isfile(path) else None


def text(value: Any) -> str:
    """``value`` when it is a text, else ''."""
    return value if isinstance(value, str) else ''


def mapping(value: Any) -> Dict[str, Any]:
    """``value`` when it is a dict, else an empty one."""
    return value if isinstance(value, dict) else {}


def load_runs(paths: Sequence[str]) -> List[RunData]:
    """Read several work dirs and give each a name of its own.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such folder.
        ValueError: A folder that is no work dir.
    """
    unique: Dict[str, str] = {}
    for path in paths:
        unique.setdefault(osp.realpath(path), path)
    runs = [load_run(path) for path in unique.values()]
    for run, name in zip(runs, distinct_names([osp.realpath(run.path) for run in runs])):
        run.name = name
    return runs


def load_run(path: str) -> RunData:
    """Read one work dir; see :func:`load_runs`."""
    _check(path)
    run = RunData(path=osp.normpath(path), name=osp.basename(osp.realpath(path)))
    run.record = _json(run, 'run.json', missing='command, throughput and hardware: there is no run.json')
    _read_curve(run)
    _read_config(run)
    run.evaluations = _evaluations(run)
    if not run.evaluations:
        run.notes.append('no accuracy or held-out loss: nothing was measured yet (tools/test.py CONFIG CHECKPOINT)')
    run.panels = _panels(run)
    run.bad_images = _bad_images(run)
    run.non_finite = _json(run, 'non_finite.json')
    run.comparison, run.labels = _json(run, 'comparison.json'), _json(run, 'labels.json')
    return run


def _check(path: str) -> None:
    if not osp.exists(path):
        raise FileNotFoundError(
            f'there is no folder {path!r}: give the work dir of a pre-training run (--work-dir of tools/train.py)'
        )
    if not osp.isdir(path):
        raise NotADirectoryError(f'{path!r} is a file: give the work dir that it lies in')
    if not is_work_dir(path):
        inside = [osp.join(path, name) for name in sorted(os.listdir(path))]
        inside = [folder for folder in inside if osp.isdir(folder) and is_work_dir(folder)][:5]
        raise ValueError(
            f'{path!r} is no work dir of a pre-training run: it has none of {", ".join(MARKS)}'
            + (f'. Work dirs in it: {" ".join(inside)}' if inside else '')
        )


def is_work_dir(path: str) -> bool:
    """Whether a folder holds anything of a run."""
    return any(osp.exists(osp.join(path, name)) for name in MARKS)


def distinct_names(paths: List[str]) -> List[str]:
    """The shortest ends of absolute paths that tell them apart."""
    parts = [path.strip(os.sep).split(os.sep) for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ['/'.join(part[-length:]) or path for part, path in zip(parts, paths)]
        if len(set(names)) == len(names):
            break
    return names


def read_text(run: RunData, name: str, most: int = -1, missing: str = '') -> Optional[str]:
    """A file of the work dir, at most so many characters.

    None where it cannot be read, which is noted, or is not there: then ``missing`` is, if it is given.
    """
    try:
        with open(osp.join(run.path, name), encoding='utf-8', errors='replace') as file:
            return file.read(most)
    except FileNotFoundError:
        run.notes += [missing] if missing else []
    except OSError as error:
        run.notes.append(f'{name} cannot be read: {error}')
    return None


def _json(run: RunData, name: str, missing: str = '') -> Dict[str, Any]:
    """A JSON object; ``{}`` where it is broken or missing, which is noted as by :func:`read_text`."""
    content = read_text(run, name, missing=missing)
    if content is None:
        return {}
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        run.notes.append(f'{name} cannot be read: {error}')
        return {}
    if not isinstance(value, dict):
        run.notes.append(f'{name} is no JSON object')
    return mapping(value)


def _read_curve(run: RunData) -> None:
    try:
        run.curve = read_curve(osp.join(run.path, 'curve.jsonl'))
    except FileNotFoundError:
        run.notes.append('no curves: there is no curve.jsonl')
    except OSError as error:
        run.notes.append(f'no curves: curve.jsonl cannot be read: {error}')
    else:
        if run.curve.skipped:
            run.notes.append(f'{run.curve.skipped} line(s) of curve.jsonl are not whole')
        if not run.curve.training:
            run.notes.append('no loss curve: curve.jsonl holds no iteration yet')


def _read_config(run: RunData) -> None:
    """The config that ``run.json`` names, else the newest in the folder; parsed, never executed."""
    name = osp.basename(text(run.record.get('config')))
    if not name or not run.file(name):
        found = [name for name in os.listdir(run.path) if name.endswith('.py') and run.file(name)]
        name = max(found, key=lambda name: osp.getmtime(osp.join(run.path, name)), default='')
    if not name:
        run.notes.append('no config: the work dir holds none')
        return
    run.config_name, run.config_text = name, read_text(run, name, MOST_TEXT) or ''
    try:
        run.config = parse_config_text(run.config_text) if name.endswith('.py') else {}
    except ConfigTextError as error:
        run.notes.append(f'settings from {name}: {error}')


def _evaluations(run: RunData) -> List[Evaluation]:
    """Results of ``tools/test.py`` and of measurements while training, one row a checkpoint."""
    rows: Dict[Tuple[Any, str], Evaluation] = {}
    main = ''
    for result in sorted(_results(run), key=lambda result: text(result.get('when'))):
        values = {name: quantity(name, value) for name, value in result.items() if name not in ABOUT}
        metrics = {name: value for name, value in values.items() if value is not None}
        if not metrics:
            continue
        config, checkpoint = text(result.get('config')), text(result.get('checkpoint'))
        step = 0 if checkpoint == RANDOM else number(result.get('iter'))
        label = _label(checkpoint, number(result.get('epoch')))
        key = (int(step) if step is not None else checkpoint, config)
        earlier = rows[key].metrics if key in rows else {}
        rows[key] = Evaluation(label, None if step is None else int(step), {**earlier, **metrics}, config)
        main = main or config
    for name, series in run.curve.measured.items():
        if name.startswith(HEALTH):
            continue  # a section of its own
        for step, value in zip(series.iters.tolist(), series.values.tolist()):
            epoch = round(step / run.steps_per_epoch, 1) if run.counts_epochs else None
            trained = f'iteration {step}' if epoch is None else f'epoch {epoch:g}'
            row = rows.get((step, main)) or Evaluation(trained if step else beginning(run), step, {}, main)
            # a file was measured on purpose and stands
            rows[step, main] = row._replace(metrics={name: value, **row.metrics})
    return sorted(rows.values(), key=lambda row: (row.iter is None, row.iter or 0, row.label))


def beginning(run: RunData) -> str:
    """What a run is before training."""
    start = mapping(run.record.get('start'))
    return RANDOM if start.get('kind', 'random') == 'random' else f'the start, {text(start.get("name"))}'


def _label(checkpoint: str, epoch: Optional[float]) -> str:
    if checkpoint == RANDOM:
        return RANDOM
    name = osp.basename(checkpoint) or 'unnamed checkpoint'
    return name if epoch is None or re.search(r'epoch_\d', name) else f'{name} (epoch {epoch:g})'


def _results(run: RunData) -> List[Dict[str, Any]]:
    return [_json(run, f'evaluations/{name}') for name in _listed(run, 'evaluations') if name.endswith('.json')]


def _panels(run: RunData) -> List[Tuple[int, str]]:
    found = []
    for name in _listed(run, 'reconstructions'):
        match = re.fullmatch(r'\D*(\d{1,12})\.png', name)
        if match:
            found.append((int(match[1]), osp.join(run.path, 'reconstructions', name)))
    if not found and not run.dense:
        run.notes.append('no pictures: there are no reconstructions/epoch_*.png (ReconstructionHook writes them)')
    return sorted(found)


def _listed(run: RunData, folder: str) -> List[str]:
    path = osp.join(run.path, folder)
    return sorted(os.listdir(path)) if osp.isdir(path) else []


def _bad_images(run: RunData) -> List[Tuple[str, str]]:
    lines = (read_text(run, 'bad_images.txt') or '').split('\n')
    return [(name, reason) for name, _, reason in (line.partition('\t') for line in lines if line)]
