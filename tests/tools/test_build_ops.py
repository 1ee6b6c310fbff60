"""tools/build_ops.py with imitations of pip, torch and mmcv: what is compiled, kept, taken from the cache, refused."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from harness import ROOT

sys.path.append(str(ROOT / 'tools'))

import build_ops  # noqa: E402
from doctor_parts import distributions, wheel_cache  # noqa: E402

MMCV = distributions.pinned_versions()['onedl-mmcv']
WHEEL = f'onedl_mmcv-{MMCV}-cp311-cp311-linux_x86_64.whl'

TORCH = """
import os
__version__ = os.environ['TORCH']
GPUS = [tuple(map(int, gpu.split('.'))) for gpu in os.environ.get('GPUS', '').split()]
class cuda:
    is_available = staticmethod(lambda: bool(GPUS))
    device_count = staticmethod(lambda: len(GPUS))
    get_device_capability = staticmethod(lambda i: GPUS[i])
class tensor:
    def __init__(self, values): self.values = values
    def to(self, device): return self
    def tolist(self): return self.values
"""

PIP = '''
import os, pathlib, shutil, sys, time, zipfile
site, how = pathlib.Path(os.environ['SITE']), os.environ.get('BUILD', '')
with open(os.environ['CALLS'], 'a') as file:
    print(*sys.argv[1:], *(f'{k}={os.environ.get(k)}' for k in ('MAX_JOBS', 'MMCV_WITH_OPS')), file=file)
if sys.argv[1] == 'install':
    for old in site.iterdir():
        if old.name != 'mmcv_ops.json': shutil.rmtree(old)
    zipfile.ZipFile(sys.argv[-1]).extractall(site)
else:
    pathlib.Path(os.environ['TMPDIR'], 'objects').write_text('half')
    print('  [1/3] c++ -c a.cpp', '  [2/3] c++ -c b.cpp', sep='\\n', flush=True)
    if how == 'slow': time.sleep(2)
    if how == 'hang': os.system(f'"{sys.executable}" -S "{__file__[:-11]}ninja.py"')
    if how.startswith('error:'): sys.exit(how)
    release = sys.argv[-3].split('==')[1]
    info = f'onedl_mmcv-{release}.dist-info'
    library = 'mmcv/_ext.so' if how != 'without' else 'mmcv/nothing.so'
    ops = f"""
import torch
if torch.__version__ != {os.environ['TORCH']!r} or {how!r} == 'ill': raise ImportError('_ext.so: undefined symbol')
nms = lambda boxes, scores, threshold: (None, torch.tensor([0, 2]))
"""
    with zipfile.ZipFile(f'{sys.argv[-1]}/onedl_mmcv-{release}-cp311-cp311-linux_x86_64.whl', 'w') as wheel:
        for name, text in (('mmcv/__init__.py', ''), ('mmcv/ops/__init__.py', ops), (library, 'machine code ' * 99),
                           (f'{info}/METADATA', f'Name: onedl-mmcv\\nVersion: {release}\\n'),
                           (f'{info}/RECORD', f'{library},sha256={time.time()},9')):
            wheel.writestr(name, text)
'''


NINJA = """
import os, pathlib, signal, subprocess, sys
compiler = subprocess.Popen(['sleep', '60'], preexec_fn=os.setpgrp)
def stop(*args):
    compiler.kill()
    sys.exit(1)
signal.signal(signal.SIGTERM, stop)
pathlib.Path(os.environ['CALLS'] + '.pids').write_text(f'{os.getpid()} {os.getppid()} {compiler.pid}')
compiler.wait()
"""


class Imitation:
    """An environment of its own in ``folder``; several share a cache."""

    def __init__(self, folder, name='one'):
        self.site, self.cache, self.temporary = folder / name, folder / 'cache', folder / 'temporary'
        self.calls_file = folder / f'{name}.calls'
        for path in (self.site, self.temporary, folder / 'bin', folder / 'fakes/pip'):
            path.mkdir(parents=True, exist_ok=True)
        for file, text in (
            ('pip/__main__.py', PIP),
            ('pip/__init__.py', ''),
            ('pip/ninja.py', NINJA),
            ('torch.py', TORCH),
            ('setuptools.py', ''),
            ('wheel.py', ''),
        ):
            (folder / 'fakes' / file).write_text(text)
        (folder / 'bin/ninja').write_text('#!/bin/sh\n')
        (folder / 'bin/ninja').chmod(0o755)
        self.variables = dict(
            os.environ,
            PYTHONPATH=f'{self.site}:{folder / "fakes"}',
            XDG_CACHE_HOME=str(self.cache),
            TORCH='2.11.0+cpu',
            TMPDIR=str(self.temporary),
            SITE=str(self.site),
            CALLS=str(self.calls_file),
            PYTHONDONTWRITEBYTECODE='1',
            PATH=f'{folder / "bin"}:{os.environ["PATH"]}',
        )
        for name in ('MAX_JOBS', 'BUILD', 'GPUS', 'FORCE_CUDA', 'TORCH_CUDA_ARCH_LIST'):
            self.variables.pop(name, None)

    def start(self, **variables):
        # without site-packages, where a real mmcv may be
        return subprocess.Popen(
            [sys.executable, '-S', str(ROOT / 'tools/build_ops.py')],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**self.variables, **variables},
        )

    def run(self, code=0, **variables) -> str:
        process = self.start(**variables)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == code, output
        return output

    def calls(self):
        """Which of pip's commands ran, since the last question."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return [line.split()[0] for line in lines]

    def wheels(self):
        return sorted(self.cache.glob('mmmim/mmcv-ops/*/*.whl'))


