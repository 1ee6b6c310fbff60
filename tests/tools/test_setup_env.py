"""The set-up script on an imitated machine."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys

import pytest
from fake_machine import Machine
from harness import ROOT
from packaging.requirements import Requirement

sys.path.append(str(ROOT / 'tools'))

from mmmim.doctor.installed import normalised, pinned_versions  # noqa: E402

pytestmark = pytest.mark.runs


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_scripts_are_valid_bash():
    for script in sorted((ROOT / 'tools').glob('*.sh')) + [ROOT / '.ci/run']:
        checked = subprocess.run(['bash', '-n', str(script)], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


def test_only_an_old_python(machine):
    machine.python('python3', '3.8')
    result = machine.run()
    assert result.returncode == 1
    assert 'Python 3.10, 3.11, 3.12 or 3.13 (python3 is 3.8)' in result.stderr
    assert 'apt-get install -y python3 python3-venv' in result.stderr
    assert not machine.calls() and not (machine.checkout / '.venv').exists()


def test_no_python_at_all(machine):
    result = machine.run()
    assert result.returncode == 1 and 'no Python was found' in result.stderr


def test_a_shim_without_its_version_is_passed_over(machine):
    machine.write('python3.11', f'#!{shutil.which("bash")}\necho "command not found" >&2\nexit 127\n')
    machine.python('python3', '3.10')
    result = machine.run()
    assert result.returncode == 0, result.stderr
    assert 'with python3 (Python 3.10)' in result.stdout


def test_a_python_that_can_make_environments_is_preferred(machine):
    machine.python('python3.11', '3.11', ensurepip=False)
    machine.python('python3.12', '3.12')
    assert 'with python3.12' in machine.run().stdout


def test_PYTHON_decides(machine):
    machine.python('python3.11')
    machine.python('other', '3.14')
    result = machine.run(PYTHON='other')
    assert result.returncode == 1 and 'other is 3.14' in result.stderr
    machine.python('other', '3.13')
    assert 'with other (Python 3.13)' in machine.run(PYTHON='other').stdout


def test_all_lacks_are_reported_at_once_before_any_download(machine):
    machine.python('python3', '3.12', ensurepip=False)
    machine.libraries('libc.so.6')
    machine.disk(900)
    result = machine.run('tests')
    assert result.returncode == 1
    for text in (
        'ensurepip of python3 (Python 3.12)',
        'libGL.so.1',
        'libgthread-2.0.so.0',
        '900 MB are free',
        'apt-get install -y python3.12-venv libgl1 libglib2.0-0',
    ):
        assert text in result.stderr
    assert not machine.calls() and not (machine.checkout / '.venv').exists()


@pytest.mark.parametrize('allowed', [True, False])
def test_apt_get_runs_only_where_it_was_allowed(machine, allowed):
    machine.python()
    machine.libraries('libc.so.6')
    bash = shutil.which('bash')
    machine.write('sudo', f'#!{bash}\nexec "$@"\n')
    machine.write(
        'apt-get',
        f'#!{bash}\necho "apt-get $*" >> "{machine.log}"\n[ "$1" != install ] || '
        f'printf "#!{bash}\\necho libGL.so.1 libgthread-2.0.so.0\\n" > "{machine.bin}/ldconfig"\n',
    )
    result = machine.run(**(dict(MMMIM_APT='1') if allowed else {}))
    assert result.returncode == (0 if allowed else 1), result.stderr
    assert len(machine.calls('apt-get install')) == int(allowed)


def test_stages_stamp_and_what_makes_it_void(machine):
    machine.python()
    result = machine.run()
    assert result.returncode == 0, result.stderr
    calls = machine.calls()
    assert 'torch torchvision' in calls[0] and '--no-deps' in calls[-1] and calls[-1].endswith(str(machine.checkout))
    assert all('-c constraints.txt' in call for call in calls[:-1])
    assert not any('index' in call or 'find-links' in call for call in calls), "pip's own configuration is the user's"

    machine.forget()
    assert machine.run().stdout == '' and not machine.calls('-m pip')  # the second call has nothing to do

    assert machine.run('tests').returncode == 0
    assert any('-r tests.txt' in call for call in machine.calls())
    machine.forget()
    assert machine.run('tests').returncode == machine.run('run').returncode == 0
    assert not machine.calls('-m pip')

    with open(machine.checkout / 'requirements/runtime.txt', 'a') as file:
        file.write('another\n')
    assert machine.run().returncode == 0 and machine.calls()


def test_a_failed_installation_says_what_to_do_and_is_completed_by_the_next_call(machine):
    machine.python()
    machine.offline.write_text('something else')
    result = machine.run()
    assert result.returncode == 1
    assert 'something else' in result.stderr
    assert 'Without network' in result.stderr and 'same command again' in result.stderr
    assert len(machine.calls()) == 1
    torn = machine.checkout / '.venv/lib/python3.11/site-packages/torn-1.0.dist-info'
    torn.mkdir(parents=True)  # what pip leaves when it is killed
    machine.offline.unlink()
    machine.forget()
    assert machine.run().returncode == 0
    assert not machine.calls('-m venv') and machine.calls() and not torn.exists()


@pytest.mark.parametrize(
    'words, meaning',
    [
        (
            'ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device',
            'The disk is full: 100000',
        ),
        (
            "Retrying after connection broken by 'NewConnectionError: Failed to establish a new connection'",
            'The package index did not answer',
        ),
    ],
)
def test_what_pip_says_is_explained(machine, words, meaning):
    machine.python()
    machine.offline.write_text(words + '\nERROR: ResolutionImpossible')
    result = machine.run()
    assert result.returncode == 1 and words in result.stderr
    assert meaning in result.stderr and result.stderr.rstrip().endswith("kept in pip's cache.")


def test_a_disk_that_fills_up_meanwhile_is_seen_without_pips_words(machine):
    machine.python()
    machine.offline.write_text('ERROR: an exception')
    log = machine.log  # df answers 3 MB once pip was called
    machine.write(
        'df',
        f'#!{shutil.which("bash")}\necho title\ngrep -q "pip install" "{log}" 2>/dev/null && '
        'echo /dev/x 1 1 3 1% / || echo /dev/x 1 1 99999 1% /\n',
    )
    result = machine.run()
    assert result.returncode == 1 and 'The disk is full: 3 MB' in result.stderr


def test_a_moved_checkout_is_noticed(machine):
    machine.python()
    machine.run()
    machine.checkout = machine.checkout.rename(machine.folder / 'elsewhere')
    machine.forget()
    result = machine.run()
    assert result.returncode == 0 and 'made in another place' in result.stdout
    assert machine.calls('-m venv --clear') and machine.calls()


def test_a_removed_python_is_noticed(machine):
    machine.python()
    machine.run()
    (machine.checkout / '.venv/bin/python').unlink()
    (machine.checkout / '.venv/bin/python').symlink_to('/nowhere/python3.11')
    machine.forget()
    result = machine.run()
    assert result.returncode == 0 and 'does not run any more' in result.stdout
    assert machine.calls('-m venv --clear')


def test_an_environment_without_pip_is_made_anew(machine):
    machine.python()
    machine.run()
    python = machine.checkout / '.venv/bin/python'
    python.write_text(python.read_text().replace('case "$*" in', 'case "$*" in *"import pip"*) exit 1;;', 1))
    machine.forget()
    result = machine.run()
    assert result.returncode == 0 and 'has no pip' in result.stdout and machine.calls('-m venv --clear')


def test_python_may_be_named_relative_to_the_users_folder(machine):
    machine.python('other', '3.12')
    (machine.folder / 'mine').mkdir()
    (machine.folder / 'mine/python').symlink_to(machine.bin / 'other')
    result = machine.run(PYTHON='mine/python')
    assert result.returncode == 0 and f'{machine.folder}/mine/python (Python 3.12)' in result.stdout


def test_a_checkout_may_have_an_apostrophe_in_its_path(machine):
    machine.python()
    machine.checkout = machine.checkout.rename(machine.folder / "o'brien's checkout")
    machine.run()
    machine.forget()
    assert machine.run().stdout == '' and not machine.calls('-m venv')


def test_a_half_made_environment_is_made_anew(machine):
    machine.python()
    (machine.checkout / '.venv/lib').mkdir(parents=True)
    result = machine.run()
    assert result.returncode == 0 and 'is incomplete' in result.stdout
    assert len(machine.calls('-m venv')) == 1 and machine.calls()


@pytest.mark.parametrize(
    'argument, message',
    [
        ('no/such/folder', 'there is no folder'),
        ('calls.log', 'is a file'),
        ('bin', 'no images under'),
        ('', 'name is empty'),
        ('--epochs=3', 'unknown option'),
    ],
)
def test_quickstart_checks_its_arguments_before_it_installs(machine, argument, message):
    machine.python()
    machine.log.touch()
    result = machine.run(argument, script='quickstart.sh')
    assert result.returncode == 2 and message in result.stderr
    assert not machine.calls('')


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
    machine.python()
    images = machine.folder / 'my images'
    images.mkdir()
    (images / '1.jpg').touch()
    result = machine.run(*(word.format(images=images) for word in arguments), script='quickstart.sh')
    assert result.returncode == 0, result.stderr
    assert machine.calls('quickstart.py')[0] == (
        f'python tools/quickstart.py --folder={images} --detection --cfg-options a=1 b=2'
    )
    assert machine.calls('-r detection.txt') and '[quickstart] 1/6 ' in result.stdout


def test_quickstart_installs_what_it_runs(machine):
    machine.python()
    assert machine.run(script='quickstart.sh').returncode == 0
    assert machine.calls('quickstart.py') == ['python tools/quickstart.py'] and not machine.calls('detection.txt')
    assert machine.run('--detection', script='quickstart.sh').returncode == 0
    assert machine.run(script='quickstart.sh').stdout.startswith('[quickstart] 1/7 ')
    assert machine.run('--detection', script='quickstart.sh').stdout.startswith('[quickstart] 1/8 ')
    assert machine.calls('quickstart.py')[1].split() == ['python', 'tools/quickstart.py', '--detection']
    machine.offline.write_text('no')
    machine.replace('requirements/detection.txt', 'onedl-mmdetection', 'more\nonedl-mmdetection')
    machine.forget()
    assert machine.run('--detection', script='quickstart.sh').returncode == 1 and not machine.calls('quickstart.py')


def test_only_detection_and_tests_bring_mmdet(machine):
    machine.python()
    assert machine.run().returncode == 0 and not machine.calls('detection.txt')
    result = machine.run('detection')
    assert result.returncode == 0, result.stderr
    assert machine.calls('-r detection.txt') and not machine.calls('-r tests.txt')
    machine.forget()
    for mode in ('detection', 'run'):
        assert machine.run(mode).stdout == ''
    assert not machine.calls('-m pip')  # nothing to do
    assert machine.run('tests').returncode == 0
    assert machine.calls('-r detection.txt') and machine.calls('-r tests.txt')
    machine.forget()
    assert machine.run('detection').stdout == machine.run('tests').stdout == '' and not machine.calls('-m pip')


def test_tests_run_only_where_all_was_installed(machine):
    machine.python()
    machine.offline.write_text('no')
    assert machine.run(script='run_tests.sh').returncode == 1 and not machine.calls('-m pytest')
    machine.offline.unlink()
    assert machine.run(script='run_tests.sh').returncode == 0 and machine.calls('-m pytest')


def test_compiled_ops_that_are_there_stay(machine):
    """mmcv comes from source, not from a cache where another torch's ops may lie; an mmcv that is there is kept."""
    machine.python()
    assert machine.run().returncode == 0
    mmcv = machine.calls('onedl-mmcv')
    assert len(mmcv) == 1 and '--no-cache-dir' in mmcv[0] and '--no-deps' in mmcv[0]
    record = next(machine.site.glob('onedl_mmcv-*/RECORD'))
    record.write_text('mmcv/_ext.so')
    assert machine.run('tests').returncode == 0 and record.read_text() == 'mmcv/_ext.so'
    machine.replace('requirements/runtime.txt', 'tqdm', 'tqdm\nanother')
    assert machine.run('run').returncode == 0 and record.read_text() == 'mmcv/_ext.so'
    assert not machine.calls('--force-reinstall') and not machine.calls('uninstall')


