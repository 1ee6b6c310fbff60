"""When checkpoints are written, which stay, and what happens when the disk is full."""

import errno
import os
import signal
import subprocess
import sys

import pytest
import torch
from harness import make_config, train_here
from mmengine.hooks import Hook

from mmmim.checkpoint import CheckpointWriteError
from mmmim.checkpoint.newest import newest_whole
from mmmim.engine.hooks.checkpoint import AtomicBackend
from mmmim.engine.hooks.runtime_info import CurveFile
from mmmim.registry import HOOKS

pytestmark = pytest.mark.runs


def _config(work_dir, images, **hook):
    options = {f'default_hooks.checkpoint.{key}': value for key, value in hook.items()}
    return make_config(
        work_dir, images, epochs=3, **{'custom_imports.imports': ['mmmim'], 'experiment_name': f'{work_dir}', **options}
    )


def _files(work_dir):
    return sorted(name for name in os.listdir(work_dir) if name.endswith('.pth'))


@pytest.mark.parametrize(
    'hook, expected',
    [
        (dict(interval=1, max_keep_ckpts=-1), ['epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth']),
        (dict(interval=2, max_keep_ckpts=-1), ['epoch_2.pth', 'epoch_3.pth']),
        (dict(interval=1, max_keep_ckpts=1), ['epoch_3.pth']),
        (dict(interval=5, by_epoch=False, max_keep_ckpts=-1), ['iter_10.pth', 'iter_12.pth', 'iter_5.pth']),
        (dict(interval=-1, interval_minutes=1e-9, max_keep_ckpts=2), ['epoch_3.pth', 'iter_12.pth']),
    ],
    ids=['epochs', 'every-second', 'keep-one', 'iterations', 'minutes'],
)
def test_intervals_and_pruning(tmp_path, image_root, hook, expected):
    train_here(_config(tmp_path / 'run', image_root, **hook))
    assert _files(tmp_path / 'run') == expected


def test_time_interval_saves_in_mid_epoch(tmp_path, image_root, monkeypatch):
    """With a clock that moves 20 seconds at each look, a minute passes every few iterations."""
    now = [0.0]

    def clock():
        now[0] += 20
        return now[0]

    monkeypatch.setattr('mmmim.engine.hooks.checkpoint.time.monotonic', clock)
    train_here(
        _config(tmp_path / 'run', image_root, interval=-1, interval_minutes=1, save_last=False, max_keep_ckpts=-1)
    )
    assert _files(tmp_path / 'run') == ['iter_12.pth', 'iter_3.pth', 'iter_6.pth', 'iter_9.pth']


def test_full_disk_ends_the_run_and_keeps_the_last_good_checkpoint(tmp_path, image_root, monkeypatch):
    flush = os.fsync

    def fsync(handle):
        if any('epoch_2.pth' in name for name in os.listdir(tmp_path / 'run')):
            raise OSError(errno.ENOSPC, 'No space left on device')
        flush(handle)

    monkeypatch.setattr(os, 'fsync', fsync)
    with pytest.raises(CheckpointWriteError, match='No space left.*bytes are free'):
        train_here(_config(tmp_path / 'run', image_root, interval=1))
    pointer = (tmp_path / 'run/last_checkpoint').read_text()
    assert torch.load(pointer, weights_only=True)['meta']['iter'] == 4
    assert not [name for name in os.listdir(tmp_path / 'run') if name.endswith('.tmp')]


def test_a_checkpoint_is_moved_with_its_work_dir(tmp_path, image_root):
    """``--resume`` follows the pointer; a work dir may have been moved to another machine in between."""
    train_here(_config(tmp_path / 'run', image_root, interval=1))
    os.rename(tmp_path / 'run', tmp_path / 'moved')
    cfg = _config(tmp_path / 'moved', image_root, interval=1)
    cfg.resume = True
    assert train_here(cfg).iter == 12


@pytest.mark.parametrize(
    'error', [BrokenPipeError, RuntimeError, ValueError], ids=['reader-gone', 'in-the-middle-of-a-write', 'closed']
)
def test_ctrl_c_saves_though_nobody_reads_what_is_printed(tmp_path, image_root, monkeypatch, error):
    """``| tee log`` ends by the same Ctrl-C."""

    class Stdout:
        def write(self, text):
            raise error

        flush = isatty = lambda self, *_: False

    @HOOKS.register_module(name='CtrlC', force=True)
    class CtrlC(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter == 4:
                monkeypatch.setattr(sys, 'stdout', Stdout())
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(SystemExit) as end:
        cfg = _config(tmp_path / 'run', image_root, interval=5)
        cfg.custom_hooks = [dict(type='CtrlC')]
        train_here(cfg)
    assert end.value.code == 75 and (tmp_path / 'run/last_checkpoint').read_text().endswith('iter_5.pth')


def test_the_exit_code_stays_though_nobody_reads_what_is_printed():
    script = (
        'import sys\nfrom mmmim.engine.hooks.checkpoint import _say\n'
        "sys.stdout.write('buffered')\n_say('Stopping')\nraise SystemExit(75)"
    )
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, '-c', script],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if name != 'PYTHONUNBUFFERED'},
        )
    finally:
        os.close(writer)
    assert (done.returncode, 'Error' in done.stderr) == (75, False), done.stderr


@pytest.fixture
def old(tmp_path, image_root):
    """A work dir with epoch_2.pth and epoch_3.pth, and the config of a run that dies in its first iteration there."""

    @HOOKS.register_module(name='FailHook', force=True)
    class FailHook(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            raise OSError('gone')

    train_here(_config(tmp_path / 'run', image_root, interval=1))
    again = _config(tmp_path / 'run', image_root, interval=1)
    again.custom_hooks = [dict(type='FailHook')]
    return tmp_path / 'run', again


def test_a_new_run_in_an_old_folder_does_not_leave_the_old_one_to_be_resumed(old):
    run, again = old
    with pytest.raises(OSError, match='gone'):
        train_here(again)
    assert newest_whole(run) == (None, {}) and not (run / 'last_checkpoint').exists()
    assert _files(run / 'earlier_1') == ['epoch_2.pth', 'epoch_3.pth']


def test_a_run_that_goes_back_to_an_older_checkpoint_is_not_resumed_from_a_later_one(old):
    run, again = old
    again.update(resume=True, load_from=str(run / 'epoch_2.pth'))
    with pytest.raises(OSError, match='gone'):
        train_here(again)
    assert newest_whole(run)[0].path == str(run / 'epoch_2.pth') and _files(run / 'earlier_1') == ['epoch_3.pth']


def test_the_last_whole_checkpoint_stays_where_the_disk_loses_the_new_one(tmp_path, image_root, monkeypatch):
    def put(self, data, path, original=AtomicBackend.put):
        original(self, data[:1000] if 'epoch_3' in path else data, path)

    monkeypatch.setattr(AtomicBackend, 'put', put)
    train_here(_config(tmp_path / 'run', image_root, interval=1, max_keep_ckpts=1))
    assert newest_whole(tmp_path / 'run')[0].path == str(tmp_path / 'run/epoch_2.pth')


def test_curve_survives_a_torn_line(tmp_path):
    curve = CurveFile(str(tmp_path / 'curve.jsonl'))
    curve.append([dict(iter=i, loss=1.0 / i) for i in (1, 2, 3)])
    with open(curve.path, 'a') as file:
        file.write('{"iter": 4, "lo')
    assert [record['iter'] for record in curve.read()] == [1, 2, 3]
    curve.cut_after(2)
    curve.append([dict(iter=3, loss=0.3)])
    assert [record['iter'] for record in curve.read()] == [1, 2, 3]