@pytest.fixture
def one(tmp_path):
    return Imitation(tmp_path)


def test_built_once_then_taken_from_the_cache_by_every_environment(one, tmp_path):
    assert 'compiling for torch 2.11.0+cpu, CPU' in one.run()
    assert one.calls() == ['wheel', 'install']
    (wheel,) = one.wheels()
    assert wheel.name == WHEEL
    for part in (MMCV, sys.implementation.cache_tag, 'torch2.11.0+cpu', os.uname().machine):
        assert part in wheel.parent.name
    assert one.run() == '' and one.calls() == []  # nothing to do
    two = Imitation(tmp_path, 'two')
    assert f'from {wheel}' in two.run() and two.calls() == ['install']
    assert not list(one.temporary.iterdir())


def test_another_torch_gets_ops_of_its_own(one):
    one.run()
    one.calls()
    assert '2.12.0+cu130' in one.run(TORCH='2.12.0+cu130') and one.calls() == ['wheel', 'install']
    assert len(one.wheels()) == 2
    one.run()
    assert one.calls() == ['install']  # back to the first, whose wheel is still there


def test_a_gpu_build_is_kept_by_the_gpus_generation(one):
    one.run(GPUS='9.0 8.0 9.0')
    assert one.wheels()[0].parent.name.endswith('-cuda8.0_9.0') and one.calls() == ['wheel', 'install']
    assert one.run() == '' and one.calls() == [], 'hidden GPUs change nothing'
    one.run(GPUS='12.0')
    one.run(GPUS='12.0', TORCH_CUDA_ARCH_LIST='9.0;12.0+PTX')
    assert one.calls() == ['wheel', 'install'] * 2
    assert one.wheels()[2].parent.name.endswith('-cuda9.0_12.0+PTX')


def alive(pid: int) -> bool:
    try:
        return open(f'/proc/{pid}/stat').read().rsplit(')')[-1].split()[0] != 'Z'
    except OSError:
        return False


@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build_is_not_taken_for_a_whole_one(one, how):
    process = one.start(BUILD='hang')
    pid_file = one.calls_file.with_name(one.calls_file.name + '.pids')
    deadline = time.monotonic() + 30
    while not (pid_file.exists() and pid_file.read_text()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    pids = [int(pid) for pid in pid_file.read_text().split()]
    process.send_signal(how)
    process.communicate(timeout=30)
    assert process.returncode != 0 and not one.wheels()
    if how == signal.SIGKILL:  # nobody is left to end them
        for pid in filter(alive, pids):
            with contextlib.suppress(ProcessLookupError):  # ended meanwhile
                os.kill(pid, signal.SIGKILL)
    else:
        assert not any(alive(pid) for pid in pids)
        assert not list(one.temporary.iterdir())
    one.calls()
    one.run()
    assert one.calls() == ['wheel', 'install'] and len(one.wheels()) == 1


@pytest.mark.parametrize('damage', ['truncated', 'one byte', 'empty', 'without ops'])
def test_a_damaged_wheel_is_built_anew(one, tmp_path, damage):
    one.run()
    (wheel,) = one.wheels()
    whole = wheel.read_bytes()
    at = whole.index(b'machine code') + 40
    if damage == 'without ops':
        one.variables['BUILD'] = 'without'
        assert 'could not be compiled' in one.run(1, TORCH='2.12.0') and len(one.wheels()) == 1
        del one.variables['BUILD']
        whole = whole.replace(b'mmcv/_ext', b'mmcv/else')
    wheel.write_bytes(
        {
            'truncated': whole[:-100],
            'empty': b'',
            'without ops': whole,
            'one byte': whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :],
        }[damage]
    )
    two = Imitation(tmp_path, 'two')
    assert 'is damaged' in two.run() and two.calls() == ['wheel', 'install']
    assert wheel_cache.is_whole(wheel)


def test_a_wheel_that_does_not_run_on_this_machine_is_built_anew(one, tmp_path):
    assert 'do not run: ImportError: _ext.so' in one.run(1, BUILD='ill')
    (wheel,) = one.wheels()
    two = Imitation(tmp_path, 'two')
    assert 'does not run here' in two.run() and two.calls() == ['install', 'wheel', 'install']


