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

NEEDED = ('torch', 'torchvision', 'numpy', 'PIL', 'cv2', 'mmengine', 'timm', 'safetensors', 'jinja2', 'tqdm')
TOOLBOXES = ('mmcv', 'mmpretrain', 'mmseg', 'mmdet')


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


@pytest.fixture(scope='module')
def wheel(checkout, tmp_path_factory):
    return build(checkout, 'wheel', tmp_path_factory.mktemp('wheel'))


def run(python, *arguments, cwd, **variables):
    return subprocess.run(
        [str(python), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
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


def test_a_wheel_holds_the_package_alone_with_the_configs_inside(checkout, wheel):
    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if '.dist-info/' not in name}
    expected = {f'mmmim/{name}' for name in files(checkout / 'mmmim')}
    for folder in ('configs', 'requirements'):
        expected |= {f'mmmim/{folder}/{name}' for name in files(checkout / folder)}
    assert names == expected


def test_the_metadata_name_the_core_and_what_can_be_added(wheel):
    with zipfile.ZipFile(wheel) as content:
        info = [name for name in content.namelist() if '.dist-info/' in name]
        read = {name.rpartition('/')[2]: content.read(name).decode() for name in info}
    needed = [line.partition(': ')[2] for line in read['METADATA'].splitlines() if line.startswith('Requires-Dist')]
    core = [line for line in needed if 'extra ==' not in line]
    assert {'torch', 'timm', 'onedl-mmengine', 'opencv-python', 'jinja2'} <= {line.split('>')[0] for line in core}
    assert not [line for line in core if 'onedl-' in line and 'mmengine' not in line or 'setuptools' in line]
    for extra, name in dict(toolboxes='onedl-mmsegmentation', detection='onedl-mmdetection', tests='pytest').items():
        assert [line for line in needed if line.startswith(name) and f"extra == '{extra}'" in line.replace('"', "'")]
    assert f'Version: {mmmim.__version__}\n' in read['METADATA'] and 'Author: ' in read['METADATA']
    assert 'mmmim = mmmim.cli:main' in read['entry_points.txt']


def test_a_wheel_without_anything_else_has_its_doctor(wheel, tmp_path, bare):
    unpack_into(bare, wheel)
    done = run(bare, '-m', 'mmmim', 'doctor', cwd=tmp_path)
    assert done.returncode == 1 and 'mmmim/requirements/constraints.txt' in done.stdout, done.stderr
    assert '`mmmim doctor` says' in run(bare, '-c', 'import mmmim', cwd=tmp_path).stderr
    script = tmp_path / 'mmmim'  # as pip writes it
    script.write_text('import sys\nfrom mmmim.cli import main\nsys.exit(main())\n')
    assert run(bare, script, '--version', cwd=tmp_path).stdout == f'mmmim {mmmim.__version__}\n'
    assert 'mmmim needs torch' in run(bare, script, 'train', 'mae/vit-b_800e.py', cwd=tmp_path).stderr


def test_an_editable_installation_leads_to_the_checkout(checkout, tmp_path, bare):
    unpack_into(bare, build(checkout, 'editable', tmp_path))
    done = run(bare, '-m', 'mmmim', 'doctor', cwd=tmp_path)
    assert done.returncode == 1 and str(checkout / 'requirements/constraints.txt') in done.stdout, done.stderr
    done = run(bare, '-c', 'import mmmim', cwd=tmp_path)
    assert str(checkout / 'mmmim/__init__.py') in done.stderr
    assert f'`python {checkout}/tools/doctor.py` says' in done.stderr


@pytest.mark.runs
def test_the_core_from_a_wheel_needs_no_toolbox_of_openmmlab(wheel, tmp_path):
    """Pre-training to its report, k-NN, a linear probe, features; mmcv and the toolboxes cannot be imported."""
    zipfile.ZipFile(wheel).extractall(tmp_path / 'site')
    blocked = tmp_path / 'blocked'
    blocked.mkdir()
    for name in TOOLBOXES:
        (blocked / f'{name}.py').write_text(f"raise ImportError('{name} is blocked')")
    (tmp_path / 'work').mkdir()
    code = """
import numpy as np, sys, mmmim
from pathlib import Path
from PIL import Image
for split, count in (('train', 24), ('val', 12)):
    for i in range(count):
        path = Path('photos', split, 'ab'[i % 2], f'{i}.png')
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
done = mmmim.pretrain('photos', 'run', image_size=32, epochs=1, total_batch_size=8)
assert Path(done.report).is_file() and mmmim.__file__.startswith(sys.argv[1]), mmmim.__file__
mmmim.embed(done.encoder, 'photos', 'features.npy')
assert np.load('features.npy').shape[0] == 36
"""
    variables = dict(PYTHONPATH=f'{tmp_path / "site"}:{blocked}', OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
    done = run(sys.executable, '-c', code, tmp_path / 'site', cwd=tmp_path / 'work', **variables)
    assert done.returncode == 0, done.stderr
    measure = ['-m', 'mmmim', 'test', 'run/pretrain.py', 'run/epoch_1.pth', '--linear', '--work-dir', 'run']
    done = run(sys.executable, *measure, cwd=tmp_path / 'work', **variables)
    assert done.returncode == 0 and '"knn' in done.stdout and '"linear' in done.stdout, done.stdout + done.stderr
    named = run(sys.executable, '-m', 'mmmim', 'train', 'mae/no-such.py', cwd=tmp_path / 'work', **variables)
    assert named.returncode == 1 and "no config 'mae/no-such.py'" in named.stderr


# ---- folders ----


def test_folders_of_this_checkout():
    assert paths.configs_folder() == ROOT / 'configs' and paths.checkout() == ROOT


def test_folders_of_an_installed_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, 'PACKAGE', tmp_path / 'mmmim')
    (tmp_path / 'configs').mkdir()  # some other project's
    with pytest.raises(FileNotFoundError, match='no folder configs.*install it again'):
        paths.configs_folder()
    (tmp_path / 'mmmim/configs/_base_').mkdir(parents=True)
    (tmp_path / 'mmmim/configs/_base_/default_runtime.py').touch()
    assert paths.configs_folder() == tmp_path / 'mmmim/configs' and paths.checkout() is None


# ---- importing ----


def test_all_that_is_missing_is_named_at_once(bare, tmp_path):
    done = run(bare, '-c', 'import mmmim', cwd=tmp_path, PYTHONPATH=str(ROOT))
    message = done.stderr.splitlines()[-1]
    assert message.startswith('ModuleNotFoundError: mmmim needs ') and done.stderr.count('Traceback') == 1
    for name in NEEDED:
        assert name in message
    assert str(bare) in message and f'python {ROOT}/tools/doctor.py' in message
    inside = run(bare, '-c', 'import mmmim', cwd=ROOT)
    assert '`python tools/doctor.py` says' in inside.stderr


def test_only_what_is_missing_is_named(bare, tmp_path):
    for name in NEEDED:
        if name != 'timm':
            (tmp_path / name).mkdir()
            (tmp_path / name / '__init__.py').touch()
    done = run(bare, '-c', 'import mmmim', cwd=tmp_path, PYTHONPATH=f'{ROOT}:{tmp_path}')
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
    done = run(bare, '-c', code, cwd=tmp_path, PYTHONPATH=f'{ROOT}:{tmp_path}')
    assert done.stdout.splitlines() == [
        'mmmim cannot be imported: OSError: libcudart.so.13: cannot open. '
        f'`python {ROOT}/tools/doctor.py` says what to install.',
        'OSError',
    ], done.stderr


@pytest.mark.runs
def test_pretrain_and_embed_are_imported_when_they_are_asked_for(tmp_path):
    code = (
        "import sys, mmmim; assert 'mmmim.apis' not in sys.modules and 'mmmim.registry' in sys.modules; "
        "assert {'pretrain', 'embed'} <= set(dir(mmmim)) and callable(mmmim.embed); "
        "assert mmmim.pretrain is sys.modules['mmmim.apis'].pretrain"
    )
    done = run(sys.executable, '-c', code, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match='has no attribute'):
        mmmim.nonsense


@pytest.mark.parametrize(
    'name, content, arguments',
    [('mmmim', '', []), ('mine.py', '', ['-m', 'mmmim']), ('mmmim', '# a script of mine\n', ['train'])],
)
def test_a_script_of_any_name_registers_when_it_imports(tmp_path, name, content, arguments):
    """Only the command itself puts that off; else the safe reading of checkpoints would be missing silently."""
    script = tmp_path / 'bin' / name
    script.parent.mkdir()
    code = """
import sys
sys.path.pop(0)  # this folder, where a script is called like the package
import mmmim
from mmengine.runner.checkpoint import CheckpointLoader
assert CheckpointLoader._schemes[''].__module__.startswith('mmmim'), CheckpointLoader._schemes['']
"""
    script.write_text(content + code)
    done = run(sys.executable, script, *arguments, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    'words, module',
    [
        (['python', '-m', 'mmmim', 'train'], 'mmmim'),
        (['python', '-X', 'dev', '-Im', 'mmmim'], 'mmmim'),
        (['python', '-u', 'script.py', '-m', 'mmmim'], ''),
        (['python', '-m', 'pytest', '-m', 'mmmim'], 'pytest'),
        (['python', '-c', 'import mmmim', '-m', 'mmmim'], ''),
        (['python'], ''),
    ],
)
def test_which_module_python_runs(words, module):
    assert mmmim._module_that_runs(words) == module
