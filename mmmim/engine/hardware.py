"""What a run is computed on: names for logs, reports and benchmarks; cores and memory; the memory of freed tensors."""

import ctypes
import importlib.metadata
import os
import platform
from typing import Any, Dict, Optional

import torch

from ..version import __version__
from .devices import usable_cores

# import name: distributions that may provide it
DISTRIBUTIONS = dict(
    torch=('torch',),
    torchvision=('torchvision',),
    timm=('timm',),
    numpy=('numpy',),
    mmengine=('onedl-mmengine', 'mmengine'),
    mmcv=('onedl-mmcv', 'mmcv', 'mmcv-lite'),
    mmpretrain=('onedl-mmpretrain', 'mmpretrain'),
)


def cpu_name() -> str:
    """The processor's model name, or its architecture if unknown."""
    try:
        with open('/proc/cpuinfo') as file:
            names = [line.partition(':')[2].strip() for line in file if line.startswith('model name')]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def memory_gib() -> Optional[float]:
    """Main memory in GiB, or None if unknown."""
    try:
        return round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30, 1)
    except (ValueError, OSError):
        return None


def hardware() -> Dict[str, Any]:
    """``cpu``, ``cores``, ``memory_gib``, ``gpu`` (a name or None) and ``gpus``."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return dict(
        cpu=cpu_name(),
        cores=usable_cores(),
        memory_gib=memory_gib(),
        gpu=torch.cuda.get_device_name(0) if gpus else None,
        gpus=gpus,
    )


def versions(*others: str) -> Dict[str, str]:
    """Installed versions that a result depends on; ``others`` are further distributions."""
    found = dict(mmmim=__version__, python=platform.python_version())
    for name, distributions in {**DISTRIBUTIONS, **{name: (name,) for name in others}}.items():
        for distribution in distributions:
            try:
                found[name] = importlib.metadata.version(distribution)
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    return found


# parameters of glibc's mallopt, from malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_CHOSEN_BY_USER = (
    'MALLOC_TRIM_THRESHOLD_',
    'MALLOC_MMAP_MAX_',
    'MALLOC_MMAP_THRESHOLD_',
    'GLIBC_TUNABLES',
    'LD_PRELOAD',
)


def keep_freed_memory() -> bool:
    """Keep freed memory for later tensors, in large pages where the system has them.

    A training step frees and allocates the same gigabytes again and again. glibc gives large blocks back to the system
    at once; fresh ones come as small pages, each zeroed at its own page fault. In a virtual machine, where page faults
    are expensive, this took a third of a step (`tools/benchmarks/README.md`). Processes started by fork inherit it. The
    peak is unchanged, but the process keeps the memory after it.

    Call it before the first tensor is created. Does nothing without glibc, where the environment has settings of malloc
    or a preloaded library, or with MMMIM_KEEP_MEMORY=0.

    Returns:
        Whether it was done.
    """
    if os.environ.get('MMMIM_KEEP_MEMORY') == '0' or any(os.environ.get(name) for name in _CHOSEN_BY_USER):
        return False
    if platform.libc_ver()[0] != 'glibc':
        return False
    os.environ.setdefault('THP_MEM_ALLOC_ENABLE', '1')  # torch reads it at its first allocation
    mallopt = ctypes.CDLL(None).mallopt
    # no mmap, which is returned to the system when freed; never trim the heap; grow it by 64 MiB
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1), mallopt(_TOP_PAD, 64 << 20)])
