"""tools/quickstart.py: every stage once, a finished run shown again, an interrupted one continued."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from harness import ROOT, environment

pytestmark = pytest.mark.runs

TINY = [
    'model.backbone.arch.embed_dim=32',
    'model.backbone.arch.depth=2',
    'model.backbone.arch.num_heads=2',
    'model.backbone.img_size=32',
    'model.backbone.patch_size=8',
    'model.neck.embed_dim=16',
    'model.neck.depth=1',
    'model.neck.num_heads=2',
    'train_pipeline.1.size=32',
    'test_pipeline.1.size=32',
    'max_epochs=3',
    'train_dataloader.num_workers=1',
    'test_dataloader.num_workers=1',
]


@pytest.fixture
def checkout(tmp_path):
    """A checkout with work dirs of its own; the code is this one's."""
    copy = tmp_path / 'checkout'
    copy.mkdir()
    shutil.copytree(ROOT / 'tools', copy / 'tools')
    return copy


def _start(checkout, folder, **kwargs):
    return subprocess.Popen(
        [sys.executable, checkout / 'tools/quickstart.py', '--folder', folder, '--cfg-options', *TINY],
        env=environment(MMMIM_PROGRESS='lines'),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **kwargs,
    )


def _finish(checkout, folder):
    process = _start(checkout, folder)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output[-4000:]
    return output


def test_whole_and_again_without_doing_anything_twice(checkout, image_root):
    first = _finish(checkout, image_root)
    for words in (
        '2/6 data',
        '3/6 measuring the random initialisation',
        '4/6 pre-training; Ctrl-C',
        '5/6 measuring',
        '6/6 report',
        'k-NN accuracy',
        'linear probe',
        'images a second',
    ):
        assert words in first, words
    work_dir = checkout / 'work_dirs/quickstart_photos'
    # a folder of images has no masks: said once, with what to do, and nothing more
    assert 'segmentation and detection need masks and boxes, and are left out' in first
    assert 'vit-tiny_folder_*.py' in first and not list(work_dir.glob('segmentation*'))
    page = (work_dir / 'report.html').read_text(encoding='utf-8')
    assert 'data:image/' in page and 'http-equiv="refresh"' not in page
    kept = {path: path.stat().st_mtime_ns for path in [*work_dir.glob('*.pth'), *work_dir.glob('evaluations/*.json')]}
    assert len(kept) >= 3
    logs = len(list(work_dir.glob('2*')) + list(work_dir.glob('test/2*')))
    again = _finish(checkout, image_root)
    assert 'pre-training: done before' in again
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list(work_dir.glob('2*')) + list(work_dir.glob('test/2*'))) == logs  # no tool ran
    assert first.split('random initialisation')[-1].split('pre-training ')[0] in again  # the same table


def _interrupt(checkout, folder, stage, ready):
    """Ctrl-C as a terminal sends it, in a stage, as soon as ``ready()``; returns all output."""
    process = _start(checkout, folder, start_new_session=True)
    output = ''
    for line in process.stdout:
        output += line
        if stage in line:
            break
    deadline = time.monotonic() + 300
    while not ready():
        assert time.monotonic() < deadline and process.poll() is None, output
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=300)
    assert process.returncode == 130 and 'the same command continues' in rest, output + rest
    assert 'Traceback' not in rest
    return output + rest


@pytest.mark.slow
def test_ctrl_c_in_each_stage_and_the_same_command_continues(checkout, image_root):
    work_dir = checkout / 'work_dirs/quickstart_photos'
    _interrupt(checkout, image_root, '3/6', (work_dir / 'quickstart.log').exists)
    assert not (work_dir / 'evaluations').exists()
    _interrupt(checkout, image_root, '4/6', (work_dir / 'run.json').exists)
    assert 'k-NN accuracy' in _finish(checkout, image_root)
    record = json.loads((work_dir / 'run.json').read_text())
    done = [(s['from_iter'], s['to_iter']) for s in record['sessions']]
    assert [end for _, end in done[:-1]] == [start for start, _ in done[1:]] and done[-1][1] == record['max_iters']
    assert record['finished']


def test_folder_without_labels_or_with_broken_files(checkout, image_root, tmp_path):
    flat = tmp_path / 'flat'
    shutil.copytree(image_root / 'class0', flat)
    (flat / 'text.jpg').write_text('no image')
    (flat / 'notes.txt').write_text('not even by its name')
    output = _finish(checkout, flat)
    assert 'k-NN' not in output and 'reconstruction loss, held out' in output
    assert 'files that could not be read: 1' in output


def test_other_images_under_the_same_path_are_an_error(checkout, image_root, tmp_path):
    photos = tmp_path / 'mine'
    shutil.copytree(image_root, photos)
    work_dir = checkout / 'work_dirs/quickstart_mine'
    work_dir.mkdir(parents=True)
    (work_dir / 'pretrain.py').write_text(f'data_root = {str(photos)!r}  # edited')
    process = _start(checkout, photos)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1 and 'Traceback' not in output
    assert 'says something else' in output and 'remove' in output


def test_scripts_refuse_what_is_no_folder(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'file').write_text('')
    for name, message in (('nowhere', 'there is no folder'), ('file', 'is a file'), ('empty', 'there are no images')):
        done = subprocess.run(
            ['bash', ROOT / 'tools/quickstart.sh', tmp_path / name], capture_output=True, text=True, timeout=180
        )
        assert done.returncode == 2 and message in done.stderr and 'environment' not in done.stdout
