"""The config that a run writes to its work dir: what was stated, with what followed from it as comments."""

import copy
import os.path as osp
from typing import Any, Iterable

from mmengine.config import Config

from ..checkpoint import atomic_write_text
from .derived import Derived, comments
from .images import leave_out_images

# keys that a run finds in its data where they are None
_FOUND = ('classes', 'num_classes')


def write_as_run(runner: Any, before: Config, derived: Iterable[Derived]) -> None:
    """Write the config of a run over the one that MMEngine has written, which holds every derived value.

    It runs again with any number of processes: batch, accumulation, rate and lengths are comments in it, and how
    images are read is said at its top alone. Class names and their number, where the run found them in its data, are
    stated.

    Args:
        runner: The built runner.
        before: The config before anything was derived.
        derived: What was.
    """
    path = osp.join(runner.work_dir, osp.basename(runner.cfg.filename or f'{runner.timestamp}.py'))
    if runner.rank != 0 or not osp.isfile(path):
        return
    for key in _FOUND:
        if key in before and before[key] is None and runner.cfg.get(key) is not None:
            before[key] = copy.deepcopy(runner.cfg[key])
    leave_out_images(before)
    if path.endswith('.py'):
        atomic_write_text(path, comments(derived, runner.world_size) + before.pretty_text)
    else:
        before.dump(path)
