"""Training steps in a process of their own, measured from here."""

from typing import Any, Dict

import torch
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from libraries import check_libraries, is_library, make_step
from mmmim.config.prepare import set_up_scope
from mmmim.engine.hardware import keep_freed_memory
from timing import PhaseTimer, TimedSteps
from workload import pinned


def timed_steps(name: str, cfg: Config, data: dict, device: torch.device, dtype: torch.dtype, count: int) -> TimedSteps:
    """So many steps, in this process, of what :func:`~libraries.make_step` builds."""
    timer = PhaseTimer(device)
    return TimedSteps(make_step(name, cfg, data, dtype, timer), data, timer, count)


class OwnProcess:
    """The same in a process that runs from ``with`` to its end; called, it says how long a step took there.

    Ours keeps its memory as training does; another library's process gives it back, as Python does.

    Args:
        name: As for :func:`~libraries.make_step`.
        *args: The other arguments of :func:`timed_steps`.

    Raises:
        RuntimeError: At a call, when the process has ended, or its step fails.
    """

    def __init__(self, name: str, *args: Any) -> None:
        context = mp.get_context('spawn')
        self.name, (self.pipe, self._theirs) = name, context.Pipe()
        arguments = (self._theirs, torch.get_num_threads(), name, *args)
        self.process = context.Process(target=_serve, daemon=True, args=arguments)

    def __enter__(self) -> 'OwnProcess':
        self.process.start()
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
    """Run steps at every word from the pipe, and answer with their seconds, or with what went wrong."""
    torch.set_num_threads(threads)
    if not is_library(name):
        keep_freed_memory()
    try:
        if cfg.get('custom_imports'):
            import_modules_from_strings(**cfg.custom_imports)
        set_up_scope(cfg)
        check_libraries([name] if is_library(name) else [], cfg)  # imports what it needs
        steps = timed_steps(name, cfg, pinned(data), *args)
        while True:
            pipe.recv()
            pipe.send(steps())
    except EOFError:  # the other end is gone
        pass
    except Exception as error:
        pipe.send(f'{type(error).__name__}: {error}')
