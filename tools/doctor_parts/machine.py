"""What the machine offers: Python, cores, memory, disk, shared memory, locale, and a GPU's driver."""

import locale
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from typing import List, NamedTuple, Optional, Tuple

from . import place
from .remedies import Remedies


class Row(NamedTuple):
    """A line of the table.

    Attributes:
        group: ``machine``, ``installed`` or ``works``.
        status: ``ok``; ``note`` (works, but worth knowing); ``broken``; ``absent`` (not installed, or not there).
        mend: Commands, in order.
        purpose: What it is needed for, where it is absent.
        trace: All that a failed probe said.
    """

    group: str
    name: str
    status: str
    detail: str = ''
    mend: Tuple[str, ...] = ()
    installed: str = ''
    tested: str = ''
    purpose: str = ''
    trace: str = ''


def machine_rows(remedies: Remedies, gpu: 'Gpu') -> List[Row]:
    return [python_row(remedies), cores_row(), disk_row(), shared_memory_row(), locale_row(), driver_row(gpu)]


def python_row(remedies: Remedies) -> Row:
    version, where = platform.python_version(), place.short(sys.executable)
    mend = remedies.own_environment()
    if mend and 'ensurepip' in mend[0]:
        return Row('machine', 'Python', 'note', f'{version}, {where}; it has no pip', tuple(mend))
    if mend:
        return Row(
            'machine',
            'Python',
            'note',
            f'{version}, {where}; it belongs to the system, and pip may not install into it',
            tuple(mend),
        )
    if sys.version_info[:2] > (3, 12):
        return Row(
            'machine',
            'Python',
            'broken',
            f'{version}, {where}; mmmim needs 3.10, 3.11 or 3.12',
            tuple(remedies.another_python()),
        )
    return Row('machine', 'Python', 'ok', f'{version}, {where}')


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def cores_row() -> Row:
    cores, quota = usable_cores(), cpu_quota()
    memory = f', {memory_gib():.0f} GiB of memory' if memory_gib() else ''
    if quota and quota < cores:
        return Row(
            'machine',
            'cores',
            'note',
            f'{cores} visible, of which this container may use {quota:g}{memory}: '
            'set OMP_NUM_THREADS and num_workers by that',
            (f'export OMP_NUM_THREADS={max(1, int(quota))}',),
        )
    if cores == 1:
        return Row('machine', 'cores', 'note', f'1 usable{memory}: loading images and training take turns')
    return Row('machine', 'cores', 'ok', f'{cores} usable{memory}')


