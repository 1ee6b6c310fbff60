"""Shared memory of loading workers: what they need, what there is, how many of them fit.

A worker hands its batches over in shared memory, files in /dev/shm, by either of torch's sharing strategies. Docker
gives a container 64 MiB of it; a worker that finds no more dies of a bus error. Standard library only, for the doctor.
"""

import math
import shutil
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

FOLDER = '/dev/shm'
SHARE = 0.9  # of what is free; the rest is for other tensors of the run


class Load(NamedTuple):
    """What the workers of a loader hold at once in one process of a run.

    Attributes:
        name: Of the loader.
        workers: Its processes.
        prefetch: Batches that each of them keeps ready.
        batch_bytes: Bytes of the tensors of one batch: samples x views x channels x height x width, for uint8.
    """

    name: str
    workers: int
    prefetch: int
    batch_bytes: int

    @property
    def bytes(self) -> int:
        return self.workers * self.prefetch * self.batch_bytes


def needed(loads: List[Load], processes: int = 1) -> int:
    """Bytes of shared memory for the loaders of a run that live at once, in all its processes on a machine."""
    return sum(load.bytes for load in loads) * processes


def free_bytes(folder: str = FOLDER, group: str = '/sys/fs/cgroup', meminfo: str = '/proc/meminfo') -> Optional[int]:
    """Bytes of shared memory that can be had here; None where there is no such limit (not Linux).

    It is memory, so what the machine has free and what a container's control group may still take are limits, too.

    Raises:
        FileNotFoundError: There is no shared memory.
    """
    if sys.platform != 'linux':
        return None
    free = shutil.disk_usage(folder).free
    available = _fields(Path(meminfo)).get('MemAvailable:')
    limits = [] if available is None else [available * 1024]  # it is in KiB
    try:
        limit = int((Path(group) / 'memory.max').read_text())
        used = _fields(Path(group) / 'memory.stat')
        limits.append(max(0, limit - used.get('anon', 0) - used.get('shmem', 0)))  # files that are cached give way
    except (OSError, ValueError):  # none, or 'max'
        pass
    return min([free, *limits])


def _fields(path: Path) -> Dict[str, int]:
    """The first number of each line ``NAME NUMBER ...``."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}


def fitted(loads: List[Load], room: int) -> List[Load]:
    """The loaders with so many workers that they need at most ``room`` bytes; at least one, then a single batch each.

    All lose the same share, in whole workers. What is returned may still be too much.
    """
    total = needed(loads)
    if total <= room:
        return loads
    share = room / total
    fewer = [load._replace(workers=min(load.workers, max(1, math.floor(load.workers * share)))) for load in loads]
    if needed(fewer) > room:
        fewer = [load._replace(prefetch=min(load.prefetch, 1)) for load in fewer]
    return fewer


def gib(size: float) -> str:
    """Bytes in words."""
    return f'{size / 2**30:.1f} GiB' if size >= 0.95 * 2**30 else f'{math.ceil(size / 2**20)} MiB'


def option(size: float) -> str:
    """Docker's option for so many bytes, with the room that is kept free."""
    return f'--shm-size={math.ceil(size / SHARE / 2**30)}g'


# what `mmmim doctor` reckons with where it knows no config: CMAE's on ImageNet, the one that needs most: two views of
# 3 x 224 x 224 bytes, 512 images a process
LARGEST = Load('training', 4, 2, 512 * 2 * 3 * 224 * 224)
