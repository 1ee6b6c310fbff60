"""Which checkpoint a run continues from (:func:`find_resume`), and with which seed.

Where a resumed run goes on is decided by

- ``ResumableEpochLoop.run_epoch`` (loops/epoch_loop.py): how many samples of the epoch are skipped; ``StepLoader``
  there groups the rest into steps. Detectors: ``HostEpochLoop.run_epoch`` (loops/toolbox_loops.py);
- ``EpochSampler.set_epoch`` and ``__iter__`` (datasets/samplers.py): the order, and the skipping;
- ``AtomicCheckpointHook.after_train_iter`` and ``_save`` (hooks/checkpoint.py): what a checkpoint says of its place;
- ``RunStateHook.after_load_checkpoint`` (hooks/run_state.py): whether this run may continue that one.

The table "The way of a resumed run" in docs/architecture.md has the rest: curves, hooks, other entry points.
"""

import json
import os
import os.path as osp
import sys
from typing import Callable, List, Optional, TypeVar

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, get_rank
from mmengine.runner.checkpoint import CheckpointLoader

from ..checkpoint.newest import (
    RESUMED_PARTS,
    NoWholeCheckpointError,
    Whole,
    glance,
    has_checkpoints,
    newest_whole,
)

T = TypeVar('T')


class StartOverError(RuntimeError):
    """Training would begin anew in a work dir that has checkpoints, and nobody asked for that."""


def is_finished(work_dir: str) -> bool:
    """Whether the run in a work dir reached its end.

    It did not where its last checkpoint is broken or lost and an older one is there to go on from.
    """
    try:
        with open(osp.join(work_dir, 'run.json')) as file:
            finished = bool(json.load(file)['finished'])
    except (OSError, ValueError, KeyError):
        return False
    older, broken = glance(work_dir) if finished else (None, {})
    return finished and not (older and broken)


def find_resume(cfg: Config, anew: bool = True) -> Optional[Whole]:
    """Settle ``cfg.resume`` and ``cfg.load_from`` for all processes: rank 0 looks, the others get what it found.

    - ``resume='auto'``, or True without ``load_from``: from the newest whole checkpoint of the work dir; where there is
      none, the run begins, from ``load_from`` if that is set.
    - ``resume=True`` with ``load_from``: from that one; in a work dir that was moved, from the one of its name.

    Args:
        cfg: The whole config.
        anew: Whether a run may begin in a work dir that has checkpoints.

    Returns:
        The checkpoint that was found in the work dir, which the runner is to resume; None for the other cases.

    Raises:
        NoWholeCheckpointError: There are checkpoints, and all are broken: each is named with the reason.
        StartOverError: There are checkpoints, ``anew`` is False, and a resume was not asked for.
    """
    found = None
    if cfg.get('resume') == 'auto' or (cfg.get('resume') and not cfg.get('load_from')):
        found = on_rank_0(lambda: _newest(cfg))
        cfg.resume = found is not None
        if found:
            cfg.load_from = None  # the config that is written to the work dir says: from the newest
    elif cfg.get('resume'):
        beside = osp.join(cfg.work_dir, osp.basename(cfg.load_from))
        if not osp.exists(cfg.load_from) and osp.isfile(beside):
            cfg.load_from = beside
    elif not anew and on_rank_0(lambda: has_checkpoints(cfg.work_dir, _folders(cfg))):
        raise StartOverError(
            f'{cfg.work_dir} has checkpoints of a run. To go on from the newest: --resume. To begin anew: --anew, '
            'which moves them to a folder of their own there, or another --work-dir'
        )
    return found


def _newest(cfg: Config) -> Optional[Whole]:
    run_state = (cfg.get('default_hooks') or {}).get('run_state')
    ours = ('mmmim', 'optimizer') if run_state and run_state.get('guard', True) else ()
    found, passed_over = newest_whole(cfg.work_dir, _folders(cfg), (*RESUMED_PARTS, *ours))
    reasons = [f'{path}: {reason}' for path, reason in passed_over.items()]
    if reasons and not found:
        raise NoWholeCheckpointError(
            f'the run in {cfg.work_dir} has no checkpoint from which it can go on:\n  '
            + '\n  '.join(reasons)
            + '\nPut a whole one there; or begin anew: mmmim train with --anew, or another folder'
        )
    if reasons and found:
        print(f'goes on from {found.path}; passed over: {"; ".join(reasons)}', file=sys.stderr, flush=True)
    return found


def _folders(cfg: Config) -> List[str]:
    """Where the checkpoint hook writes, if not to the work dir; MMEngine adds the work dir's name."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    folder = hook.get('out_dir')
    return [osp.join(folder, osp.basename(cfg.work_dir.rstrip(osp.sep)))] if folder else []


def on_rank_0(look: Callable[[], T]) -> T:
    """The result of ``look`` on rank 0, or its error, on all ranks: none waits for one that has ended."""
    shared: List = [None, None]
    if get_rank() == 0:
        try:
            shared[0] = look()
        except Exception as error:
            shared[1] = error
    broadcast_object_list(shared)
    if shared[1] is not None:
        raise shared[1]
    return shared[0]


def fix_seed(cfg: Config, found: Optional[Whole] = None) -> int:
    """Fix the seed of the run before anything is built.

    ``randomness.seed=None`` draws one for all ranks; a resumed run takes the seed of its checkpoint: ``found``, or
    ``load_from``.
    """
    randomness = dict(cfg.get('randomness') or {})
    if randomness.get('seed') is None:
        if found:
            randomness['seed'] = found.seed or 0
        elif cfg.get('resume'):
            content = CheckpointLoader.load_checkpoint(cfg.load_from, map_location='cpu', logger='silent')
            meta = content.get('meta') if isinstance(content, dict) else None
            randomness['seed'] = (meta.get('seed') if isinstance(meta, dict) else None) or 0  # refused later
        else:
            drawn = [int.from_bytes(os.urandom(4), 'little')]
            broadcast_object_list(drawn)
            randomness['seed'] = drawn[0]
    cfg.randomness = randomness
    return randomness['seed']
