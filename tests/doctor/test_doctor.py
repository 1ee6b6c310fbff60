"""The doctor: in an environment without anything, in this one, and what it says of each kind of damage."""

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import ROOT

from mmmim.doctor import examination, installed, machine
from mmmim.doctor.findings import Gpu, Remedies
from mmmim.doctor.installed import PARTS, Row, pinned_versions

pytestmark = pytest.mark.runs


def doctor(*args, python=sys.executable, cwd=ROOT, **variables):
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'COLUMNS': '80', **variables}
    return subprocess.run(
        [str(python), str(ROOT / 'tools/doctor.py'), *args],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope='module')
def bare(tmp_path_factory):
    """A Python with nothing but its standard library."""
    folder = tmp_path_factory.mktemp('bare') / 'venv'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(folder)], check=True)
    return folder / 'bin/python'


# ---- as it is called ----


def test_an_old_python_is_told_what_is_needed(tmp_path):
    source = (ROOT / 'tools/doctor.py').read_text()
    ast.parse(source, feature_version=(3, 6))
    assert not any(isinstance(node, ast.JoinedStr) for node in ast.walk(ast.parse(source))), 'nor Python 2'
    code = (
        'import runpy, sys; sys.version_info = (3, 8, 18, "final", 0); '
        f'runpy.run_path({str(ROOT / "tools/doctor.py")!r}, run_name="__main__")'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr == ''
    assert '3.8.18; mmmim needs 3.10, 3.11, 3.12 or 3.13' in done.stdout and 'setup_env.sh' in done.stdout
    as_json = subprocess.run([sys.executable, '-c', code, '--json'], capture_output=True, text=True).stdout
    assert json.loads(as_json)['pretraining_works'] is False


def test_without_anything_installed(bare, tmp_path):
    done = doctor(python=bare, cwd=tmp_path, PYTHONIOENCODING='ascii', PYTHONPATH='')
    assert done.returncode == 1 and done.stderr == ''
    lines = done.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines if not line.startswith(' ' * 6))
    assert '\033' not in done.stdout
    absent = next(i for i, line in enumerate(lines) if '. pre-training needs numpy, torch' in line)
    commands = [line.split() for line in lines[absent + 2 : absent + 5]]
    assert commands[0][:2] == ['bash', str(ROOT / 'tools/setup_env.sh')]
    for words in commands[1:]:  # from this folder the checkout's files have no shorter name
        assert words[:4] == [str(bare), '-m', 'pip', 'install']
        assert str(ROOT / 'requirements/constraints.txt') in words or '-e' in words


def test_pip_that_is_missing_is_named_first(bare):
    done = json.loads(doctor('--json', python=bare, PYTHONPATH='').stdout)
    python = next(row for row in done['rows'] if row['name'] == 'Python')
    assert python['status'] == 'note' and python['mend'] == [f'{bare} -m ensurepip --upgrade']
    assert {row['name'] for row in done['rows'] if row['status'] == 'absent'} >= {'torch', 'mmengine', 'mmdetection'}


def test_pre_training_is_really_tried_and_decides_the_exit_code():
    done = doctor('--json', '--only', 'pre-training', 'numpy', 'mmmim')
    answer = json.loads(done.stdout)
    rows = {row['name']: row for row in answer['rows']}
    assert done.returncode == 0 and answer['pretraining_works'], rows
    assert '2 steps' in rows['pre-training']['detail']
    assert rows['numpy']['installed'] == __import__('numpy').__version__


def test_a_library_that_fails_is_shown_and_does_not_hide_the_others(tmp_path):
    (tmp_path / 'cv2').mkdir()
    (tmp_path / 'cv2/__init__.py').write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
    )
    (tmp_path / 'safetensors').mkdir()
    (tmp_path / 'safetensors/__init__.py').write_text('import os, signal; os.kill(os.getpid(), signal.SIGSEGV)')
    done = doctor('--json', '--only', 'opencv', 'safetensors', 'mmcv', 'numpy', 'pillow', PYTHONPATH=str(tmp_path))
    rows = {row['name']: row for row in json.loads(done.stdout)['rows']}
    assert done.returncode == 1
    assert rows['opencv']['detail'] == 'the system library libGL.so.1 is missing'
    assert 'libgl1' in rows['opencv']['mend'][0]
    assert 'SIGSEGV' in rows['safetensors']['detail']
    assert rows['mmcv']['detail'] in ('needs opencv', 'needs safetensors') and not rows['mmcv']['mend']
    assert rows['numpy']['status'] in ('ok', 'note') and rows['pillow']['status'] in ('ok', 'note')


def test_only_takes_what_there_is():
    done = doctor('--only', 'nonsense')
    assert done.returncode == 2 and 'several processes' in done.stderr


# ---- probes in processes of their own ----