def test_an_interrupted_installation_leaves_no_stamp(machine):
    machine.python()
    assert machine.run('detection').returncode == 0
    text = (machine.checkout / 'requirements/runtime.txt').read_text()
    machine.replace('requirements/runtime.txt', 'tqdm', 'tqdm\nanother')
    machine.offline.write_text('no')
    assert machine.run('run').returncode == 1
    machine.offline.unlink()
    (machine.checkout / 'requirements/runtime.txt').write_text(text)
    machine.forget()
    assert machine.run('run').returncode == 0 and machine.calls()


def test_root_in_ci_installs_system_packages(machine):
    machine.python()
    machine.libraries('libc.so.6')
    bash = shutil.which('bash')
    machine.write('id', f'#!{bash}\necho 0\n')
    machine.write(
        'apt-get',
        f'#!{bash}\necho "apt-get $*" >> "{machine.log}"\n[ "$1" != install ] || '
        f'printf "#!{bash}\\necho libGL.so.1 libgthread-2.0.so.0\\n" > "{machine.bin}/ldconfig"\n',
    )
    assert machine.run('tests').returncode == 1 and not machine.calls('apt-get')
    result = machine.run('tests', CI='true')
    assert result.returncode == 0, result.stderr
    assert machine.calls('apt-get install')[0].endswith(' libgl1 libglib2.0-0')


