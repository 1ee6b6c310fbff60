"""What a run is computed on, in words for logs, reports and benchmarks."""

import importlib.metadata
import os
import platform
from typing import Any, Dict, Optional

import torch

from ..version import __version__

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
    """The processor's model name, or its architecture where the system does not tell."""
    try:
        with open('/proc/cpuinfo') as file:
            names = [line.partition(':')[2].strip() for line in file if line.startswith('model name')]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def memory_gib() -> Optional[float]:
    """Main memory in GiB, or None where the system does not tell."""
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
    """Installed versions of what a result depends on; ``others`` are further distributions to look for."""
    found = dict(mmmim=__version__, python=platform.python_version())
    for name, distributions in {**DISTRIBUTIONS, **{name: (name,) for name in others}}.items():
        for distribution in distributions:
            try:
                found[name] = importlib.metadata.version(distribution)
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    return found
