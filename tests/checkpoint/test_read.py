"""Hostile, damaged and wrong checkpoint files do no harm through any entry point, and the error names the cause."""

import argparse
import os
import pickle
import time
import zipfile
from collections import OrderedDict
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel, BaseModule
from mmengine.runner import Runner, load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn
from torch.utils.data import Dataset

from mmmim.checkpoint import CorruptCheckpointError, UnsafeCheckpointError, export_encoder, load_file

# --- hostile pickles -------------------------------------------------------------------------------------------------


class Call:
    """Pickles as the call ``function(*arguments)``, executed by whoever unpickles it carelessly."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __call__(self):  # pickle wants a callable where a call's result is called
        raise AssertionError

    def __reduce__(self):
        return self.function, self.arguments


def by_system(marker):
    return Call(os.system, f'touch {marker}')


def by_getattr(marker):
    """Climbs with ``getattr`` from a class on the allow-list to ``exec``."""
    scope = Call(getattr, Call(getattr, argparse.Namespace, '__init__'), '__globals__')
    builtins = Call(Call(getattr, scope, '__getitem__'), '__builtins__')
    return Call(Call(Call(getattr, builtins, '__getitem__'), 'exec'), f'open({str(marker)!r}, "w")')


def by_eval(marker):
    return Call(eval, f'open({str(marker)!r}, "w")')


PAYLOADS = {'system': (by_system, 'system'), 'getattr': (by_getattr, 'getattr'), 'eval': (by_eval, 'eval')}


@pytest.fixture(
    params=[(name, form) for name in PAYLOADS for form in ('zip', 'legacy', 'pickle4')],
    ids=lambda param: '-'.join(param),
)
def hostile(request, tmp_path):
    """Returns (path, marker, name in the error): the file creates ``marker`` when its pickle is executed."""
    name, form = request.param
    build, wanted = PAYLOADS[name]
    marker, path = tmp_path / 'marker', tmp_path / 'hostile.pth'
    content = {'state_dict': {'weight': torch.ones(2, 2)}, 'meta': {}, 'extra': build(marker)}
    if form == 'pickle4':
        path.write_bytes(pickle.dumps({'extra': build(marker)}, protocol=4))
        pickle.loads(path.read_bytes())
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == 'zip')
        torch.load(path, weights_only=False)
    assert marker.exists()  # the control: the weapon is loaded
    marker.unlink()
    return path, marker, wanted


def pretrained(path, prefix=None):
    class Toy(BaseModule):
        def __init__(self):
            super().__init__(init_cfg=dict(type='Pretrained', checkpoint=str(path), prefix=prefix))
            self.weight = nn.Parameter(torch.zeros(2, 2))

    module = Toy()
    module.init_weights()
    return module


ENTRY_POINTS = {
    'load_file': load_file,
    'loader': lambda path: CheckpointLoader.load_checkpoint(str(path)),
    'load_checkpoint': lambda path: load_checkpoint(nn.Linear(2, 2), str(path), map_location='cpu'),
    'pretrained': pretrained,
    'pretrained_prefix': partial(pretrained, prefix='backbone.'),
    'load_from': lambda path: make_runner(path.parent / 'run', load_from=str(path)).load_or_resume(),
    'resume': lambda path: make_runner(path.parent / 'run').resume(str(path)),
}


@pytest.mark.parametrize('entry', ENTRY_POINTS)
def test_hostile_pickle_is_refused_and_not_run(hostile, entry):
    path, marker, wanted = hostile
    with pytest.raises(UnsafeCheckpointError) as caught:
        ENTRY_POINTS[entry](path)
    assert not marker.exists()
    assert str(path) in str(caught.value) and wanted in str(caught.value)


def test_environment_and_other_code_do_not_widen_the_list(tmp_path, monkeypatch):
    marker, path = tmp_path / 'marker', tmp_path / 'hostile.pth'
    torch.save({'extra': by_getattr(marker)}, path)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    torch.serialization.add_safe_globals([getattr])
    try:
        with pytest.raises(UnsafeCheckpointError):
            load_file(path)
        assert getattr in torch.serialization.get_safe_globals()  # and what other code set is left as it was
    finally:
        torch.serialization.clear_safe_globals()
    assert not marker.exists()


# --- configs in checkpoints ------------------------------------------------------------------------------------------


class Images(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(inputs=torch.ones(2))


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, inputs, mode='loss'):
        return dict(loss=self.layer(torch.stack(inputs)).mean())


def make_runner(work_dir, **settings):
    return Runner(
        Toy(),
        str(work_dir),
        train_dataloader=dict(
            dataset=Images(), batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False)
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=None, logger=None),
        default_scope='mmengine',
        log_level='ERROR',
        experiment_name=f'toy-{time.time_ns()}',
        **settings,
    )


@pytest.mark.parametrize('key', ['cfg', 'config'])
def test_config_text_in_a_checkpoint_is_not_run(tmp_path, key):
    marker, path = tmp_path / 'marker', tmp_path / 'epoch_1.pth'
    text = f'import os\nos.system("touch {marker}")\nmodel = dict()\n'
    Config.fromstring(text, '.py')
    assert marker.exists()  # the control: MMEngine runs such a text
    marker.unlink()
    hub = dict(log_scalars={}, runtime_info=dict(cfg=text, epoch=1), resumed_keys=dict(cfg=True, epoch=True))
    checkpoint = dict(meta={key: text, 'epoch': 1, 'iter': 2}, state_dict=Toy().state_dict(), message_hub=hub)
    torch.save(checkpoint, path)
    runner = make_runner(tmp_path / 'run', load_from=str(path), resume=True)
    runner.train()
    assert runner.iter == 4  # it resumed at 2 and went on
    assert not marker.exists()
    loaded = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    assert loaded['meta'] == {f'{key}_text': text, 'epoch': 1, 'iter': 2}
    assert loaded['message_hub']['runtime_info'] == dict(cfg_text=text, epoch=1)


# --- what a checkpoint may hold --------------------------------------------------------------------------------------


@pytest.mark.parametrize('new_format', [True, False])
def test_plain_content_loads(tmp_path, new_format):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    content = dict(
        model=OrderedDict(weight=torch.ones(2)),
        args=argparse.Namespace(lr=0.1, model='mae_vit_base'),
        scalar=np.float64(2.5),
        flag=np.bool_(True),
        text=np.array(['a', 'bc']),
        array=array,
        fortran=np.asfortranarray(array),
        big_endian=array.astype('>f4'),
        empty=np.zeros((0, 3)),
        shape=torch.Size([2]),
        values=[1, None, {'a'}, (2.0, b'raw')],
    )
    torch.save(content, tmp_path / 'a.pth', _use_new_zipfile_serialization=new_format)
    loaded = load_file(tmp_path / 'a.pth')
    assert torch.equal(loaded['model']['weight'], torch.ones(2))
    assert loaded['args'] == content['args'] and loaded['values'] == content['values']
    assert loaded['scalar'] == 2.5 and type(loaded['scalar']) is np.float64 and loaded['flag']
    for key in ('text', 'array', 'fortran', 'big_endian', 'empty'):
        np.testing.assert_array_equal(loaded[key], content[key])
        assert loaded[key].dtype == content[key].dtype.newbyteorder('=')  # numpy itself reads into native order
    assert pickle.dumps(loaded['array']) == pickle.dumps(array)  # MMEngine compares dataset_meta like this
    torch.save(loaded['array'], tmp_path / 'b.pth')
    assert type(torch.load(tmp_path / 'b.pth', weights_only=False)) is np.ndarray


def test_names_of_numpy_before_2_load(tmp_path):
    torch.save(dict(a=np.float32(1.5)), tmp_path / 'new.pth')
    with zipfile.ZipFile(tmp_path / 'new.pth') as new, zipfile.ZipFile(tmp_path / 'old.pth', 'w') as old:
        for name in new.namelist():
            old.writestr(name, new.read(name).replace(b'numpy._core.', b'numpy.core.'))
    assert load_file(tmp_path / 'old.pth')['a'] == 1.5


class CraftedDtype:
    """Pickles as a float64 dtype whose internal flags claim that its items are pointers."""

    def __reduce__(self):
        return np.dtype, ('f8', False, True), (3, '<', None, None, None, -1, -1, 63)


class CraftedArray:
    def __init__(self, dtype, raw, shape=(1,)):
        self.state = (1, shape, dtype, False, raw)

    def __reduce__(self):
        return np.zeros(0).__reduce__()[0], (np.ndarray, (0,), b'b'), self.state


def test_crafted_numpy_content_cannot_reach_memory(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(dict(a=CraftedArray(CraftedDtype(), b'\x41' * 8)), path)
    array = load_file(path)['a']
    assert array.dtype == np.float64 and array.dtype.flags == 0
    torch.save(dict(a=CraftedArray(np.dtype('O'), b'\x41' * 8)), path)
    with pytest.raises(UnsafeCheckpointError, match='numpy.dtype'):
        load_file(path)
    torch.save(dict(a=CraftedArray(np.dtype('f8'), b'\x41' * 8, shape=(10**9,))), path)
    with pytest.raises(CorruptCheckpointError):
        load_file(path)
    torch.save(dict(a=np.array([object()], dtype=object)), path)
    with pytest.raises(UnsafeCheckpointError, match='builtins.object'):
        load_file(path)


def test_histories_of_training_are_read_as_numbers(tmp_path):
    """As the runner of MMEngine saves them without a hook of ours, and again after they were read."""
    path = tmp_path / 'a.pth'
    torch.save(dict(message_hub=dict(loss=HistoryBuffer([1.0, 4.0], [1, 3], max_length=5))), path)
    history = load_file(path)['message_hub']['loss']
    assert type(history) is HistoryBuffer and history.mean(2) == 1.25 and history.max_length == 5
    history.update(2.0)
    assert history.statistics('current') == 2.0
    torch.save(history, path)
    again = torch.load(path, weights_only=False)
    assert type(again) is HistoryBuffer and again.data[0].tolist() == [1.0, 4.0, 2.0]


def crafted_history():
    history = HistoryBuffer([1.0], [1])
    history._log_history = [[1.0]]
    return history


@pytest.mark.parametrize(
    'crafted, message',
    [
        (lambda: Call(HistoryBuffer, [1.0], [1]), 'plain numbers'),
        (crafted_history, 'plain numbers'),
        (lambda: Call(Call(getattr, Call(getattr, HistoryBuffer, '__init__'), '__globals__')), 'builtins.getattr'),
        (lambda: Call(Call(getattr, HistoryBuffer, 'register_statistics'), print), 'unrecognized function|print'),
    ],
    ids=['call', 'state', 'globals', 'method'],
)
def test_nothing_is_reached_by_way_of_a_history(crafted, message, tmp_path):
    torch.save(dict(a=crafted()), tmp_path / 'a.pth')
    with pytest.raises(UnsafeCheckpointError, match=message):
        load_file(tmp_path / 'a.pth')


# --- missing and damaged files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['absent.pth', 'absent.safetensors'])
def test_missing_file(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=name):
        CheckpointLoader.load_checkpoint(str(tmp_path / name))
    with pytest.raises(IsADirectoryError, match='is a folder'):
        load_file(tmp_path)


@pytest.mark.parametrize('kind', ['zip', 'legacy', 'safetensors'])
@pytest.mark.parametrize('kept', [0, 3, 0.5, 0.98])
def test_truncated_file(tmp_path, kind, kept):
    path = tmp_path / ('a.safetensors' if kind == 'safetensors' else 'a.pth')
    if kind == 'safetensors':
        export_encoder(dict(weight=torch.ones(64, 64)), path, {})
    else:
        torch.save(dict(weight=torch.ones(64, 64)), path, _use_new_zipfile_serialization=kind == 'zip')
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    with pytest.raises(CorruptCheckpointError, match='bytes') as caught:
        load_file(path)
    assert str(path) in str(caught.value) and 'download it again' in str(caught.value)


@pytest.mark.parametrize(
    'content, reason',
    [
        (b'<!DOCTYPE html>\n<html>404</html>', 'web page'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'LFS'),
        (b'cos\nsystem\n(S"true"\ntR.', 'system'),
        (bytes(range(255, 0, -1)), 'not a readable'),
        (b'\x80\x02' + b'\xff' * 60, 'not a readable'),
    ],
    ids=['html', 'lfs', 'protocol0', 'noise', 'torn'],
)
def test_no_checkpoint_at_all(tmp_path, content, reason):
    path = tmp_path / 'a.pth'
    path.write_bytes(content)
    with pytest.raises((CorruptCheckpointError, UnsafeCheckpointError), match=reason):
        load_file(path)


@pytest.mark.filterwarnings('ignore')
def test_torchscript_is_refused(tmp_path):
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / 'a.pt')
    with pytest.raises(UnsafeCheckpointError, match='TorchScript'):
        load_file(tmp_path / 'a.pt')
