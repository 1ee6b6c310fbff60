"""Runs that a tool starts, and finds again when it is called once more."""

import difflib
import json
import os
import os.path as osp
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence

from mmengine.config import Config, DictAction

from mmmim.checkpoint import atomic_write_text
from mmmim.checkpoint.newest import has_checkpoints
from mmmim.config.load import load_config
from mmmim.engine.resume import is_finished
from mmmim.report.run_curve import read_curve

ACCURACY = 'accuracy/top1'  # of fine-tuning
STARTED = 'started_with.txt'  # in the work dir of each
MOST_LINES = 20  # of two configs that differ


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
    """What a run is started with: in the first line the config's path and the options, below it all that they mean.

    ``more`` stands in both: what no option of the config says.
    """
    settings = [f'{key}={value}' for key, value in more.items()]
    cfg = read_config(path, options)
    for key in ('work_dir', 'source'):  # where, and by which of its paths: nothing that matters to the run
        cfg.pop(key, None)
    return '\n'.join([' '.join([path, *options, *settings]), *settings, cfg.pretty_text])


def claim(work_dir: str, start: str, option: str) -> bool:
    """Whether a run begins in a work dir; False where the same has saved something, or is finished.

    What a run that begins is started with (:func:`start_text`) is kept in the work dir.

    Args:
        work_dir: The run's own.
        start: What it would be started with now.
        option: That of the command line for another folder, for the message.

    Raises:
        ValueError: The run that is there was started with something else.
    """
    path = osp.join(work_dir, STARTED)
    if not is_finished(work_dir) and not has_checkpoints(work_dir):
        os.makedirs(work_dir, exist_ok=True)
        atomic_write_text(path, start)
        return True
    before = Path(path).read_text(encoding='utf-8') if osp.exists(path) else ''
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
    changes = list(difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm=''))[2:]  # without file names
    lines = [line for line in changes if not line.startswith('@@')]
    return '\n  '.join(['The config was edited between them (- then, + now):', *lines[:MOST_LINES]]) + '\n'


def final_accuracy(work_dir: str, train: Callable[[], None]) -> float:
    """Top-1 accuracy in percent after the last iteration of fine-tuning, as MAE reports it: not of the best epoch.

    Args:
        work_dir: The run's own.
        train: Begins the run or goes on with it; called where it has not ended with a measurement.

    Raises:
        RuntimeError: It has trained to its end without one.
    """
    if not is_finished(work_dir) or last_measured(work_dir, ACCURACY) is None:
        train()
    accuracy = last_measured(work_dir, ACCURACY)
    if accuracy is None:
        raise RuntimeError(
            f'{work_dir}: there is no {ACCURACY} of the last iteration. Either its config has no val_dataloader and '
            'val_evaluator, or it was stopped while it measured: then remove the folder, and the same command trains '
            'it again'
        )
    return accuracy


def last_measured(work_dir: str, name: str) -> Optional[float]:
    """What was measured at a run's last iteration, and not before it; None where nothing was."""
    try:
        last = read_json(osp.join(work_dir, 'run.json'))['max_iters']
        series = read_curve(osp.join(work_dir, 'curve.jsonl')).measured[name]
    except (OSError, ValueError, KeyError):
        return None
    return float(series.values[-1]) if series.iters[-1] >= last else None


def read_json(path: str) -> Dict[str, Any]:
    with open(path) as file:
        return json.load(file)
