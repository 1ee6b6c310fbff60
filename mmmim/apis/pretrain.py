"""Pre-training by one call, for people who have never seen a config."""

import logging
import os
import os.path as osp
import shlex
import sys
from contextlib import contextmanager, redirect_stdout
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

from ..checkpoint.newest import newest_checkpoint
from ..config.load import load_config
from ..config.paths import command, relative_to_here
from ..config.write import Choice, config_text, merge_overrides
from ..engine.launch import build_runner
from ..engine.resume import is_finished
from ..progress import mode
from ..report.page import write_report
from .folder_split import FolderSplit, write_if_changed
from .plan import plan

CONFIG_NAME = 'pretrain.py'
_NOWHERE = open(os.devnull, 'w')  # never closed: a logger keeps it


class Pretrained(NamedTuple):
    """Paths of what pre-training wrote.

    ``encoder`` has timm's parameter names; ``report`` is a page for a browser.
    """

    work_dir: str
    config: str
    checkpoint: str
    encoder: Optional[str]
    report: Optional[str]


def pretrain(
    data: str,
    out: str,
    method: str = 'mae',
    model: str = 'vit-tiny',
    image_size: Optional[int] = None,
    epochs: Optional[int] = None,
    **overrides: Any,
) -> Pretrained:
    """Pre-train on a folder of images; labels are not needed.

    Builds a config file, ``out/pretrain.py``, prints its choices with reasons, and runs that config as
    ``tools/train.py`` does. The file can be edited and run again. The same call resumes a run that was stopped, and
    does nothing for one that is finished.

    Args:
        data: A folder of images: flat, nested, with class folders, with ``train/`` and ``val/``.
        out: Work dir for the config, checkpoints, logs, pictures and ``report.html``.
        method: Name of a method, such as ``'mae'``.
        model: ``'vit-tiny'``, ``'vit-small'``, ``'vit-base'`` or ``'vit-large'``.
        image_size: Pixels; None: chosen from the images and the machine.
        epochs: None: chosen from the number of images and the machine.
        **overrides: Any other setting of the config: ``total_batch_size=128``, ``model__mask_ratio=0.6`` or
            ``**{'model.mask_ratio': 0.6}``.

    Returns:
        Paths of what was written.

    Raises:
        FileNotFoundError: No such folder, or no images in it.
        ValueError: An invalid setting, or a work dir of another run.
        KeyboardInterrupt: Ctrl-C; a checkpoint was saved first, and the same call resumes the run.
    """
    config = write_config(data, out, method, model, image_size, epochs, overrides)
    if not is_finished(out):
        try:
            _train(config, out)
        except SystemExit as stopped:  # asked to stop, and saved
            raise KeyboardInterrupt(f'stopped and saved in {out}; the same call continues') from stopped
    else:
        print(f'{relative_to_here(out)} holds this run, finished: nothing is done again')
    return _result(config, out)


def write_config(
    data: str,
    out: str,
    method: str = 'mae',
    model: str = 'vit-tiny',
    image_size: Optional[int] = None,
    epochs: Optional[int] = None,
    overrides: Optional[Dict[str, Any]] = None,
) -> str:
    """Write ``out/pretrain.py``, print its choices with their reasons, and return its path.

    Raises:
        ValueError: ``out`` holds a different config.
    """
    out = osp.abspath(out)
    path = osp.join(out, CONFIG_NAME)
    split = FolderSplit(data)
    overrides = dict(overrides or {})
    # other choices follow from these two
    epochs, batch = overrides.pop('max_epochs', epochs), overrides.pop('total_batch_size', None)
    choices = merge_overrides(plan(split, out, method, model, image_size, epochs, batch), overrides, method)
    text = config_text(
        choices,
        method,
        train_command(['mmmim', 'train'], path, out, os.path.abspath),
        f'Pre-training ({method}, {model}) on {split.folder}.',
    )
    again = train_command(command('train'), path, out, relative_to_here)
    if osp.exists(path) and open(path, encoding='utf-8').read() != text:
        raise ValueError(
            f'{path} says something else than this call would write: other settings, other images, or it '
            f'was edited. To run it as it is: {again}. To start anew: another folder for the results, '
            'or remove this one'
        )
    write_if_changed(path, text)
    for line in describe(choices):
        print(line)
    print(f'The config is {relative_to_here(path)}: edit it if you like, and run it again with\n  {again}')
    return path


def train_command(start: List[str], path: str, out: str, shown: Callable[[str], str]) -> str:
    """The command that runs the config without this function; ``shown`` shortens paths."""
    return shlex.join([*start, shown(path), '--work-dir', shown(out), '--resume'])


def describe(choices: Dict[str, Choice]) -> list:
    """The choices that have a reason, one per line; architecture and decoder share one."""
    left_out = ('model.neck.', 'test_dataloader.', 'default_hooks.', 'data_root')
    lines = [f'{choices["data_root"].value}: {choices["data_root"].reason}']
    for key, (value, reason) in choices.items():
        if reason and not key.startswith(left_out):
            name = key.split('.')[-1]
            shown = reason if name == 'arch' else f'{value} ({reason})' if not isinstance(value, dict) else reason
            lines.append(f'  {name:18s}{shown}')
    return lines


def _train(config: str, out: str) -> None:
    cfg = load_config(config, work_dir=out)
    cfg.resume = 'auto'
    with redirect_stdout(_NOWHERE):  # MMEngine prints the whole config and more; the log file has it too
        runner = build_runner(cfg)
    for handler in runner.logger.handlers:
        if getattr(handler, 'stream', None) is _NOWHERE:
            handler.setStream(sys.stderr)
            handler.setLevel(logging.WARNING)
            handler.addFilter(lambda record: 'deprecated' not in str(record.msg))  # MMEngine's warnings about itself
    print(f'training for {runner.max_epochs} epochs; the log is in {relative_to_here(runner.log_dir)}', flush=True)
    print('Ctrl-C saves and stops; the same call continues', flush=True)
    with _visible_progress():
        runner.train()


@contextmanager
def _visible_progress() -> Iterator[None]:
    """Show progress as plain lines where there is no terminal: the log is hidden, so nothing else would."""
    chosen = os.environ.get('MMMIM_PROGRESS')
    if mode() == 'off' and chosen is None:
        os.environ['MMMIM_PROGRESS'] = 'lines'
    try:
        yield
    finally:
        if chosen is None:
            os.environ.pop('MMMIM_PROGRESS', None)


def _result(config: str, out: str) -> Pretrained:
    encoder = osp.join(out, 'encoder.safetensors')
    report = write_report([out], osp.join(out, 'report.html'))
    print(f'report: {relative_to_here(report)}')
    return Pretrained(out, config, newest_checkpoint(out), encoder if osp.exists(encoder) else None, report)
