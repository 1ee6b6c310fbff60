"""Contenders that take turns, in this process or each in its own."""

import itertools
import os
from typing import Any, Dict

import torch
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from ..config.prepare import set_up_scope
from ..engine.hardware import keep_freed_memory
from .contenders import check_peers, is_peer, make_step
from .timing import PhaseTimer, run_steps
from .workload import pinned

SPIN_COUNT = 'GOMP_SPINCOUNT'  # which our tools set


class Here:
    """A contender in this process. Called, it takes a turn; seconds by phase, see :func:`.run_steps`.

    Args:
        name: As for :func:`.make_step`.
        cfg: A settled config.
        data: A batch, which every step gets.
        device, dtype: Where, and in what it computes.
        count: Steps of a turn.
    """

    def __init__(
        self, name: str, cfg: Config, data: dict, device: torch.device, dtype: torch.dtype, count: int
    ) -> None:
        self.data, self.count, self.timer = data, count, PhaseTimer(device)
        self.step = make_step(name, cfg, data, dtype, self.timer)

    def __enter__(self) -> 'Here':
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def __call__(self) -> Dict[str, float]:
        return run_steps(self.step, itertools.repeat(self.data), self.count, self.timer)


class OwnProcess:
    """A contender in a process that runs from ``with`` to its end; arguments as those of :class:`Here`.

    Ours keeps its memory as training does; a peer's process is left as Python starts it.

    Raises:
        RuntimeError: When a turn is taken and the process has ended, or its step fails.
    """

    def __init__(self, name: str, *args: Any) -> None:
        context = mp.get_context('spawn')
        self.name, (self.pipe, self._theirs) = name, context.Pipe()
        self.process = context.Process(
            target=_serve, daemon=True, args=(self._theirs, torch.get_num_threads(), name, *args)
        )

    def __enter__(self) -> 'OwnProcess':
        # torch reads it when it is imported; a peer's user has not set it
        kept = os.environ.pop(SPIN_COUNT, None) if is_peer(self.name) else None
        self.process.start()
        if kept is not None:
            os.environ[SPIN_COUNT] = kept
        self._theirs.close()  # so that the pipe ends with the process
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.terminate()  # it has nothing to save
        self.process.join()

    def __call__(self) -> Dict[str, float]:
        try:
            self.pipe.send(None)
        except OSError:  # it has ended; what it said last can still be read
            pass
        try:
            spent = self.pipe.recv()
        except (EOFError, OSError) as error:
            self.process.join()
            hint = ', as happens when memory runs out: lower --batch' if self.process.exitcode == -9 else ''
            raise RuntimeError(f'the process of {self.name} ended with {self.process.exitcode}{hint}') from error
        if isinstance(spent, str):
            raise RuntimeError(f'{self.name}: {spent}')
        return spent


def _serve(pipe: Any, threads: int, name: str, cfg: Config, data: dict, *args: Any) -> None:
    """Take a turn at every word from the pipe, and answer with its seconds, or with what went wrong."""
    torch.set_num_threads(threads)
    if not is_peer(name):
        keep_freed_memory()
    try:
        if cfg.get('custom_imports'):
            import_modules_from_strings(**cfg.custom_imports)
        set_up_scope(cfg)
        check_peers([name] if is_peer(name) else [], cfg)  # imports what it needs
        contender = Here(name, cfg, pinned(data), *args)
        while True:
            pipe.recv()
            pipe.send(contender())
    except EOFError:  # the other end is gone
        pass
    except Exception as error:
        pipe.send(f'{type(error).__name__}: {error}')
