"""Installing, and importing where something is missing or broken."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from harness import ROOT

import mmmim
from mmmim.config import paths

NEEDED = ('torch', 'torchvision', 'numpy', 'PIL', 'cv2', 'mmengine', 'mmcv', 'timm', 'safetensors')


@pytest.fixture(scope='module')
def bare(tmp_path_factory):
    """A Python with nothing but its standard library."""
    folder = tmp_path_factory.mktemp('bare') / 'venv'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(folder)], check=True)
    return folder / 'bin/python'


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """A copy, so that a build leaves nothing in this one."""
    folder = tmp_path_factory.mktemp('install') / 'checkout'
    folder.mkdir()
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, folder)
    for name in ('mmmim', 'tools', 'configs', 'requirements'):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns('__pycache__'))
    return folder


def build(checkout, kind, target):
    code = f'from setuptools import build_meta; print(build_meta.build_{kind}({str(target)!r}))'
    done = subprocess.run([sys.executable, '-c', code], cwd=checkout, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return target / done.stdout.splitlines()[-1]


def run(python, code, cwd, **variables):
    return subprocess.run(
        [str(python), '-c', code],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': '', **variables},
    )


def unpack_into(python, wheel):
    site = next(python.parent.parent.glob('lib/python*/site-packages'))
    for old in site.glob('*mmmim*'):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    zipfile.ZipFile(wheel).extractall(site)


def files(folder):
    return {
        str(path.relative_to(folder))
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


# ---- distributions ----


def test_a_wheel_holds_all_that_a_checkout_has(checkout, tmp_path, bare):
    with zipfile.ZipFile(build(checkout, 'wheel', tmp_path)) as wheel:
        names = {name for name in wheel.namelist() if '.dist-info/' not in name}
        metadata = next(name for name in wheel.namelist() if name.endswith('METADATA'))
        assert 'Requires-Dist' not in wheel.read(metadata).decode()  # no OpenMMLab package, and no torch
        unpack_into(bare, wheel.filename)
    expected = {f'mmmim/{name}' for name in files(checkout / 'mmmim')}
    for folder in ('tools', 'configs', 'requirements'):
        expected |= {f'mmmim_{folder}/{name}' for name in files(checkout / folder)}
    assert names == expected
    done = run(bare, "from mmmim_tools.cli import main; main(['doctor'])", tmp_path)
    assert done.returncode == 1 and 'mmmim_requirements/constraints.txt' in done.stdout
    assert '`mmmim doctor` says' in run(bare, 'import mmmim', tmp_path).stderr


def test_an_editable_installation_leads_to_the_checkout(checkout, tmp_path, bare):
    unpack_into(bare, build(checkout, 'editable', tmp_path))
    done = run(bare, "from mmmim_tools.cli import main; main(['doctor'])", tmp_path)
    assert done.returncode == 1 and str(checkout / 'requirements/constraints.txt') in done.stdout
    done = run(bare, 'import mmmim', tmp_path)
    assert str(checkout / 'mmmim/__init__.py') in done.stderr
    assert f'`python {checkout}/tools/doctor.py` says' in done.stderr


def test_the_command_is_declared(checkout, tmp_path):
    with zipfile.ZipFile(build(checkout, 'wheel', tmp_path)) as wheel:
        entry = next(name for name in wheel.namelist() if name.endswith('entry_points.txt'))
        assert 'mmmim = mmmim_tools.cli:main' in wheel.read(entry).decode()


# ---- folders ----


def test_folders_of_this_checkout():
    assert paths.configs_folder() == ROOT / 'configs' and paths.tools_folder() == ROOT / 'tools'


def test_folders_of_an_installed_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, '__file__', str(tmp_path / 'mmmim/config/paths.py'))
    (tmp_path / 'configs').mkdir()  # some other project's
    with pytest.raises(FileNotFoundError, match='mmmim_configs.*install it again'):
        paths.configs_folder()
    (tmp_path / 'mmmim_configs/_base_').mkdir(parents=True)
    (tmp_path / 'mmmim_configs/_base_/default_runtime.py').touch()
    assert paths.configs_folder() == tmp_path / 'mmmim_configs'


# ---- importing ----


def test_all_that_is_missing_is_named_at_once(bare, tmp_path):
    done = run(bare, 'import mmmim', tmp_path, PYTHONPATH=str(ROOT))
    message = done.stderr.splitlines()[-1]
    assert message.startswith('ModuleNotFoundError: mmmim needs ') and done.stderr.count('Traceback') == 1
    for name in NEEDED:
        assert name in message
    assert str(bare) in message and f'python {ROOT}/tools/doctor.py' in message
    inside = run(bare, 'import mmmim', ROOT)
    assert '`python tools/doctor.py` says' in inside.stderr


def test_only_what_is_missing_is_named(bare, tmp_path):
    for name in NEEDED:
        if name != 'timm':
            (tmp_path / name).mkdir()
            (tmp_path / name / '__init__.py').touch()
    done = run(bare, 'import mmmim', tmp_path, PYTHONPATH=f'{ROOT}:{tmp_path}')
    assert 'mmmim needs timm, which' in done.stderr


def test_a_broken_library_is_named_with_its_own_words(bare, tmp_path):
    for name in NEEDED:
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').write_text(
            "raise OSError('libcudart.so.13: cannot open')" if name == 'mmengine' else ''
        )
    code = (
        'try:\n    import mmmim\nexcept ImportError as error:\n'
        '    print(error)\n    print(type(error.__cause__).__name__)'
    )
    done = run(bare, code, tmp_path, PYTHONPATH=f'{ROOT}:{tmp_path}')
    assert done.stdout.splitlines() == [
        'mmmim cannot be imported: OSError: libcudart.so.13: cannot open. '
        f'`python {ROOT}/tools/doctor.py` says what to install.',
        'OSError',
    ], done.stderr


@pytest.mark.runs
def test_pretrain_and_embed_are_imported_when_they_are_asked_for(tmp_path):
    code = (
        "import sys, mmmim; assert 'mmmim.apis' not in sys.modules; "
        "assert {'pretrain', 'embed'} <= set(dir(mmmim)) and callable(mmmim.embed); "
        "assert mmmim.pretrain is sys.modules['mmmim.apis'].pretrain"
    )
    done = run(sys.executable, code, tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match='has no attribute'):
        mmmim.nonsense
