"""mmcv's compiled ops in the set-up scripts, on an imitated machine: who gets them, and what keeps them."""

import platform
import shutil

import pytest
from fake_machine import Machine
from harness import ROOT

BASH = shutil.which('bash')
PINS = dict(
    line.split('==')
    for line in (ROOT / 'requirements/constraints.txt').read_text().splitlines()
    if line.startswith(('torch==', 'onedl-mmcv=='))
)


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    machine.python()
    return machine


def ops(machine) -> str:
    """What the installed ops say they were compiled for; empty without ops, or without mmcv."""
    records = list(machine.site.glob('onedl_mmcv-*/RECORD'))
    assert len(records) == 1
    text = records[0].read_text()
    return text if '_ext' in text else ''


def another_release(machine, distribution: str, release: str) -> None:
    old = f'{distribution}=={PINS[distribution]}'
    machine.replace('requirements/constraints.txt', old, f'{distribution}=={release}')


def test_only_detection_and_tests_bring_them(machine):
    assert machine.run().returncode == 0
    assert not machine.calls('build_ops') and not machine.calls('detection.txt') and not ops(machine)
    result = machine.run('detection')
    assert result.returncode == 0, result.stderr
    assert machine.calls('-r detection.txt') and machine.calls('build_ops')[0].startswith('python ') and ops(machine)
    machine.forget()
    for mode in ('detection', 'run'):
        assert machine.run(mode).stdout == ''
    assert not machine.calls('pip') and not machine.calls('build_ops')  # nothing to do
    assert machine.run('tests').returncode == 0
    assert machine.calls('-r detection.txt') and machine.calls('-r tests.txt') and machine.calls('build_ops')
    machine.forget()
    assert machine.run('detection').stdout == machine.run('tests').stdout == '' and not machine.calls('pip')


def test_they_come_last_so_that_all_else_is_there_if_they_fail(machine):
    machine.broken.touch()
    result = machine.run('detection')
    assert result.returncode == 1 and 'All but detection is installed' in result.stderr
    assert 'build_ops' in machine.log.read_text().splitlines()[-1]
    machine.forget()
    assert machine.run().stdout == '' and not machine.calls('pip')
    assert machine.run('detection').returncode == 1, 'a failure is no stamp'
    machine.broken.unlink()
    assert machine.run('detection').returncode == 0 and ops(machine)


def test_tests_fail_rather_than_skip_where_they_cannot_be_compiled(machine):
    machine.broken.touch()
    result = machine.run(script='run_tests.sh')
    assert result.returncode == 1 and not machine.calls('-m pytest')
    machine.broken.unlink()
    assert machine.run(script='run_tests.sh').returncode == 0 and machine.calls('-m pytest')


@pytest.mark.parametrize('change', ['requirements', 'mmcv', 'torch'])
def test_a_run_keeps_them(machine, change):
    assert machine.run('detection').returncode == 0
    if change == 'requirements':
        machine.replace('requirements/runtime.txt', 'tqdm', 'tqdm\nanother')
    else:
        another_release(machine, {'mmcv': 'onedl-mmcv'}.get(change, change), '2.99.0')
    machine.forget()
    result = machine.run('run')
    assert result.returncode == 0, result.stderr
    assert machine.calls('build_ops') and not machine.calls('--force-reinstall') and not machine.calls('uninstall')
    assert ops(machine) and (change != 'torch' or '2.99.0' in ops(machine))
    assert (change != 'mmcv') or machine.site.joinpath('onedl_mmcv-2.99.0.dist-info').is_dir()


def test_a_run_that_was_interrupted_between_mmcv_and_its_ops_is_completed_by_the_next(machine):
    assert machine.run('detection').returncode == 0
    another_release(machine, 'onedl-mmcv', '2.99.0')
    machine.broken.touch()
    assert machine.run('run').returncode == 1 and not ops(machine)
    machine.broken.unlink()
    machine.replace('requirements/runtime.txt', 'tqdm', 'tqdm\nanother')  # the stamp of `run` is void
    assert machine.run('run').returncode == 0 and ops(machine)


@pytest.mark.parametrize(
    'file, text',
    [('torch/version.py', "__version__ = '2.9.0'\n"), (f'onedl_mmcv-{PINS["onedl-mmcv"]}.dist-info/RECORD', 'mmcv\n')],
)
def test_what_is_changed_by_hand_is_seen_by_detection_alone(machine, file, text):
    assert machine.run('detection').returncode == 0
    before = ops(machine)
    (machine.site / file).write_text(text)
    machine.forget()
    assert machine.run('run').stdout == '' and not machine.calls('pip')
    assert machine.run('detection').returncode == 0 and machine.calls('build_ops') and ops(machine) == before


