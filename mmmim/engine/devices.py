"""The cores and GPUs of this machine, and how many processes of a run they take.

    python mmmim/engine/devices.py PROCESSES [ARGUMENTS OF THE RUN]

is what tools/dist_launch.sh asks first: it prints why so many are refused and ends with 2, or with 0. So nothing else
of mmmim is imported here, and torch only where it is needed.
"""

import os
import re
import sys
from pathlib import Path
from typing import List, Optional

CPU_ASKED = 'MMMIM_CPU'  # set by --cpu and --device cpu: the run may use the CPU, with any number of processes
GROUP = Path('/sys/fs/cgroup')


class DeviceError(ValueError):
    """This machine has too few devices for the processes of a run."""


def usable_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has: affinity, a container's share."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return max(1, min(cores, int(_share_of_container() or cores)))


def _share_of_container() -> Optional[float]:
    """How many cores a control group (version 2) may use, such as 2.0; None without a limit."""
    try:
        quota, period = (GROUP / 'cpu.max').read_text().split()
        return None if quota == 'max' else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def usable_gpus() -> int:
    """GPUs that this process sees."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def why_no_gpu() -> str:
    """Why torch finds no GPU, as far as can be told; the words go on after 'no GPU is used: '."""
    import torch

    if os.environ.get(CPU_ASKED):
        return 'the CPU was asked for, by --cpu or --device cpu'
    if not has_nvidia_driver():
        return 'this machine has no NVIDIA driver'
    if torch.version.cuda is None:
        return f'torch {torch.__version__} is built for the CPU; for the NVIDIA driver here see `mmmim doctor`'
    hidden = os.environ.get('CUDA_VISIBLE_DEVICES')
    if hidden is not None and (not hidden.strip() or hidden.strip().startswith('-')):
        return f'CUDA_VISIBLE_DEVICES={hidden!r} hides them'
    return f'torch {torch.__version__} finds none beside an NVIDIA driver: `mmmim doctor` says why'


def has_nvidia_driver() -> bool:
    """Whether the system has loaded NVIDIA's driver."""
    return any(map(os.path.exists, ('/proc/driver/nvidia/version', '/dev/nvidiactl', '/dev/dxg')))


def processes_here(launcher: str) -> int:
    """Processes of the run on this machine, by the launcher's variables; the whole run may have more."""
    if launcher == 'slurm':
        shown = os.environ.get('SLURM_STEP_TASKS_PER_NODE') or os.environ.get('SLURM_NTASKS_PER_NODE') or '1'
        counts = _expanded(shown)  # of each machine
        return counts[min(int(os.environ.get('SLURM_NODEID') or 0), len(counts) - 1)]
    return int(os.environ.get('OMPI_COMM_WORLD_LOCAL_SIZE' if launcher == 'mpi' else 'LOCAL_WORLD_SIZE') or 1)


def _expanded(shown: str) -> List[int]:
    """``2(x3),1`` as ``[2, 2, 2, 1]``."""
    found = re.findall(r'(\d+)(?:\(x(\d+)\))?', shown)
    return [int(count) for count, times in found for _ in range(int(times or 1))] or [1]


def cores_here(launcher: str) -> int:
    """Cores of all processes of the run on this machine: slurm may give each process some of its own."""
    shown = os.environ.get('SLURM_CPUS_ON_NODE', '') if launcher == 'slurm' else ''
    return max(usable_cores(), int(shown) if shown.isdigit() else 0)


def check_processes(launcher: str, processes: int) -> None:
    """Check that there is a GPU, or without any GPU a core, for each process on this machine.

    Args:
        launcher: ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        processes: On this machine.

    Raises:
        DeviceError: There is not. Without a GPU ``--cpu`` allows any number.
    """
    gpus, cores = usable_gpus(), cores_here(launcher)
    if launcher == 'slurm' and gpus:  # a process may see its own GPU alone
        shown = os.environ.get('SLURM_GPUS_ON_NODE', '')
        gpus = max(gpus, int(shown)) if shown.isdigit() else processes
    if gpus and processes > gpus:
        raise DeviceError(
            f'{processes} processes were started on this machine, which has {gpus} GPU{"s" * (gpus > 1)} for them '
            f'(CUDA_VISIBLE_DEVICES={os.environ.get("CUDA_VISIBLE_DEVICES", "not set")}): start {gpus}; the batch of '
            'each grows, total_batch_size stays'
        )
    if not gpus and processes > cores and not os.environ.get(CPU_ASKED):
        raise DeviceError(
            f'no GPU is used ({why_no_gpu()}), and {processes} processes are too many for the {cores} CPU '
            f'core{"s" * (cores > 1)} here: start at most {cores}, or give --cpu to start them all the same'
        )


def threads_for(launcher: str, processes: int) -> int:
    """CPU threads of each of the processes on this machine."""
    return max(1, min(usable_cores(), cores_here(launcher) // processes))


def main(arguments: List[str]) -> int:
    """See the module's docstring."""
    processes = int(arguments[0])
    cpu_asked = (
        '--cpu' in arguments or '--device=cpu' in arguments or ('--device', 'cpu') in zip(arguments, arguments[1:])
    )
    if processes <= usable_cores() or cpu_asked:  # a lack of GPUs is found when they are used
        return 0
    try:
        check_processes('pytorch', processes)
    except DeviceError as error:
        print(f'dist_launch: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
