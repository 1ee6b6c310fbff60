"""Which checkpoint a run continues from (:func:`find_resume`, :func:`newest_checkpoint`), and with which seed.

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
from typing import Optional

from mmengine.config import Config
from mmengine.dist import broadcast_object_list
from mmengine.runner import find_latest_checkpoint

from ..checkpoint.read import load_file


def newest_checkpoint(work_dir: str) -> Optional[str]:
    """The checkpoint that ``last_checkpoint`` points to, also in a work dir that was moved; None without one."""
    pointer = osp.join(work_dir, 'last_checkpoint')
    if not osp.exists(pointer):
        return None
    with open(pointer) as file:
        path = file.read().strip()
    beside = osp.join(work_dir, osp.basename(path))
    return path if osp.exists(path) else beside if osp.exists(beside) else None


def is_finished(work_dir: str) -> bool:
    """Whether the run in a work dir reached its end."""
    try:
        with open(osp.join(work_dir, 'run.json')) as file:
            return bool(json.load(file)['finished'])
    except (OSError, ValueError, KeyError):
        return False


def find_resume(cfg: Config) -> Optional[str]:
    """The checkpoint that ``--resume`` selects: the given one, or the newest in the work dir.

    The pointer holds the path at the time of writing; in a work dir that was moved, the file is found by its name.
    """
    if not cfg.get('resume'):
        return None
    path = cfg.get('load_from') or find_latest_checkpoint(cfg.work_dir)
    beside = osp.join(cfg.work_dir, osp.basename(path)) if path else ''
    if path and not osp.exists(path) and osp.isfile(beside):
        cfg.load_from = path = beside
    return path


def fix_seed(cfg: Config) -> int:
    """Fix the seed of the run before anything is built.

    ``randomness.seed=None`` draws one for all ranks; a resumed run takes the seed of its checkpoint.
    """
    path = find_resume(cfg)
    randomness = dict(cfg.get('randomness') or {})
    if randomness.get('seed') is None:
        if path:
            randomness['seed'] = load_file(path).get('meta', {}).get('seed', 0)  # a file of weights is refused later
        else:
            drawn = [int.from_bytes(os.urandom(4), 'little')]
            broadcast_object_list(drawn)
            randomness['seed'] = drawn[0]
    cfg.randomness = randomness
    return randomness['seed']
