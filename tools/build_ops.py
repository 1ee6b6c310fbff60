"""Compile mmcv's ops for the torch of this Python and install them: what detection needs, and nothing else does.

    python tools/build_ops.py

Compiling takes 5 to 10 minutes on 2 cores. The wheel is kept in the user's cache ($XDG_CACHE_HOME or ~/.cache, in
mmmim/mmcv-ops) by the releases of Python, torch and mmcv, the machine and, where there is one, the GPU's generation:
the next environment takes it from there. MAX_JOBS limits how many compilers run at once. Needs a C++ compiler, the
headers of Python, and the modules ninja, setuptools and wheel; `bash tools/setup_env.sh detection` checks and installs
all of it before it calls this.
"""

import contextlib
import importlib.util
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional

HERE = os.path.dirname(os.path.abspath(__file__))
if HERE not in sys.path:  # with PYTHONSAFEPATH
    sys.path.insert(0, HERE)

from doctor_parts import compiled_ops, distributions, machine, place, processes  # noqa: E402
from doctor_parts.remedies import Remedies  # noqa: E402
from doctor_parts.wheel_cache import alone, cache_folder, find_wheel, is_whole, keep, say  # noqa: E402

COMPILER_GIB = 2  # that the largest of mmcv's files takes to compile
PROBE_LIMIT = 120  # seconds; a cold disk or a network disk is slow

# what compilers, pip and torch say, and what to do about it; the particular before the general
CAUSES = (
    (
        r'No space left on device|Disk quota exceeded|Errno 28',
        'the disk is full: make room, or export TMPDIR=/a/folder/with/more/space (about 500 MB)',
    ),
    (
        r'Killed|cannot allocate memory|virtual memory exhausted|out of memory',
        'there is too little memory for that many compilers at once: export MAX_JOBS=1',
    ),
    (r'Python\.h', 'the headers of Python are missing: install python{python}-dev'),
    (
        r'CUDA version .* mismatches|CUDA_HOME|nvcc',
        'the CUDA toolkit is missing or is not the release that torch was '
        'built with: install that one and export CUDA_HOME, or compile for the CPU alone with CUDA_VISIBLE_DEVICES= ',
    ),
    (
        r'[cg]\+\+.*(not found|No such file)|/bin/sh: .*not found|No working C\+\+ compiler',
        'there is no C++ compiler: install g++ (CXX names another)',
    ),
    (
        r'onnection|name resolution|timed out|[Pp]roxy|certificate|No matching distribution',
        'the package index did not answer: connect, or point pip to a mirror (pip config set global.index-url ...)',
    ),
)


class CannotBuild(Exception):
    """Why there are no ops, in words for the user."""


class Target(NamedTuple):
    """What ops are compiled for.

    Attributes:
        mmcv: Release of mmcv.
        torch: Release of torch with its local part, such as ``2.11.0+cu130``.
        gpu: Generations of the GPUs, such as ``9.0`` or ``8.0_9.0``; empty: for the CPU alone.
    """

    mmcv: str
    torch: str
    gpu: str = ''

    @property
    def key(self) -> str:
        """The cache's folder for such a wheel."""
        where = f'{platform.system().lower()}-{platform.machine()}' + (f'-cuda{self.gpu}' if self.gpu else '')
        return f'mmcv{self.mmcv}-{sys.implementation.cache_tag}-torch{self.torch}-{where}'


