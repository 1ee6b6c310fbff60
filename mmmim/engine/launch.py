"""Build a runner from a config and the command line, for all tools."""

import copy
import os
import sys
from typing import Optional

import torch.distributed as dist
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ..config.as_run import write_as_run
from ..config.check_values import check_values
from ..config.derived import check_given
from ..config.load import load_config
from ..config.prepare import drop_disabled_hooks, set_up_scope, settle, settle_loaders
from ..config.schedule import iterations, set_batch_and_lr, set_schedule, split_batch
from ..models.build import check_model
from ..registry import MODELS
from .fit_workers import fit_loaders
from .hardware import keep_freed_memory
from .processes import set_up_processes
from .resume import find_resume, fix_seed

__all__ = [
    'USER_ERRORS',
    'build_runner',
    'end_with',
    'find_resume',
    'fix_seed',
    'load_config',
    'set_batch_and_lr',
    'set_schedule',
    'set_up_processes',
    'set_up_scope',
    'settle',
    'split_batch',
]

# errors that a user can fix: the tools show them without a traceback
USER_ERRORS = (FileNotFoundError, NotADirectoryError, KeyError, ValueError, TypeError, RuntimeError, ImportError)


def build_runner(cfg: Config, launcher: str = 'none', anew: bool = True) -> Runner:
    """Prepare a config and the processes, and build the runner for ``runner.train()`` or ``runner.test()``.

    ``anew``: see :func:`~mmmim.engine.resume.find_resume`.
    """
    cfg.launcher = launcher
    keep_freed_memory()
    set_up_scope(cfg)
    check_values(cfg)
    set_up_processes(launcher, cfg)
    found = find_resume(cfg, anew)
    fix_seed(cfg, found)
    world_size = dist.get_world_size() if dist.is_initialized() else 1
    before = copy.deepcopy(cfg)  # what is written to the work dir
    before.pop('resume_schedule', None)  # of this start alone
    derived = [*set_batch_and_lr(cfg, world_size), *set_schedule(cfg), *iterations(cfg)]
    drop_disabled_hooks(cfg)
    settle(cfg)
    settle_loaders(cfg)
    check_given(cfg)
    check_model(cfg.model)
    check_checkpointing(cfg)
    if 'run_state' not in (cfg.get('default_hooks') or {}):  # a config of another toolbox
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='mmmim.RunStateHook', guard=False)]
    else:
        cfg.default_hooks.setdefault('load_from', dict(type='mmmim.LoadFromHook'))  # configs of version 0.2 have none
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    write_as_run(runner, before, derived)
    fit_loaders(runner, launcher)
    if found:
        runner._load_from = found.path  # MMEngine would follow the pointer
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if hasattr(model, 'check_batch') and 'total_batch_size' in cfg:
        model.check_batch(
            cfg.train_dataloader.batch_size * world_size,
            cfg.train_dataloader.sampler.get('repeat_crops', 1),
            batches=cfg.train_cfg.get('batches_per_step', 1),
        )
    return runner


def check_checkpointing(cfg: Config) -> None:
    """Check that the model can be trained with MMEngine's key ``activation_checkpointing``.

    Raises:
        ValueError: A method of ours. MMEngine's way (reentrant checkpointing) allows no gradients that are taken inside
            a forward pass; ours does, with compiled blocks, too.
    """
    kind = cfg.model.get('type')
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    if cfg.get('activation_checkpointing') and hasattr(kind, 'train_steps'):
        raise ValueError(
            f'activation_checkpointing={cfg.activation_checkpointing}: leave it out, and set '
            f'model.backbone.activation_checkpointing=True; other parts of {kind.__name__} with blocks, such as '
            'model.neck, have the same key'
        )


def end_with(error: Exception, runner: Optional[Runner]) -> None:
    """End a tool: one line without a traceback for errors that a user can fix, a traceback for errors in training."""
    training = runner is not None and getattr(runner._train_loop, '_iter', 0) > 0
    expected = type(error).__module__.startswith('mmmim.')
    if os.environ.get('MMMIM_TRACEBACK') or (training and not expected):
        raise error
    message = str(error)
    if 'Original Traceback' in message:  # from a data loading worker, whose traceback is in the message
        message = behind_traceback(message)
    sys.exit(f'{type(error).__name__}: {message}\n(MMMIM_TRACEBACK=1 shows where)')


def behind_traceback(text: str) -> str:
    """The whole message of the error that ends a traceback, without the error's name."""
    lines = text.strip().splitlines()
    frames = [place for place, line in enumerate(lines) if line.startswith('  File "')]
    start = frames[-1] + 1 if frames else 0
    while start < len(lines) - 1 and lines[start].startswith('    '):  # the line of code, and marks below it
        start += 1
    name, _, message = '\n'.join(lines[start:]).partition(': ')
    return message or name
