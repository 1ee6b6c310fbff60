"""The process group of a run: set-up, agreement between ranks, and exit without teardown crashes."""

import atexit
import os
import sys
import time
from contextlib import contextmanager
from typing import Iterator, List, Sequence

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import init_dist

from .devices import DeviceError, check_processes, processes_here, threads_for


def set_up_processes(launcher: str, cfg: Config) -> None:
    """Initialise the process group; without an accelerator through gloo, which MMEngine does not support.

    Also splits the cores of a machine without accelerator among its processes (torchrun would give one to each).

    Raises:
        DeviceError: More processes than this machine has devices for, see ``check_processes``.
    """
    if launcher == 'none':
        return
    processes = processes_here(launcher)
    try:
        check_processes(launcher, processes)
    except DeviceError:
        if any(os.environ.get(name, '0') != '0' for name in ('LOCAL_RANK', 'SLURM_LOCALID')):
            time.sleep(20)  # the first process says it, and the launcher then ends this one
        raise
    dist_cfg = dict(cfg.get('env_cfg', {}).get('dist_cfg', {}))
    if launcher == 'slurm':  # jobs that share a node need different ports
        os.environ.setdefault('MASTER_PORT', str(20000 + int(os.environ.get('SLURM_JOB_ID', 0)) % 20000))
    if torch.cuda.is_available():
        dist_cfg.setdefault('backend', 'nccl')
        init_dist(launcher, **dist_cfg)
        return
    if launcher == 'slurm':
        _slurm_environment()
    elif launcher != 'pytorch':
        raise ValueError(f"launcher='{launcher}' needs an accelerator; on the CPU use 'pytorch' or 'slurm'")
    dist.init_process_group('gloo')
    torch.set_num_threads(threads_for(launcher, processes))


def _slurm_environment() -> None:
    """Translate slurm's variables into those of torch.distributed."""
    nodes = os.environ['SLURM_NODELIST']
    os.environ.setdefault('MASTER_ADDR', os.popen(f"scontrol show hostname '{nodes}' | head -n1").read().strip())
    os.environ.update(
        RANK=os.environ['SLURM_PROCID'],
        WORLD_SIZE=os.environ['SLURM_NTASKS'],
        LOCAL_RANK=os.environ.get('SLURM_LOCALID', '0'),
        LOCAL_WORLD_SIZE=str(processes_here('slurm')),
    )


class HostChannel:
    """Sums small integers over all ranks through gloo (all-reduce), without waiting for a device.

    Build it on all ranks at the same point of the program: it may open a process group.
    """

    def __init__(self) -> None:
        self.active = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self.group = None
        if self.active and dist.get_backend() != 'gloo':
            self.group = dist.new_group(backend='gloo')

    def sum(self, values: Sequence[int]) -> List[int]:
        """The sum of each value over the ranks, on all ranks."""
        if not self.active:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.int64)
        dist.all_reduce(tensor, group=self.group)
        return tensor.tolist()


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Exit distributed processes without NCCL/gloo teardown crashes; wraps a tool's main function.

    A thread of the collective operations may still hold a tensor after the operation has finished. If it releases the
    tensor during interpreter shutdown, the process aborts ("terminate called without an active exception"), and a
    launcher reports a failure although all was saved. ``destroy_process_group`` does not end these threads as long as a
    wrapped model refers to the group. So this runs the exit functions and flushes the output, then exits without
    interpreter shutdown. The exit code is the same; a single process, or one with an unexpected error, ends as usual.
    """
    status = 0
    try:
        yield
    except SystemExit as end:
        if not dist.is_initialized():
            raise
        status = end.code
    if not dist.is_initialized():
        return
    if status is None:
        status = 0
    elif not isinstance(status, int):  # a message, as in sys.exit
        print(status, file=sys.stderr)
        status = 1
    if status == 0:  # after an error another rank may be waiting for this one
        dist.destroy_process_group()
    atexit._run_exitfuncs()  # also ends the loading workers
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # a closed pipe
            pass
    os._exit(status)