def find_target() -> Target:
    """For the torch that this Python imports, and the GPUs that it sees."""
    check_installed('torch')
    mmcv = distributions.pinned_versions().get('onedl-mmcv')
    if not mmcv:
        raise CannotBuild(f'{place.REQUIREMENTS}/constraints.txt does not say which onedl-mmcv was tested')
    import torch

    gpu = ''
    if torch.cuda.is_available() or os.environ.get('FORCE_CUDA') == '1':
        found = {torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
        gpu = os.environ.get('TORCH_CUDA_ARCH_LIST') or '_'.join(f'{a}.{b}' for a, b in sorted(found)) or 'all'
        gpu = re.sub(r'[^\w.+]+', '_', gpu)
    return Target(mmcv, torch.__version__, gpu)


def check_installed(*names: str) -> None:
    missing = [
        name
        for name in names
        if not (shutil.which(name, path=search_path()) if name == 'ninja' else importlib.util.find_spec(name))
    ]
    if missing:
        raise CannotBuild(f'{" and ".join(missing)} must be installed first: {Remedies({}, {}).pip(*missing)}')


def search_path() -> str:
    """PATH with this Python's own programs first: torch looks for ninja there."""
    return os.pathsep.join([sysconfig.get_path('scripts'), os.environ.get('PATH', os.defpath)])


# ---- building ----


class Progress:
    """``31 of 78 files compiled``: a line that is rewritten on a terminal, else one every ``interval`` seconds."""

    def __init__(self, log: Path, interval: float = 30, clock: Callable[[], float] = time.monotonic) -> None:
        self.log, self.interval, self.clock = log, interval, clock
        self.start = self.shown = clock()
        self.terminal = sys.stdout.isatty()

    def show(self) -> None:
        now = self.clock()
        if not self.terminal and now - self.shown < self.interval:
            return
        self.shown = now
        done = self.compiled()
        words = f'{done[0]} of {done[1]} files compiled' if done else 'preparing'
        line = f'[setup] mmcv ops: {words}, {(now - self.start) / 60:.0f} min'
        print(f'\r\033[K{line}' if self.terminal else line, end='' if self.terminal else '\n', flush=True)

    def compiled(self) -> Optional[List[str]]:
        """Done and all, from ninja's last ``[31/78]``."""
        with open(self.log, 'rb') as file:
            file.seek(max(0, os.stat(self.log).st_size - 2**17))  # a line of ninja's holds a whole command
            found = re.findall(r'^\s*\[(\d+)/(\d+)\] ', file.read().decode(errors='replace'), re.MULTILINE)
        return list(found[-1]) if found else None

    def close(self) -> None:
        if self.terminal:
            print('\r\033[K', end='', flush=True)


def compilers() -> int:
    """How many may run at once: one for each core, as far as the memory goes."""
    cores = min(machine.usable_cores(), machine.cpu_quota() or float('inf'))
    memory = [machine.memory_gib() or COMPILER_GIB]
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open('/proc/meminfo') as file:
            memory += [int(line.split()[1]) / 2**20 for line in file if line.startswith('MemAvailable:')]
    return max(1, int(min(cores, min(memory) // COMPILER_GIB)))


def build(target: Target, folder: Path, log: Path) -> Path:
    """Compile a wheel in ``folder``, which is removed by the caller; what pip says goes to ``log``."""
    check_installed('ninja', 'setuptools', 'wheel')
    env = {**os.environ, 'MMCV_WITH_OPS': '1', 'TMPDIR': str(folder), 'PATH': search_path()}
    env.setdefault('MAX_JOBS', str(compilers()))
    for flags in ('CFLAGS', 'CXXFLAGS'):  # Python's own flags ask for debug symbols, which take 70% of the time
        env[flags] = (env.get(flags, '') + ' -g0').strip()
    say(
        f'mmcv ops: compiling for torch {target.torch}, {"GPU " + target.gpu if target.gpu else "CPU"}, '
        f'MAX_JOBS={env["MAX_JOBS"]}; 5 to 10 minutes on 2 cores, once'
    )
    # the source distribution whatever else an index has, and no wheel of pip's cache: it may be another torch's
    command = [
        sys.executable,
        '-m',
        'pip',
        'wheel',
        '-v',
        '--no-input',
        '--no-build-isolation',
        '--no-cache-dir',
        '--no-deps',
        '--no-binary',
        'onedl-mmcv',
        f'onedl-mmcv=={target.mmcv}',
        '-w',
        str(folder),
    ]
    with open(log, 'wb') as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )
        progress = Progress(log)
        try:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1)
                progress.show()
        finally:
            end(process)
            progress.close()
    wheels = [wheel for wheel in folder.glob('*.whl') if is_whole(wheel)]
    if process.returncode or not wheels:
        raise CannotBuild(explain(log, process.returncode))
    say(f'mmcv ops: compiled in {(time.monotonic() - progress.start) / 60:.0f} min')
    return wheels[0]


def end(process: subprocess.Popen) -> None:
    """End pip and what it started; ninja gives compilers groups of their own, and ends them when it is asked to."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        for _ in range(100):
            process.poll()
            os.killpg(process.pid, 0)  # until the group is empty
            time.sleep(0.1)
    processes.end_group(process)
    process.wait()


def explain(log: Path, code: int) -> str:
    """The errors in a log, what they mean, and where the log is kept."""
    with open(log, errors='replace') as file:
        lines = [line.strip()[:300] for line in file]
    words = re.compile(r'\berror\b|\bfatal\b|No space left|Killed|not found|Error:', re.IGNORECASE)
    told = [line for line in lines if words.search(line) and not re.match(r'\[\d+/\d+\]|copying', line)][-12:]
    text = '\n'.join(told)
    cause = next((meaning for pattern, meaning in CAUSES if re.search(pattern, text)), '')
    cause = cause.replace('{python}', '%d.%d' % sys.version_info[:2])
    kept = Path(tempfile.gettempdir()) / 'mmmim-ops-build.log'
    with contextlib.suppress(OSError):
        shutil.copyfile(log, kept)
    return '\n'.join(
        [
            *(told or lines[-12:] or [f'pip ended with {code}']),
            "mmcv's ops could not be compiled" + (f': {cause}' if cause else ''),
            f'all that was printed is in {kept}',
        ]
    )


# ---- installing ----


def install(wheel: Path, target: Target) -> Dict:
    """Install a wheel, and try its ops; returns the probe's answer."""
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            'install',
            '-q',
            '--no-input',
            '--no-deps',
            '--force-reinstall',
            '--disable-pip-version-check',
            str(wheel),
        ]
    )
    if done.returncode:
        raise CannotBuild(f'pip could not install {wheel}; its own message stands above')
    answer = processes.Crew(1).run('compiled ops', PROBE_LIMIT)
    if answer['ok'] and answer['compiled']:
        compiled_ops.record(target.torch, target.gpu)
    return answer