@pytest.mark.parametrize(
    'code, kind, words',
    [
        ('import time; time.sleep(60)', 'hang', 'no answer within 3 s'),
        ('import os; os._exit(7)', 'exit', 'ended with 7'),
        ('import sys; sys.exit("no")', 'SystemExit', 'no'),
        ('import os; os.abort()', 'SIGABRT', 'SIGABRT'),
        ('import something_absent', 'ModuleNotFoundError', 'something_absent'),
        ('raise RuntimeError("wrapped") from OSError("the cause")', 'RuntimeError', 'wrapped'),
    ],
)
def test_whatever_happens_becomes_an_answer(tmp_path, monkeypatch, code, kind, words):
    (tmp_path / 'troubled.py').write_text(code)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    start = time.monotonic()
    answer = examination.run('part', 3, module='troubled')
    assert time.monotonic() - start < 30
    assert not answer['ok'] and answer['kind'] == kind and words in answer['error']
    if 'cause' in code:
        assert answer['cause'] == 'OSError: the cause'


def test_what_a_probe_leaves_running_is_ended(tmp_path, monkeypatch):
    (tmp_path / 'parent.py').write_text(
        'import subprocess, sys\n'
        'child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])\n'
        f'open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))\n'
    )
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    assert examination.run('part', 30, module='parent')['ok']
    state = Path('/proc', (tmp_path / 'pid').read_text(), 'stat')
    deadline = time.monotonic() + 10
    while state.exists() and state.read_text().split()[2] != 'Z':
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_processes_add_numbers_as_the_launcher_starts_them():
    assert examination.run('several processes', 120)['ok']


# ---- the machine, versions and the table ----


def test_little_shared_memory_and_disk_are_noted(monkeypatch):
    usage = type('usage', (), dict(total=2**26, used=0, free=2**26))
    monkeypatch.setattr(machine.shutil, 'disk_usage', lambda folder: usage)
    assert machine.shared_memory_row().status == machine.disk_row().status == 'note'
    assert machine.shared_memory_row().mend == ('docker run --shm-size=1g ...',)
    many = machine.shared_memory_row(8)
    assert many.mend == ('docker run --shm-size=11g ...',) and '9.2 GiB on 8 GPUs' in many.detail
    monkeypatch.undo()
    assert 'num_workers=0' in machine.shared_memory_row(folder='/is/not/there').mend[0]


def test_the_driver_is_read_from_nvidia_smi(tmp_path, monkeypatch):
    tool = tmp_path / 'nvidia-smi'
    tool.write_text(
        '#!/bin/sh\necho "CUDA Version                              : 12.4"\n'
        'echo "    Product Name                          : NVIDIA H100 80GB"\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    assert machine.find_gpu() == Gpu(True, ('NVIDIA H100 80GB',), '12.4')


def test_markers_of_the_constraints_are_read(tmp_path):
    here = '%d.%d' % sys.version_info[:2]
    (tmp_path / 'c.txt').write_text(
        f'# pins\nOne_name==1.0  # why\ntwo==2; python_version < "{here}"\n'
        f'two==3; python_version >= "{here}"\nthree>=4\n'
    )
    assert pinned_versions(str(tmp_path / 'c.txt')) == {'one-name': '1.0', 'two': '3'}
    assert {part.distributions[0] for part in PARTS} - set(pinned_versions()) == {'mmmim'}


def test_commands_are_written_for_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert installed.short(str(ROOT / 'tools/x y.sh')) == "'tools/x y.sh'"
    monkeypatch.chdir(tmp_path)
    assert installed.short(str(ROOT / 'tools/doctor.py')) == str(ROOT / 'tools/doctor.py')


@pytest.mark.parametrize('width', [70, 80, 110])
def test_the_table_keeps_its_width_and_commands_stay_whole(width):
    command = 'python -m pip install ' + 'x' * 200
    rows = [
        Row('installed', 'torch', 'broken', 'word ' * 60, (command,), '2.11.0', '2.11.0'),
        Row('works', 'pre-training', 'ok', 'fine'),
    ]
    assert all(len(line) <= width for line in examination.lines_of(rows, width))
    items = [('torch: ' + 'word ' * 60, (command,))]
    lines = examination.to_do(items, width)
    assert '      ' + command in lines and all(len(line) <= width for line in lines if command not in line)


def test_torn_packages_are_named_with_what_mends_them(tmp_path, monkeypatch):
    for name, files in (('whole-1.0', ['RECORD']), ('torn-2.0', ['METADATA'])):
        (tmp_path / f'{name}.dist-info').mkdir()
        for file in files:
            (tmp_path / f'{name}.dist-info' / file).touch()
    monkeypatch.setattr(machine.sysconfig, 'get_path', lambda name: str(tmp_path))
    row = machine.packages_row(Remedies({}, {}))
    assert row.status == 'broken' and 'torn' in row.detail and 'whole' not in row.detail
    assert row.mend[0] == f'rm -r {tmp_path}/torn-2.0.dist-info' and row.mend[1].endswith(' torn')


def test_everything_missing_is_one_item():
    rows = [Row('installed', part.name, 'absent', f'not installed; for {part.purpose}', ('x',)) for part in PARTS]
    first, *others = examination.what_to_do(rows, Remedies({}, pinned_versions()))
    commands = '\n'.join(first[1])
    for part in PARTS:
        if part.purpose == 'pre-training' and part.module != 'mmmim':
            assert part.distributions[0] in commands
    assert all('pre-training' not in title for title, _ in others)