def test_two_builds_at_once_compile_once(one, tmp_path):
    two = Imitation(tmp_path, 'two')
    processes = [environment.start(BUILD='slow') for environment in (one, two)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sorted([one.calls(), two.calls()]) == [['install'], ['wheel', 'install']]
    assert sum('waiting for it' in output for output in outputs) == 1


def test_a_cache_that_cannot_be_written_to_is_said_and_done_without(one):
    one.cache.write_text('a file where the folder should be')
    assert 'could not be kept' in one.run()
    assert one.calls() == ['wheel', 'install'] and one.run() == ''


def test_ops_that_were_installed_by_hand_are_kept_if_they_run(one):
    one.run()
    one.calls()
    (one.site / 'mmcv_ops.json').unlink()
    assert one.run() == '' and one.calls() == []
    (one.site / 'mmcv_ops.json').unlink()
    one.run(TORCH='2.12.0')
    assert one.calls() == ['wheel', 'install']


@pytest.mark.parametrize(
    'words, meaning',
    [
        (
            'a.cpp:1:10: fatal error: Python.h: No such file or directory',
            'install python%d.%d-dev' % sys.version_info[:2],
        ),
        ('c++: fatal error: Killed signal terminated program cc1plus', 'MAX_JOBS=1'),
        ('fatal error: error writing to /tmp/x.s: No space left on device', 'the disk is full'),
        (
            'RuntimeError: The detected CUDA version (11.8) mismatches the version that was used to compile',
            'CUDA toolkit',
        ),
        ('/bin/sh: 1: c++: not found', 'install g++'),
        ('/bin/sh: 1: /opt/cxx: not found', 'install g++'),
        ('ERROR: No matching distribution found for onedl-mmcv', 'the package index did not answer'),
    ],
)
def test_a_failed_build_says_why(one, words, meaning):
    output = one.run(1, BUILD=f'error: {words}')
    assert words in output and meaning in output and not one.wheels()
    log = output.splitlines()[-1].split(' is in ')[1]
    assert '[2/3] c++ -c b.cpp' in open(log).read()


def test_what_is_missing_is_named_with_its_command(one, tmp_path):
    (tmp_path / 'fakes/wheel.py').unlink()
    output = one.run(1)
    assert 'wheel must be installed first' in output and '-m pip install -c' in output
    assert one.calls() == [] and 'Traceback' not in output


def test_max_jobs_is_the_users_or_follows_cores_and_memory(one, monkeypatch):
    one.run(MAX_JOBS='7')
    assert 'MAX_JOBS=7 MMCV_WITH_OPS=1' in one.calls_file.read_text()
    monkeypatch.setattr(build_ops.machine, 'usable_cores', lambda: 16)
    monkeypatch.setattr(build_ops.machine, 'cpu_quota', lambda: None)
    monkeypatch.setattr(build_ops.machine, 'memory_gib', lambda: 5.0)
    assert build_ops.compilers() <= 2
    monkeypatch.setattr(build_ops.machine, 'memory_gib', lambda: 0.5)
    assert build_ops.compilers() == 1
    monkeypatch.setattr(build_ops.machine, 'memory_gib', lambda: 1e6)
    monkeypatch.setattr(build_ops.machine, 'cpu_quota', lambda: 1.5)
    assert build_ops.compilers() == 1


@pytest.mark.parametrize('terminal', [True, False])
def test_progress(tmp_path, capsys, monkeypatch, terminal):
    log, now = tmp_path / 'log', [0.0]
    log.write_text('  copying [1/2] things\n')
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: terminal)
    progress = build_ops.Progress(log, interval=30, clock=lambda: now[0])
    shown = []
    later = '  [30/78] c++\nwarning [99/99] of it\n  [31/78] c++ ' + 'x' * 3000 + '\n'
    for seconds, lines in ((1, ''), (31, '  [1/78] c++ a.cpp\n'), (32, ''), (240, later)):
        now[0] = seconds
        with open(log, 'a') as file:
            file.write(lines)
        progress.show()
        shown.append(capsys.readouterr().out)
    progress.close()
    assert shown[-1].strip('\r\n').removeprefix('\033[K') == '[setup] mmcv ops: 31 of 78 files compiled, 4 min'
    if terminal:
        assert all(line.startswith('\r\033[K') and not line.endswith('\n') for line in shown)
        assert 'preparing' in shown[0] and capsys.readouterr().out == '\r\033[K'
    else:
        assert [line.count('\n') for line in shown] == [0, 1, 0, 1] and '\033' not in ''.join(shown)


def test_its_help_needs_nothing():
    done = subprocess.run([sys.executable, '-S', ROOT / 'tools/build_ops.py', '--help'], capture_output=True, text=True)
    assert done.returncode == 0 and textwrap.dedent(build_ops.__doc__).splitlines()[0] in done.stdout
