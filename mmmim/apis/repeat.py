"""Runs that a tool starts, and resumes when it is called again."""

import difflib
import json
import os
import os.path as osp
from typing import Any, Optional, Sequence

from mmengine.config import Config, DictAction

from ..checkpoint import atomic_write_text
from ..config.load import load_config
from ..engine.resume import is_finished
from ..report.run_curve import read_curve

STARTED = 'started_with.txt'  # file in the work dir of each run
MOST_LINES = 20  # of the diff of two configs


def read_config(path: str, options: Sequence[str]) -> Config:
    """A config with ``KEY=VALUE`` texts, read as ``--cfg-options`` are.

    Raises:
        ValueError: An option without a ``=``.
        FileNotFoundError, KeyError: See :func:`~mmmim.config.load.load_config`.
    """
    pairs = [option.partition('=') for option in options]
    wrong = [key for key, equals, _ in pairs if not equals]
    if wrong:
        raise ValueError(f'the option {wrong[0]!r}: KEY=VALUE is needed')
    return load_config(path, {key: DictAction._parse_iterable(value) for key, _, value in pairs})


def start_text(path: str, options: Sequence[str], **more: Any) -> str:
    """Text that identifies a run: the config's path and options in the first line, the full config below.

    ``more`` is added to both: settings outside the config.
    """
    settings = [f'{key}={value}' for key, value in more.items()]
    cfg = read_config(path, options)
    for key in ('work_dir', 'source'):  # paths do not change the run
        cfg.pop(key, None)
    return '\n'.join([' '.join([path, *options, *settings]), *settings, cfg.pretty_text])


def claim(work_dir: str, start: str, option: str) -> bool:
    """Whether a new run starts in a work dir; False where the same run has a checkpoint, or is finished.

    The text of a new run (:func:`start_text`) is written to the work dir.

    Args:
        work_dir: The run's own.
        start: The :func:`start_text` of the run to start now.
        option: The command-line option for another folder, for the message.

    Raises:
        ValueError: The folder holds a run that was started with another text.
    """
    path = osp.join(work_dir, STARTED)
    if not is_finished(work_dir) and not osp.exists(osp.join(work_dir, 'last_checkpoint')):
        os.makedirs(work_dir, exist_ok=True)
        atomic_write_text(path, start)
        return True
    before = ''
    if osp.exists(path):
        with open(path, encoding='utf-8') as file:
            before = file.read()
    (then, _, old), (now, _, new) = before.partition('\n'), start.partition('\n')
    if old == new:
        return False
    told = f'what is not known (there is no {STARTED})' if not before else then
    raise ValueError(
        f'{work_dir} holds a run that was started with\n  {told}\nThis call would start it with\n  {now}\n'
        f'{_edited(old, new) if then == now else ""}To keep both, give another folder ({option}); to '
        'start this one anew, remove its folder'
    )


def _edited(old: str, new: str) -> str:
    lines = [
        line
        for line in difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm='')
        if line[:1] in '+-' and line[:3] not in ('+++', '---')
    ]
    return '\n  '.join(['The config was edited between them (- then, + now):', *lines[:MOST_LINES]]) + '\n'


def last_measured(work_dir: str, name: str) -> Optional[float]:
    """A metric at a run's last iteration; None if it was not measured there."""
    try:
        with open(osp.join(work_dir, 'run.json')) as file:
            last = json.load(file)['max_iters']
        series = read_curve(osp.join(work_dir, 'curve.jsonl')).measured[name]
    except (OSError, ValueError, KeyError):
        return None
    return float(series.values[-1]) if series.iters[-1] >= last else None


def not_measured(work_dir: str, name: str) -> str:
    """The error message for a run that finished training without a measurement at its end."""
    return (
        f'{work_dir}: there is no {name} of the last iteration. Either its config has no val_dataloader and '
        'val_evaluator, or it was stopped while it measured: then remove the folder, and the same command trains '
        'it again'
    )
