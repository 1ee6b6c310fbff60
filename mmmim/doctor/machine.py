"""What the machine offers: Python, cores, memory, disk, shared memory, locale, and a GPU's driver."""

import locale
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from ..shared_memory import FOLDER, LARGEST, SHARE, free_bytes, gib, needed, option
from .findings import Gpu, Remedies, setup
from .installed import Row, short


def machine_rows(remedies: Remedies, gpus: int = 0) -> list[Row]:
    rows = [python_row(remedies), packages_row(remedies), cores_row(), disk_row(), shared_memory_row(gpus)]
    return [*rows, locale_row()]


def row(name: str, status: str, detail: str, *mend: str) -> Row:
    return Row('machine', name, status, detail, mend)


def python_row(remedies: Remedies) -> Row:
    detail, mend = f'{sys.version.split()[0]}, {short(sys.executable)}', remedies.own_environment()
    if sys.version_info[:2] > (3, 13):
        cure = setup('PYTHON=/path/to/python3.11 ')
        return row('Python', 'broken', f'{detail}; mmmim needs 3.10, 3.11, 3.12 or 3.13', cure)
    why = 'it has no pip' if 'ensurepip' in mend else 'it belongs to the system, and pip may not install into it'
    return row('Python', 'note', f'{detail}; {why}', mend) if mend else row('Python', 'ok', detail)


def packages_row(remedies: Remedies) -> Row:
    """Find metadata without a list of files: pip was killed while installing, and takes the package for complete."""
    found = Path(sysconfig.get_path('purelib')).glob('*.dist-info')
    torn = sorted(folder for folder in found if not (folder / 'RECORD').exists())
    names = [folder.name.partition('-')[0] for folder in torn]
    if not torn or sys.prefix == sys.base_prefix:  # a system's own packages may come without it
        return row('packages', 'ok', f'{len(remedies.installed)} installed')
    remove = f'rm -r {" ".join(short(str(folder)) for folder in torn)}'
    again = remedies.pip(*names, options='--force-reinstall --no-deps')
    return row('packages', 'broken', f'half installed, as pip was stopped: {", ".join(names)}', remove, again)


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def text_of(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else ''


def cores_row(group: Path = Path('/sys/fs/cgroup')) -> Row:
    """With the limits of a container's control group."""
    cores, limit, quota = usable_cores(), text_of(group / 'memory.max'), text_of(group / 'cpu.max').split()
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    words = f'{(min(memory, int(limit)) if limit.isdigit() else memory) / 2**30:.0f} GiB of memory'
    share = int(quota[0]) / int(quota[1]) if quota and quota[0].isdigit() else cores
    if share >= cores:
        return row('cores', 'ok', f'{cores} usable, {words}')
    cure = f'export OMP_NUM_THREADS={max(1, int(share))}    # and num_workers likewise'
    return row('cores', 'note', f'{cores} visible, of which this container may use {share:g}; {words}', cure)


def disk_row() -> Row:
    """Room for work dirs (here) and for temporary files."""
    try:
        temporary = tempfile.gettempdir()
        free = [shutil.disk_usage(folder).free / 2**30 for folder in (os.getcwd(), temporary)]
    except OSError as error:
        return row('disk', 'broken', str(error), 'export TMPDIR=/a/folder/with/space')
    detail = f'{free[0]:.1f} GiB free here, {free[1]:.1f} GiB in {temporary}'
    if min(free) >= 2:  # a checkpoint of ViT-B with its optimizer takes 1.3 GiB, and is written beside the old one
        return row('disk', 'ok', detail)
    cure = 'df -h .    # make room, or let --work-dir or TMPDIR name another disk'
    return row('disk', 'note', f'{detail}: little for checkpoints', cure)


def shared_memory_row(gpus: int = 0, folder: str = FOLDER) -> Row:
    """Loading workers hand their batches over in shared memory; runs on GPUs have large batches."""
    need = max(needed([LARGEST], gpus), 2**29 * SHARE)
    cure = f'docker run {option(need)} ...'
    try:
        free = free_bytes(folder)
    except OSError:
        detail = f'there is no {folder}, in which loading workers hand their batches over'
        without = 'train_dataloader.num_workers=0 train_dataloader.persistent_workers=False'
        return row('shared memory', 'note', detail, f'{cure}    # or, for a run: --cfg-options {without}')
    if free is None:
        return row('shared memory', 'ok', 'without a limit of its own')
    if free * SHARE >= need:
        return row('shared memory', 'ok', f'{gib(free)} free in {folder}')
    example = (
        f"CMAE's ImageNet config takes {gib(needed([LARGEST], max(1, gpus)))} on {max(1, gpus)} GPU{'s' * (gpus > 1)}"
    )
    detail = (
        f'{gib(free)} free in {folder}: runs lower their loading workers to it. They need workers x 2 x bytes of a '
        f'batch x processes; {example}'
    )
    return row('shared memory', 'note', detail, cure)


def locale_row() -> Row:
    try:
        locale.setlocale(locale.LC_ALL, '')
        encoding = locale.getpreferredencoding(False)
    except locale.Error:
        encoding = 'what LC_ALL or LANG names is not installed'
    if encoding.lower() in ('utf-8', 'utf8'):
        return row('locale', 'ok', encoding)
    return row('locale', 'note', f'{encoding}: other letters in file names are errors', 'export LC_ALL=C.UTF-8')


def find_gpu() -> Gpu:
    """Find the GPUs by nvidia-smi; without it, by the list of devices."""
    try:
        shown = subprocess.run(['nvidia-smi', '-q'], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        shown = ''
    names, cuda = re.findall(r'Product Name\s*: (.+)', shown), re.search(r'CUDA Version\s*: ([\d.]+)', shown)
    return Gpu(bool(names) or has_nvidia_device(), tuple(names), cuda[1] if cuda else '')


def has_nvidia_device(folder: str = '/sys/bus/pci/devices') -> bool:
    """A display or compute device of NVIDIA's, with or without a driver."""
    devices = Path(folder).glob('*')
    return any(text_of(d / 'vendor') == '0x10de' and text_of(d / 'class').startswith('0x03') for d in devices)
