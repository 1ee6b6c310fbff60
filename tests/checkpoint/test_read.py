"""Hostile, damaged and wrong checkpoint files do no harm through any entry point, and the error names the cause."""

import argparse
import datetime
import os
import pathlib
import pickle
import shutil
import sys
import time
import types
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque
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


NOON = datetime.datetime(2024, 2, 29, 12, 30, 1, 70000, tzinfo=datetime.timezone(datetime.timedelta(hours=-3)), fold=1)
PLAIN = {  # what is saved: what is read, where it differs
    'path': (pathlib.PurePosixPath('/a/b.pth'), '/a/b.pth'),
    'windows_path': (pathlib.PureWindowsPath('c:/a/b.pth'), 'c:\\a\\b.pth'),
    'time': (NOON,) * 2,
    'date': ([NOON.date(), NOON.timetz(), datetime.timedelta(3, 4, 5), datetime.timezone.utc],) * 2,
    'counter': (Counter('abca'),) * 2,
    'defaultdict': (defaultdict(list, a=[1]), dict(a=[1])),
    'deque': (deque([1, 2], maxlen=2), [1, 2]),
    'sets': ([{1, 'a'}, set(range(3000)), set(), frozenset({(1, 2)})],) * 2,
    'simple_namespace': (types.SimpleNamespace(a=1), argparse.Namespace(a=1)),
    'empty_namespace': (argparse.Namespace(),) * 2,
    'types': ([int, np.float32], ['int', 'numpy.float32']),
    'bytes': ([b'\x00\xff' * 200, bytearray(b'\x80a'), bytearray(), b''],) * 2,
    'numbers': ([2**70, -1, 1 + 2j, True, None, 1e-300, 10**4000],) * 2,
    'shared': ((lambda key: [{key: 1}, {key: 2}])('a' * 300),) * 2,
    'torch': ([torch.float16, torch.Size([2, 3]), torch.device('cuda:1'), torch.strided],) * 2,
}
FLOATS = [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.bool]
EIGHT_BITS = [torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize('new_format', [True, False])
@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_every_protocol_is_read(tmp_path, protocol, new_format):
    content = {key: value for key, (value, _) in PLAIN.items()}
    dtypes = FLOATS + EIGHT_BITS * new_format  # which torch itself does not read from the older format
    content['weights'] = weights = [torch.arange(4).to(dtype) for dtype in dtypes]
    content['parameter'] = nn.Parameter(torch.ones(2))
    content['module'] = nn.BatchNorm1d(2).state_dict()
    content['arrays'] = arrays = [np.arange(6.0).reshape(2, 3).T, np.float16(2), np.array([True]), np.zeros((0, 2))]
    torch.save(content, tmp_path / 'a.pth', pickle_protocol=protocol, _use_new_zipfile_serialization=new_format)
    loaded = load_file(tmp_path / 'a.pth')
    for key, (_, expected) in PLAIN.items():
        assert loaded[key] == expected and type(loaded[key]) is type(expected), key
    for theirs, ours in zip(weights, loaded['weights'], strict=True):
        assert theirs.dtype == ours.dtype and torch.equal(theirs.float(), ours.float())
    assert type(loaded['parameter']) is nn.Parameter and loaded['module']._metadata == content['module']._metadata
    for theirs, ours in zip(arrays, loaded['arrays'], strict=True):
        np.testing.assert_array_equal(theirs, ours)
    torch.save(loaded, tmp_path / 'again.pth')  # what was read is ordinary: no stand-in is written
    assert load_file(tmp_path / 'again.pth').keys() == content.keys()
    assert b'mmmim' not in (tmp_path / 'again.pth').read_bytes()


@pytest.mark.parametrize(
    'module, name',
    [
        ('yacs.config', 'CfgNode'),
        ('easydict', 'EasyDict'),
        ('lightning_fabric.utilities.data', 'AttributeDict'),
        ('pathlib._local', 'PosixPath'),
    ],
)
def test_types_of_other_packages_are_read_without_them(tmp_path, monkeypatch, module, name):
    made = types.ModuleType(module)
    if name == 'PosixPath':  # as Python 3.13 writes it
        kind = type(name, (), {'__module__': module, '__reduce__': lambda self: (kind, ('/', 'a'))})
        saved, expected = kind(), '/a'
    else:
        kind = type(name, (dict,), {'__module__': module})
        saved, expected = kind(lr=0.1), {'lr': 0.1}
        saved.values = 'shadows a method'
    setattr(made, name, kind)
    for part in (module.split('.')[0], module):
        monkeypatch.setitem(sys.modules, part, made)
    torch.save(dict(a=saved), tmp_path / 'a.pth')
    loaded = load_file(tmp_path / 'a.pth')['a']
    assert loaded == expected and (name == 'PosixPath' or list(loaded.values()) == [0.1])


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


def raw_pickle(path, pickled):
    """Writes an archive like torch.save's around a pickle."""
    torch.save({}, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in records.items():
            archive.writestr(name, pickled if name.endswith('data.pkl') else content)


def text(value):
    return b'\x8c' + bytes([len(value)]) + value.encode()


SYSTEM = text('posix') + text('system')
LAUGHS = b''.join(b'h%ch%c\x86q%c' % (level, level, level + 1) for level in range(60))  # tuples of two of the former
LISTS = b''.join(b']q%c(h%ch%ce' % (level + 1, level, level) for level in range(60))
CRAFTED = {
    'stack_global': SYSTEM + b'\x93' + text('touch marker') + b'\x85R',
    'stack_global_from_memo': text('posix') + b'\x940' + text('system') + b'\x940h\x00h\x01\x93' + text('x') + b'\x85R',
    'inst': b'(' + text('touch marker') + b'iposix\nsystem\n',
    'obj': b'(cposix\nsystem\n' + text('touch marker') + b'o',
    'extension': b'\x82\x01',
    'persistent_text': b'Pfile\n',
    'persistent_id': text('module') + text('a') + b'\x86Q',
    'newobj_ex': b'cargparse\nNamespace\n)}\x92',
    'dotted': text('argparse') + text('Namespace.__init__') + b'\x93',
    'build_on_class': b'cargparse\nNamespace\nN}' + text('__eq__') + b'K\x01s\x86b',
    'slots': b'cargparse\nNamespace\n)\x81N}' + text('__class__') + b'K\x01s\x86b',
    'build_on_list': b']K\x01b',
    'call_of_a_text': text('int') + b')R',
    'call_of_laughs': b']q\x00' + LISTS + b')R',
    'laughs_as_key': b'K\x01q\x00' + LAUGHS + b'}h\x3cK\x01s',
    'laughs_in_a_set': b'K\x01q\x00' + LAUGHS + b'\x8f(h\x3c\x90',
    'laughs_by_name': b'K\x01q\x00' + LAUGHS + b'cbuiltins\nset\n](h\x3ce\x85R',
    'laughs_as_storage': b'('
    + text('storage')
    + b'ctorch\nFloatStorage\nK\x01q\x00'
    + LAUGHS
    + b'0h\x3c'
    + text('cpu')
    + b'K\x01tQ',
    'copies': b'cbuiltins\nset\n0](' + b'NK\x01' * 4000 + b'eq\x000' + b'cbuiltins\nset\nh\x00\x85R' * 4000,
    'long_bytes': b'\x8e' + (10**12).to_bytes(8, 'little'),
    'long_bytearray': b'\x96' + (10**12).to_bytes(8, 'little'),
    'long_frame': b'\x95' + (10**12).to_bytes(8, 'little'),
    'many_bytes': b'cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R',
    'bytes_by_number': b'cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R',
    'codec': b'c_codecs\nencode\n' + text('a') + text('rot13') + b'\x86R',
    'date': b'cdatetime\ndate\nC\x04\x07\xe8\xff\xff\x85R',
    'date_of_numbers': b'cdatetime\ndatetime\nK\x01\x85R',
    'zone': b'cdatetime\ntimezone\nK\x01\x85R',
    'path_of_numbers': b'cpathlib\nPosixPath\nK\x01\x85R',
    'dtype_state': b'cnumpy\ndtype\nK\x01\x85RNb',
    'array_state': b'cnumpy._core.multiarray\n_reconstruct\n)R(K\x01K\x02K\x03K\x04K\x05tb',
    'scalar': b'cnumpy._core.multiarray\nscalar\nK\x01C\x01a\x86R',
    'buffer': b'cnumpy._core.numeric\n_frombuffer\n(C\x01acnumpy\ndtype\n' + text('O8') + b'\x85R)K\x01tR',
    'layout': b'ctorch.serialization\n_get_layout\n' + text('torch.os') + b'\x85R',
    'namespace_state': b'cargparse\nNamespace\n)\x81]b',
    'call_by_a_call': b'ctorch._tensor\n_rebuild_from_type_v2\n(ctorch\nFloatTensor\nctorch\nFloatTensor\nK\x01\x85NtR',
    'empty_stack': b'0000',
    'no_mark': b'e',
}


@pytest.mark.parametrize('form', ['zip', 'legacy'])
@pytest.mark.parametrize('crafted', CRAFTED)
def test_crafted_pickles_are_refused_at_once(crafted, form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some create the file `marker` in the current folder
    path, marker = tmp_path / 'a.pth', tmp_path / 'marker'
    pickled = b'\x80\x04' + CRAFTED[crafted] + b'.'
    if b'touch marker' in pickled:
        pickle.loads(pickled)
        assert marker.exists()  # the control: the weapon is loaded
        marker.unlink()
    if form == 'zip':
        raw_pickle(path, pickled)
    else:
        torch.save({}, path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes().replace(b'\x80\x02}q\x00.', pickled))
        assert pickled in path.read_bytes()
    begun = time.perf_counter()
    with pytest.raises((UnsafeCheckpointError, CorruptCheckpointError)) as caught:
        load_file(path)
    assert not marker.exists() and time.perf_counter() - begun < 5 and len(str(caught.value)) < 1500


def test_deep_nesting_is_read(tmp_path, depth=100_000):
    raw_pickle(tmp_path / 'a.pth', b'\x80\x02' + b']' * depth + b'a' * (depth - 1) + b'.')
    assert len(load_file(tmp_path / 'a.pth')) == 1


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)


@pytest.mark.parametrize(
    'pickled, what',
    [
        (lambda: pickle.dumps(Model(), 2), 'whole pickled model'),
        (lambda: pickle.dumps(torch.optim.SGD(Model().parameters()), 2), 'pickled optimizer'),
        (lambda: pickle.dumps(torch.utils.data.TensorDataset(torch.ones(2)), 2), 'pickled data set'),
        (lambda: b'\x80\x02ctorch.distributed._shard.sharded_tensor.api\nShardedTensor\n)\x81.', 'sharded'),
        (lambda: b'\x80\x04' + text('sklearn.svm') + text('SVC') + b'\x93)\x81.', 'scikit-learn'),
    ],
    ids=['model', 'optimizer', 'data', 'shard', 'sklearn'],
)
def test_what_is_refused_is_named_with_the_way_out(pickled, what, tmp_path):
    raw_pickle(tmp_path / 'a.pth', pickled())
    with pytest.raises(UnsafeCheckpointError, match=what) as caught:
        load_file(tmp_path / 'a.pth')
    assert 'weights_only' not in str(caught.value) and 'cut off' not in str(caught.value)
    assert '\n' not in str(caught.value)


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


@pytest.mark.parametrize('checked', [True, False])
def test_every_flipped_bit_is_found_or_harmless(checked, tmp_path):
    path, weights = tmp_path / 'a.pth', torch.arange(100.0)
    torch.serialization.set_crc32_options(checked)
    try:
        torch.save(dict(weight=weights), path)
    finally:
        torch.serialization.set_crc32_options(True)
    content, data = path.read_bytes(), weights.numpy().tobytes()
    assert torch.equal(load_file(path)['weight'], weights)  # torch writes sums of 0 where it is told to compute none
    begin = content.index(data)
    found = 0
    for place in range(0, len(content), 1 if checked else 10**9):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            assert torch.equal(load_file(path)['weight'], weights)
        except (CorruptCheckpointError, UnsafeCheckpointError) as error:
            found += 1
            if begin <= place < begin + len(data):
                assert 'a/data/0' in str(error)
        else:
            assert not begin <= place < begin + len(data)
    assert not checked or found > len(data)


@pytest.mark.parametrize('kind', ['zip', 'legacy', 'safetensors'])
def test_a_file_that_is_too_long(tmp_path, kind):
    path = tmp_path / ('a.safetensors' if kind == 'safetensors' else 'a.pth')
    if kind == 'safetensors':
        export_encoder(dict(weight=torch.ones(64, 64)), path, {})
    else:
        torch.save(dict(weight=torch.ones(64, 64)), path, _use_new_zipfile_serialization=kind == 'zip')
    load_file(path)
    path.write_bytes(path.read_bytes() + bytes(100))
    with pytest.raises(CorruptCheckpointError, match='longer than it should be'):
        load_file(path)


KINDS = {
    'html': (b'<!DOCTYPE html>\n<html>404</html>', 'web page'),
    'lfs': (b'version https://git-lfs.github.com/spec/v1\n', 'LFS'),
    'noise': (bytes(range(255, 0, -1)), 'not a readable'),
    'torn': (b'\x80\x02' + b'\xff' * 60, 'not a readable'),
    'zeros': (bytes(5000), 'zeros'),
    'text': ('Größe: a list of results\n'.encode() * 3, 'text file'),
    'config': (b'model = dict(type="MAE")\n', 'text file'),
    'index': (
        b'{"metadata": {}, "weight_map": {"a": "x-1.safetensors", "b": "x-2.safetensors"}}',
        'shards.* the 2 files',
    ),
    'png': (b'\x89PNG\r\n\x1a\n' + bytes(60), 'PNG image'),
    'gzip': (b'\x1f\x8b' + bytes(60), 'gzip'),
    'hdf5': (b'\x89HDF\r\n\x1a\n' + bytes(60), 'HDF5'),
    'gguf': (b'GGUF' + bytes(60), 'GGUF'),
    'tar': (bytes(257) + b'ustar' + bytes(300), 'tar archive'),
    'pickle': (pickle.dumps(dict(a=[1.0] * 9)), 'torch.save has not written'),
    'safetensors': (b'\x40' + bytes(7) + b'{"a": 1}', 'name it .safetensors'),
}


@pytest.mark.parametrize('kind', KINDS)
def test_no_checkpoint_at_all(tmp_path, kind):
    path, (content, reason) = tmp_path / 'a.pth', KINDS[kind]
    path.write_bytes(content)
    with pytest.raises(CorruptCheckpointError, match=reason) as caught:
        load_file(path)
    assert 'cut off' not in str(caught.value) and '\n' not in str(caught.value)


def test_no_message_advises_to_switch_the_safety_off(tmp_path):
    for content in (b'hello\n', b'\x80\x02hq.', b"(S'echo'\nios\nsystem\n.", b'junk' * 5):
        (tmp_path / 'a.pth').write_bytes(content)
        with pytest.raises((CorruptCheckpointError, UnsafeCheckpointError)) as caught:
            load_file(tmp_path / 'a.pth')
        assert 'weights_only' not in str(caught.value) and '\n' not in str(caught.value)


def test_a_pickle_of_protocol_0_is_refused(tmp_path):
    (tmp_path / 'a.pth').write_bytes(b'cos\nsystem\n(S"true"\ntR.')
    with pytest.raises(UnsafeCheckpointError, match='os.system'):
        load_file(tmp_path / 'a.pth')


def test_archives_that_torch_save_has_not_written(tmp_path):
    path = tmp_path / 'a.pth'
    np.savez(tmp_path / 'a.npz', a=np.ones(3))
    shutil.copy(tmp_path / 'a.npz', path)
    with pytest.raises(CorruptCheckpointError, match='npz'):
        load_file(path)
    torch.save(dict(a=torch.zeros(10**6)), path)
    with zipfile.ZipFile(path) as stored, zipfile.ZipFile(tmp_path / 'b.pth', 'w', zipfile.ZIP_DEFLATED) as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    with pytest.raises(CorruptCheckpointError, match='compressed'):
        load_file(tmp_path / 'b.pth')
    with zipfile.ZipFile(tmp_path / 'c.pth', 'w') as outer:  # an archive in an archive is not looked into
        outer.write(path, 'inner.pth')
    with pytest.raises(CorruptCheckpointError, match='zip archive of other files'):
        load_file(tmp_path / 'c.pth')


@pytest.mark.parametrize(
    'names, answer',
    [
        (['.metadata', '__0_0.distcp'], 'dcp_to_torch'),
        (['config.json', 'model.safetensors'], 'model.safetensors$|model.safetensors\\.'),
        (['model.safetensors.index.json', 'model-1.safetensors'], 'shards'),
        (['epoch_9.pth', 'epoch_10.pth', 'last_checkpoint'], 'epoch_10.pth'),
        (['data.pkl', 'version'], 'unpacked'),
    ],
)
def test_a_folder_is_named_with_the_file_to_give(names, answer, tmp_path):
    for name in names:
        (tmp_path / name).write_text('x')
        os.utime(tmp_path / name, (0, 0))
    with pytest.raises(IsADirectoryError, match=answer):
        load_file(tmp_path)


@pytest.mark.filterwarnings('ignore')
def test_torchscript_is_refused(tmp_path):
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / 'a.pt')
    with pytest.raises(UnsafeCheckpointError, match='TorchScript'):
        load_file(tmp_path / 'a.pt')
