"""A write happens completely or not at all; every scheme of MMEngine's loader is ours; downloads are checked."""

import errno
import os
import socket
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmmim.checkpoint import (
    CheckpointWriteError,
    CorruptCheckpointError,
    UnsafeCheckpointError,
    atomic_save,
    atomic_write_text,
    export_encoder,
    load_file,
    remove_stale_temporaries,
)

ROOT = Path(__file__).resolve().parents[2]

# --- schemes ----------------------------------------------------------------------------------------------------------


def test_every_scheme_of_mmengine_is_ours():
    for scheme, loader in CheckpointLoader._schemes.items():
        assert loader.__module__ == 'mmmim.checkpoint.hub', scheme
    for address in ('pavi://a/b.pth', 's3://bucket/a.pth', 'petrel:s3://bucket/a.pth', 'petrel://a.pth'):
        with pytest.raises(ValueError, match='Download the file'):
            CheckpointLoader.load_checkpoint(address)
    with pytest.raises(ValueError, match='knows no model of this name'):
        CheckpointLoader.load_checkpoint('mmcls://no_such_model')


@pytest.mark.runs
def test_import_is_cheap():
    """Our own modules import none of these; MMEngine's optimizers import transformers' top module where it exists."""
    code = (
        'import sys, mmengine.runner.checkpoint\nbefore = set(sys.modules)\nimport mmmim\n'
        'new = {name.split(".")[0] for name in set(sys.modules) - before}\n'
        'assert not new & {"torchvision", "timm", "transformers", "mmcv", "safetensors"}, new\n'
        'assert not {"torchvision", "timm", "mmcv"} & set(sys.modules)'
    )
    subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True)


# --- downloads -------------------------------------------------------------------------------------------------------


