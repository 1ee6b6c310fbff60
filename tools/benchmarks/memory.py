"""Peak memory of a training step."""

import gc
import json
import os
import resource
import subprocess
import sys
from typing import Any, Callable, List

import torch

from timing import synchronize

WARM_STEPS = 2  # before memory is read; the second has the optimizer's state beside the activations
MEMORY = {'cuda': 'peak of the GPU allocator', 'cpu': 'growth of the resident memory of a process of its own'}
Build = Callable[[], Callable[[], Any]]  # builds a step, which is then run


def peak_memory(build: Build, device: torch.device, name: str) -> int:
    """Bytes that a step needs at most.

    Without a GPU the script that runs is started once more, with ``--memory-of NAME``, see :func:`report_peak`.
    """
    if device.type == 'cuda':
        return device_peak(build, device)
    return in_own_process([os.path.abspath(sys.argv[0]), *sys.argv[1:], '--memory-of', name])


def report_peak(build: Build) -> None:
    """What a process that was started to measure its memory prints."""
    print(json.dumps(dict(peak_bytes=resident_peak(build))))


def device_peak(build: Build, device: torch.device) -> int:
    """Bytes that the GPU's allocator handed out at most while a step was built and run, beyond what was there."""
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    _build_and_run(build)
    synchronize(device)
    peak = torch.cuda.max_memory_allocated(device) - before
    gc.collect()
    torch.cuda.empty_cache()
    return peak


def resident_peak(build: Build) -> int:
    """Bytes by which this process's resident memory grew at most. Everything has to be imported before."""
    gc.collect()
    before = _peak_resident()
    _build_and_run(build)
    return _peak_resident() - before


def in_own_process(command: List[str]) -> int:
    """Run a command that prints ``{"peak_bytes": ...}`` as its last line: resident memory is a whole process's.

    Raises:
        RuntimeError: The command failed; the message ends with its last words.
    """
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    if done.returncode < 0:
        raise RuntimeError(
            f'the process that measures memory was killed by signal {-done.returncode}, as happens '
            'when memory runs out: lower --batch, or leave this out by --no-memory'
        )
    if done.returncode:
        raise RuntimeError(f'measuring memory failed: {done.stderr.strip()[-2000:]}')
    return json.loads(done.stdout.strip().splitlines()[-1])['peak_bytes']


def _build_and_run(build: Build) -> None:
    step = build()
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