@pytest.mark.parametrize('mode, asked', [('run', False), ('detection', True), ('tests', True)])
def test_what_compiling_needs_is_checked_before_any_download(machine, mode, asked):
    machine.python(headers=False)
    (machine.bin / 'c++').unlink()
    machine.write('nvidia-smi', f'#!{BASH}\necho "GPU 0: NVIDIA H100"\n')
    result = machine.run(mode, CUDA_HOME='/nowhere')
    assert result.returncode == int(asked)
    for words in (
        'C++17 compiler',
        'Python.h, the headers of python3.11',
        'nvcc',
        'CUDA toolkit',
        'apt-get install -y g++ python3.11-dev',
        f'CUDA_VISIBLE_DEVICES= bash tools/setup_env.sh {mode}',
    ):
        assert (words in result.stderr) == asked, words
    assert asked == (not machine.calls()) == (not (machine.checkout / '.venv').exists())
    assert 'nvcc' not in machine.run(mode, CUDA_HOME='/nowhere', CUDA_VISIBLE_DEVICES='').stderr


def test_a_compiler_that_is_too_old_counts_as_none(machine):
    machine.write('c++', f'#!{BASH}\ncat > /dev/null\nexit 1\n')
    assert 'C++17 compiler' in machine.run('detection').stderr
    machine.write('g++-13', f'#!{BASH}\ncat > /dev/null\n')
    assert machine.run('detection', CXX='g++-13').returncode == 0


@pytest.mark.parametrize(
    'release, python, whole',
    [
        ('', 'cpython-311', True),
        ('+cu130', 'cpython-311', True),
        ('', 'cpython-312', False),
        ('9', 'cpython-311', False),
    ],
)
def test_no_compiler_is_needed_where_the_cache_has_a_wheel(machine, release, python, whole):
    (machine.bin / 'c++').unlink()
    folder = (
        machine.folder
        / 'cache/mmmim/mmcv-ops'
        / (f'mmcv{PINS["onedl-mmcv"]}-{python}-torch{PINS["torch"]}{release}-linux-{platform.machine()}')
    )
    folder.mkdir(parents=True)
    (folder / 'onedl_mmcv.whl').touch()
    result = machine.run('detection', XDG_CACHE_HOME=str(machine.folder / 'cache'))
    assert (result.returncode == 0) == whole and ('C++17' not in result.stderr) == whole


def test_ci_installs_the_compiler(machine):
    (machine.bin / 'c++').unlink()
    machine.write('id', f'#!{BASH}\necho 0\n')
    machine.write(
        'apt-get',
        f'#!{BASH}\necho "apt-get $*" >> "{machine.log}"\n[ "$1" != install ] || {{ '
        f'printf "#!{BASH}\\ncat > /dev/null\\n" > "{machine.bin}/c++"; '
        f'{shutil.which("chmod")} +x "{machine.bin}/c++"; }}\n',
    )
    assert machine.run('tests').returncode == 1 and not machine.calls('apt-get')
    result = machine.run('tests', CI='true')
    assert result.returncode == 0, result.stderr
    assert machine.calls('apt-get install')[0].endswith(' g++') and ops(machine)


@pytest.mark.parametrize(
    'arguments',
    [
        ['--detection', '{images}', 'a=1', 'b=2'],
        ['{images}', '--detection', 'a=1', 'b=2'],
        ['{images}', 'a=1', 'b=2', '--detection'],
        ['{images}', '--cfg-options', 'a=1', '--detection', 'b=2'],
    ],
)
def test_quickstart_takes_detection_anywhere(machine, arguments):
    images = machine.folder / 'my images'
    images.mkdir()
    (images / '1.jpg').touch()
    result = machine.run(*(word.format(images=images) for word in arguments), script='quickstart.sh')
    assert result.returncode == 0, result.stderr
    assert machine.calls('quickstart.py')[0] == (
        f'python tools/quickstart.py --folder={images} --detection --cfg-options a=1 b=2'
    )
    assert machine.calls('build_ops') and ops(machine) and '[quickstart] 1/6 ' in result.stdout


def test_quickstart_without_detection_brings_no_ops(machine):
    assert machine.run(script='quickstart.sh').returncode == 0
    assert machine.calls('quickstart.py') == ['python tools/quickstart.py'] and not machine.calls('build_ops')
    assert machine.run('--detection', script='quickstart.sh').returncode == 0
    assert machine.run(script='quickstart.sh').stdout.startswith('[quickstart] 1/7 ')
    assert machine.run('--detection', script='quickstart.sh').stdout.startswith('[quickstart] 1/8 ')
    assert machine.calls('quickstart.py')[1].split() == ['python', 'tools/quickstart.py', '--detection']
    machine.broken.touch()
    machine.replace('requirements/detection.txt', 'wheel', 'wheel\nmore')
    machine.forget()
    assert machine.run('--detection', script='quickstart.sh').returncode == 1 and not machine.calls('quickstart.py')
