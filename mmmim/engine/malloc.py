"""How the C library hands out the memory of tensors on the CPU."""

import ctypes
import os
import platform

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
    """Keep what tensors free for the tensors to come, in large pages where the system grants them.

    A training step frees and allocates the same gigabytes again and again. glibc gives large blocks back to the system
    at once; fresh ones come as small pages, each zeroed at a page fault of its own. In a virtual machine, where faults
    are dear, this took a third of a step (`tools/analysis/README.md`). Processes started by fork inherit it. The peak
    stays what it was, but the memory remains with the process after it.

    To be called before the first tensor is made. Does nothing without glibc, where the environment has settings of
    malloc or a preloaded library, or with MMMIM_KEEP_MEMORY=0.

    Returns:
        Whether it was done.
    """
    if os.environ.get('MMMIM_KEEP_MEMORY') == '0' or any(os.environ.get(name) for name in _CHOSEN_BY_USER):
        return False
    if platform.libc_ver()[0] != 'glibc':
        return False
    os.environ.setdefault('THP_MEM_ALLOC_ENABLE', '1')  # torch reads it at its first allocation
    mallopt = ctypes.CDLL(None).mallopt
    # nothing by mmap, which is given back when it is freed; never trim the heap; grow it by 64 MiB
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1), mallopt(_TOP_PAD, 64 << 20)])