def test_every_requirement_has_a_tested_version():
    def names(path):
        lines = [line.split('#')[0].strip() for line in path.read_text().splitlines()]
        return {re.match(r'[\w.-]+', line)[0].lower().replace('_', '-') for line in lines if line and line[0] != '-'}

    folder = ROOT / 'requirements'
    tested = names(folder / 'constraints.txt')
    for path in folder.glob('*.txt'):
        assert names(path) <= tested, path


def test_what_the_requirements_bring_is_pinned_too():
    """All but what follows from torch's build, by the metadata of what is installed here."""
    pins, seen = pinned_versions(), set()
    waiting = [
        line
        for path in (ROOT / 'requirements').glob('*.txt')
        if path.name != 'constraints.txt'
        for line in path.read_text().splitlines()
        if line and line[0] not in '#-'
    ]
    while waiting:
        requirement = Requirement(waiting.pop())
        name = normalised(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate(dict(extra=''))):
            continue
        seen.add(name)
        if not name.startswith(('nvidia-', 'cuda-', 'triton')):
            assert name in pins, name
            waiting += importlib.metadata.distribution(name).requires or []
    assert {'opencv-python', 'opencv-python-headless', 'pycocotools', 'numpy'} <= seen


def test_ci_runs_the_tests():
    assert os.access(ROOT / '.ci/run', os.X_OK)
    assert 'tools/run_tests.sh' in (ROOT / '.ci/run').read_text()