class Touch:
    """Pickles as a command that creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_download_is_cached_checked_and_safe(tmp_path, monkeypatch):
    served = tmp_path / 'served'
    served.mkdir()
    torch.save(dict(weight=torch.ones(2)), served / 'model.pth')
    torch.save(dict(weight=torch.ones(2)), served / 'model-0123abcd.pth')
    torch.save(dict(extra=Touch(tmp_path / 'marker')), served / 'hostile.pth')
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Silent, directory=str(served)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    base = f'http://127.0.0.1:{server.server_port}'
    try:
        load = partial(CheckpointLoader.load_checkpoint, map_location='cpu')
        assert torch.equal(load(f'{base}/model.pth')['weight'], torch.ones(2))
        with pytest.raises(CorruptCheckpointError, match='invalid hash'):
            load(f'{base}/model-0123abcd.pth')
        with pytest.raises(UnsafeCheckpointError):
            load(f'{base}/hostile.pth')
        with pytest.raises(ConnectionError, match='404'):
            load(f'{base}/absent.pth')
    finally:
        server.shutdown()
        server.server_close()
    assert not (tmp_path / 'marker').exists()
    assert torch.equal(load(f'{base}/model.pth')['weight'], torch.ones(2))  # from the cache: the server is gone


# --- writing ---------------------------------------------------------------------------------------------------------


def test_atomic_save_replaces(tmp_path):
    path = tmp_path / 'new' / 'a.pth'
    for value in (1, 2):
        atomic_save(dict(value=value), path)
        assert load_file(path) == dict(value=value)
    atomic_write_text(path.parent / 'last_checkpoint', str(path))
    assert (path.parent / 'last_checkpoint').read_text() == str(path)
    assert sorted(os.listdir(path.parent)) == ['a.pth', 'last_checkpoint']


def fill_disk(checkpoint, file):
    file.write(b'half a file')
    raise OSError(errno.ENOSPC, 'No space left on device')


def fail_in_zip_writer(checkpoint, file):
    file.write(b'half a file')
    raise RuntimeError('[enforce fail at inline_container.cc] unexpected pos')


def interrupt(checkpoint, file):
    file.write(b'half a file')
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    'failure, error', [(fill_disk, CheckpointWriteError), (fail_in_zip_writer, OSError), (interrupt, KeyboardInterrupt)]
)
def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch, failure, error):
    path = tmp_path / 'a.pth'
    atomic_save(dict(value=1), path)
    monkeypatch.setattr(torch, 'save', failure)
    with pytest.raises(error) as caught:
        atomic_save(dict(value=2), path)
    if error is not KeyboardInterrupt:
        assert str(path) in str(caught.value) and 'bytes are free' in str(caught.value)
    assert os.listdir(tmp_path) == ['a.pth']
    assert load_file(path) == dict(value=1)


def test_full_disk_for_real(tmp_path, monkeypatch):
    """A device that is always full takes the place of the temporary file."""
    path = tmp_path / 'a.pth'
    atomic_save(dict(value=1), path)
    monkeypatch.setattr(
        'builtins.open',
        lambda name, mode='r', *rest, original=open: original(
            '/dev/full' if str(name).endswith('.tmp') else name, mode, *rest
        ),
    )
    with pytest.raises(CheckpointWriteError, match='bytes are free'):
        atomic_save(dict(weight=torch.ones(2**16)), path)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ['a.pth'] and load_file(path) == dict(value=1)


@pytest.mark.parametrize('moment', ['fsync', 'replace'])
def test_failure_after_the_bytes_leaves_the_old_text(tmp_path, monkeypatch, moment):
    path = tmp_path / 'last_checkpoint'
    atomic_write_text(path, 'old')

    def fail(*_):
        raise OSError(errno.EIO, 'Input/output error')

    monkeypatch.setattr(os, moment, fail)
    with pytest.raises(CheckpointWriteError, match='last_checkpoint'):
        atomic_write_text(path, 'new')
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ['last_checkpoint'] and path.read_text() == 'old'


def test_bytes_reach_the_disk_before_the_name_moves(tmp_path, monkeypatch):
    order = []
    for name in ('fsync', 'replace'):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (order.append(name), real(*args)))
    atomic_save(dict(value=1), tmp_path / 'a.pth')
    assert order == ['fsync', 'replace', 'fsync']


def test_a_folder_that_is_made_reaches_the_disk_with_its_parents(tmp_path, monkeypatch):
    flushed, real = [], os.fsync
    monkeypatch.setattr(
        os, 'fsync', lambda handle: (flushed.append(os.readlink(f'/proc/self/fd/{handle}')), real(handle))
    )
    atomic_write_text(tmp_path / 'one/two/last_checkpoint', 'text')
    assert flushed[1:] == [str(tmp_path / 'one/two'), str(tmp_path / 'one'), str(tmp_path)]


def test_stale_temporaries(tmp_path):
    child = subprocess.Popen([sys.executable, '-c', 'pass'])
    child.wait()  # its id belongs to nobody now
    host = socket.gethostname()
    names = dict(
        dead=f'.a.pth.{host}.{child.pid}.tmp',
        alive=f'.a.pth.{host}.{os.getppid()}.tmp',
        elsewhere=f'.a.pth.other-host.{child.pid}.tmp',
        old=f'.b.pth.other-host.{child.pid}.tmp',
        foreign='.notes.tmp',
        checkpoint='a.pth',
    )
    for name in names.values():
        (tmp_path / name).write_text('')
    os.utime(tmp_path / names['old'], (1, 1))
    removed = remove_stale_temporaries(tmp_path)
    assert {Path(path).name for path in removed} == {names['dead'], names['old']}
    assert set(os.listdir(tmp_path)) == set(names.values()) - {names['dead'], names['old']}
    assert remove_stale_temporaries(tmp_path / 'absent') == []


@pytest.mark.runs
def test_killed_writer_leaves_the_old_file_and_a_removable_temporary(tmp_path):
    path = tmp_path / 'a.pth'
    atomic_save(dict(value=1), path)
    code = (
        'import os, sys, torch\nfrom mmmim.checkpoint import atomic_save\n'
        'def die(checkpoint, file):\n    file.write(b"half"); file.flush(); os.kill(os.getpid(), 9)\n'
        'torch.save = die\natomic_save({}, sys.argv[1])'
    )
    result = subprocess.run([sys.executable, '-c', code, str(path)], cwd=ROOT)
    assert result.returncode == -9
    assert len(os.listdir(tmp_path)) == 2 and load_file(path) == dict(value=1)
    assert len(remove_stale_temporaries(tmp_path)) == 1
    assert os.listdir(tmp_path) == ['a.pth']


def test_export_encoder(tmp_path):
    from safetensors import safe_open

    path = tmp_path / 'encoder.safetensors'
    table = torch.randn(4, 6)
    state = {'backbone.a': table.t(), 'backbone.b': table, 'backbone.c': table.bfloat16(), 'neck.d': table}
    export_encoder(state, path, dict(depth=2, name='vit'))
    with safe_open(path, framework='pt') as file:
        assert file.metadata()['format'] == 'pt'
    loaded = load_file(path)
    assert loaded['meta'] == dict(config=dict(depth=2, name='vit'))
    assert set(loaded['state_dict']) == {'a', 'b', 'c'}
    assert torch.equal(loaded['state_dict']['a'], table.t()) and loaded['state_dict']['c'].dtype == torch.float32
    export_encoder(nn.Linear(2, 2), path, {})
    assert set(load_file(path)['state_dict']) == {'weight', 'bias'}
    assert os.listdir(tmp_path) == ['encoder.safetensors']