def cpu_quota() -> Optional[float]:
    """The CPU time that a container's control group allows, in cores; None without a limit."""
    try:
        with open('/sys/fs/cgroup/cpu.max') as file:
            quota, period = file.read().split()
        return None if quota == 'max' else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def memory_gib() -> Optional[float]:
    amounts = []
    try:
        amounts.append(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'))
        with open('/sys/fs/cgroup/memory.max') as file:
            amounts.append(int(file.read()))  # 'max' is a ValueError
    except (OSError, ValueError):
        pass
    return min(amounts) / 2**30 if amounts else None


def disk_row() -> Row:
    """Room for work dirs (here) and for temporary files."""
    try:
        folders = {'here': os.getcwd() if os.path.isdir(os.curdir) else place.ROOT, 'temporary': tempfile.gettempdir()}
    except OSError as error:
        return Row('machine', 'disk', 'broken', str(error), ('export TMPDIR=/a/folder/with/space',))
    free = {name: shutil.disk_usage(folder).free / 2**30 for name, folder in folders.items()}
    detail = f'{free["here"]:.1f} GiB free here, {free["temporary"]:.1f} GiB in {folders["temporary"]}'
    if min(free.values()) < 2:  # a checkpoint of ViT-B with its optimizer takes 1.3 GiB, and is written beside the old
        return Row(
            'machine',
            'disk',
            'note',
            detail + ': little for checkpoints',
            (f'df -h {place.short(folders["here"])}    # make room, or let --work-dir or TMPDIR name another disk',),
        )
    return Row('machine', 'disk', 'ok', detail)


def shared_memory_row(folder: str = '/dev/shm') -> Row:
    """Loading workers hand their batches over in shared memory."""
    if not os.path.isdir(folder):
        return Row('machine', 'shared memory', 'ok', f'this system has no {folder}')
    usage = shutil.disk_usage(folder)
    detail = f'{usage.free / 2**30:.2f} of {usage.total / 2**30:.2f} GiB free in {folder}'
    if usage.free < 2**29:
        return Row(
            'machine',
            'shared memory',
            'note',
            detail + ': loading workers may die of it ("bus error")',
            (
                'docker run --shm-size=8g ...    # or, for a run: --cfg-options train_dataloader.num_workers=0 '
                'train_dataloader.persistent_workers=False',
            ),
        )
    return Row('machine', 'shared memory', 'ok', detail)


def locale_row() -> Row:
    mend = ('export LC_ALL=C.UTF-8',)
    try:
        locale.setlocale(locale.LC_ALL, '')
    except locale.Error:
        named = os.environ.get('LC_ALL') or os.environ.get('LC_CTYPE') or os.environ.get('LANG')
        return Row('machine', 'locale', 'note', f'{named} is not installed on this system', mend)
    encodings = {sys.getfilesystemencoding().lower(), locale.getpreferredencoding(False).lower()}
    if encodings - {'utf-8', 'utf8'}:
        return Row(
            'machine',
            'locale',
            'note',
            f'{" and ".join(sorted(encodings))}: file names with other letters cannot be read',
            mend,
        )
    return Row('machine', 'locale', 'ok', 'UTF-8')


class Driver(NamedTuple):
    """An NVIDIA driver: the GPUs it names, and the newest CUDA release that it runs."""

    gpus: Tuple[str, ...]
    cuda: str


class Gpu(NamedTuple):
    driver: Optional[Driver]
    present: bool  # with or without a driver


def find_gpu() -> Gpu:
    driver = nvidia_driver()
    return Gpu(driver, driver is not None or has_nvidia_device())


def nvidia_driver() -> Optional[Driver]:
    """What nvidia-smi says; None where it is absent or sees no GPU."""
    tool = shutil.which('nvidia-smi')
    if not tool:
        return None
    try:
        listed = subprocess.run([tool, '-L'], capture_output=True, text=True, timeout=30)
        shown = subprocess.run([tool], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    gpus = tuple(re.findall(r'^GPU \d+: (.+?)(?: \(UUID.*)?$', listed.stdout, re.MULTILINE))
    cuda = re.search(r'CUDA Version:\s*([\d.]+)', shown.stdout)
    return Driver(gpus, cuda[1] if cuda else '') if gpus else None


def has_nvidia_device(folder: str = '/sys/bus/pci/devices') -> bool:
    """Whether the machine has an NVIDIA display or compute device, with or without a driver."""
    try:
        devices = os.listdir(folder)
    except OSError:
        return False
    for device in devices:
        try:
            with (
                open(os.path.join(folder, device, 'vendor')) as vendor,
                open(os.path.join(folder, device, 'class')) as kind,
            ):
                if vendor.read().strip() == '0x10de' and kind.read().startswith('0x03'):
                    return True
        except OSError:
            continue
    return False


def driver_row(gpu: Gpu) -> Row:
    driver = gpu.driver
    if driver:
        return Row(
            'machine',
            'NVIDIA driver',
            'ok',
            f'{len(driver.gpus)} x {driver.gpus[0]}, up to CUDA {driver.cuda or "(unknown)"}',
        )
    if gpu.present:
        return Row(
            'machine',
            'NVIDIA driver',
            'broken',
            'the machine has an NVIDIA GPU that nvidia-smi does not show',
            (
                'nvidia-smi    # install or reload the driver until this shows the GPU; in a container: '
                'docker run --gpus all ...',
            ),
        )
    return Row('machine', 'NVIDIA driver', 'absent', 'no NVIDIA GPU: everything runs on the CPU')
