"""Peak memory of a training step."""

import gc
import json
import resource
import subprocess
import sys
from typing import Callable, List

import torch

from .timing import synchronize

WARM_STEPS = 2  # the second has the optimizer's state beside the activations


def device_peak(make: Callable[[], Callable[[], None]], device: torch.device) -> int:
    """Bytes that the GPU's allocator handed out at most while a step was built and run, beyond what was there."""
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    _build_and_run(make)
    synchronize(device)
    peak = torch.cuda.max_memory_allocated(device) - before
    gc.collect()
    torch.cuda.empty_cache()
    return peak


def resident_peak(make: Callable[[], Callable[[], None]]) -> int:
    """Bytes by which this process's resident memory grew at most. Everything has to be imported before."""
    gc.collect()
    before = _peak_resident()
    _build_and_run(make)
    return _peak_resident() - before


def in_own_process(command: List[str]) -> int:
    """Run a command that prints ``{"peak_bytes": ...}`` as its last line: resident memory is a whole process's.

    Raises:
        RuntimeError: The command failed; the message ends with its last words.
    """
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    if done.returncode:
        if done.returncode < 0:
            raise RuntimeError(
                f'the process that measures memory was killed by signal {-done.returncode}, as happens '
                'when memory runs out: lower --batch, or leave this out by --no-memory'
            )
        raise RuntimeError(f'measuring memory failed: {done.stderr.strip()[-2000:]}')
    return json.loads(done.stdout.strip().splitlines()[-1])['peak_bytes']


def _build_and_run(make: Callable[[], Callable[[], None]]) -> None:
    step = make()
    for _ in range(WARM_STEPS):
        step()


def _peak_resident() -> int:
    """Bytes that were resident at most since the process started."""
    try:
        with open('/proc/self/status') as file:  # `ru_maxrss` begins with the size of the process that started this one
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith('VmHWM'))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == 'darwin' else peak * 1024