def fitting(target: Target) -> bool:
    """Whether ops for this torch are installed already. Ops of unknown origin are tried."""
    found = compiled_ops.installed()
    if found is None or found.mmcv != target.mmcv:
        return False
    if found.torch is None:
        answer = processes.Crew(1).run('compiled ops', PROBE_LIMIT)
        if answer['ok'] and answer['compiled']:
            compiled_ops.record(target.torch, target.gpu)
        return answer['ok'] and answer['compiled']
    return found.torch == target.torch and (not target.gpu or found.gpu == target.gpu)  # a hidden GPU changes nothing


def provide(target: Target) -> None:
    """Install the ops, from the cache if it has them; raises CannotBuild."""
    folder = cache_folder() / target.key
    with alone(folder), tempfile.TemporaryDirectory(prefix='mmmim-ops-', ignore_cleanup_errors=True) as workshop:
        wheel = find_wheel(folder)
        if wheel:
            say(f'mmcv ops: from {wheel}')
            answer = install(wheel, target)
            if answer['ok']:
                return
            say(f'that wheel does not run here ({answer["error"]}): it is built anew')
            wheel.unlink(missing_ok=True)
        answer = install(keep(build(target, Path(workshop), Path(workshop) / 'build.log'), folder), target)
        if not answer['ok']:
            raise CannotBuild(
                f"mmcv's ops were compiled, but do not run: {answer['error']}; {place.doctor()} may say why"
            )


def main() -> int:
    if len(sys.argv) > 1:
        print(__doc__)
        return 0 if sys.argv[1:] in (['-h'], ['--help']) else 2
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))  # cleaning up on the way
    try:
        target = find_target()
        if not fitting(target):
            provide(target)
        return 0
    except CannotBuild as error:
        for line in str(error).splitlines():
            print(f'[setup] {line}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say('stopped; the same command begins compiling again')
        return 130


if __name__ == '__main__':
    sys.exit(main())
