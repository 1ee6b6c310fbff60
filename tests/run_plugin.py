"""Imported by test runs through ``custom_imports``: float64, a chosen end, toy algorithms. Steered by environment."""

import builtins
import os
import signal

import torch
from mmengine.hooks import Hook

from mmmim.registry import HOOKS

if os.environ.get('TEST_DTYPE'):
    torch.set_default_dtype(getattr(torch, os.environ['TEST_DTYPE']))

import toy_algorithm  # noqa: E402,F401


@HOOKS.register_module(force=True)
class DieHook(Hook):
    """Ends the process by a signal after the iterations named in TEST_KILL_AT, or while a checkpoint is written."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.at = int(os.environ.get('TEST_KILL_AT', -1))
        self.signal = getattr(signal, os.environ.get('TEST_SIGNAL', 'SIGKILL'))
        self.group = os.environ.get('TEST_KILL_GROUP') == '1'
        self.rank = int(os.environ.get('TEST_KILL_RANK', 0))
        if os.environ.get('TEST_KILL_IN_WRITE'):
            _kill_in_write(int(os.environ['TEST_KILL_IN_WRITE']))

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.at and runner.rank == self.rank:
            (os.killpg(0, self.signal) if self.group else os.kill(os.getpid(), self.signal))


def _kill_in_write(nth: int) -> None:
    """SIGKILL in the middle of the nth write of a temporary checkpoint file."""
    opened, real_open = [0], builtins.open

    def open_(path, *args, **kwargs):
        file = real_open(path, *args, **kwargs)
        if isinstance(path, str) and '.pth' in path and path.endswith('.tmp'):
            opened[0] += 1
            if opened[0] == nth:
                file.write(b'torn' * 1000)
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        return file

    builtins.open = open_
