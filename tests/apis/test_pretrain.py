"""mmmim.pretrain: one call that writes a config and runs it as tools/train.py does."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
import timm
import torch
from harness import environment, largest_difference, load_weights, python, read_curve, train
from mmengine.config import Config
from PIL import Image

from mmmim.apis import embed
from mmmim.apis.folder_split import FolderSplit
from mmmim.apis.plan import RECIPES, default_hours, default_model, methods, patch_for, plan, target_size
from mmmim.apis.plan_data import _resized
from mmmim.apis.pretrain import pretrain, write_config
from mmmim.config.load import load_config
from mmmim.config.write import Choice, config_text, merge_overrides, source
from mmmim.models.networks import Network

TINY = dict(
    model__backbone__arch=dict(embed_dim=32, depth=2, num_heads=2, _delete_=True),
    model__neck__embed_dim=16,
    model__neck__num_heads=2,
    model__neck__depth=1,
    optim_wrapper__dtype='float32',
    train_dataloader__num_workers=0,
    test_dataloader__num_workers=0,
)
CALL = """
import json, sys
import mmmim
call = json.loads(sys.argv[1])
from mmmim.apis import pretrain
result = pretrain(call.pop('data'), call.pop('out'), **call)
print('RESULT', json.dumps(result._asdict()))
"""


def _pretrain(check=True, **call):
    return python('-c', CALL, json.dumps(call), check=check)


@pytest.fixture(scope='module')
def trained(tmp_path_factory, image_root):
    out = tmp_path_factory.mktemp('pretrained') / 'run'
    done = _pretrain(data=str(image_root), out=str(out), epochs=2, image_size=32, **TINY)
    return out, done


@pytest.mark.runs
def test_everything_is_there_and_said(trained, image_root):
    out, done = trained
    result = json.loads(done.stdout.split('RESULT ')[1])
    assert result['config'] == str(out / 'pretrain.py') and all(os.path.exists(path) for path in result.values())
    for words in (
        'img_size',
        'as asked for',
        'a grid of 8 x 8',
        'the largest power of two within 52',
        'edit it if you like',
        'report:',
    ):
        assert words in done.stdout, words
    page = open(result['report'], encoding='utf-8').read()
    assert '<html' in page and 'data:image/' in page


@pytest.mark.runs
def test_the_config_gives_the_same_weights_by_train_py(trained, tmp_path):
    out, _ = trained
    train(out / 'pretrain.py', '--work-dir', str(tmp_path / 'again'))
    assert largest_difference(load_weights(out), load_weights(tmp_path / 'again')) == 0
    assert (out / 'as_run_pretrain.py').exists()  # what ran, with all values, does not replace what a person edits


@pytest.mark.runs
def test_a_finished_run_is_not_done_again(trained, image_root):
    out, _ = trained
    weights = {path.name: path.stat().st_mtime_ns for path in out.glob('*.pth')}
    done = _pretrain(data=str(image_root), out=str(out), epochs=2, image_size=32, **TINY)
    assert 'finished: nothing is done again' in done.stdout
    assert {path.name: path.stat().st_mtime_ns for path in out.glob('*.pth')} == weights


def test_results_inside_of_the_images_are_no_images(trained, image_root, tmp_path):
    """As written by a call with `--data . --out results`, and a run elsewhere below."""
    photos = shutil.copytree(image_root, tmp_path / 'photos')
    asked = FolderSplit(str(photos)).digest()
    shutil.copytree(trained[0], photos / 'results')
    Image.new('RGB', (40, 40)).save(photos / 'results/picture.png')
    split = FolderSplit(str(photos))
    assert split.digest() == asked and any('results/' in line for line in split.said)
    with pytest.raises(ValueError, match='is the folder of the images'):
        write_config(str(photos), str(photos), epochs=1, image_size=32)


@pytest.mark.runs
def test_a_tar_is_trained_on_tested_and_embedded_like_the_folder_that_it_holds(trained, image_root, tmp_path):
    with tarfile.open(tmp_path / 'photos.tar', 'w') as tar:
        tar.add(image_root, '.')
    data, out = str(tmp_path / 'photos.tar'), tmp_path / 'inside' / 'run'
    call = dict(data=data, out=str(out), epochs=2, image_size=32, **TINY)
    first = _pretrain(**call)
    assert 'photos.tar, read in place' in first.stdout and 'finished' in _pretrain(**call).stdout
    assert largest_difference(load_weights(out), load_weights(trained[0])) == 0
    inside = embed(str(trained[0]), data, str(tmp_path / 'a.npy'), num_workers=0)
    outside = embed(str(trained[0]), str(image_root), str(tmp_path / 'b.npy'), num_workers=0)
    assert np.array_equal(inside.features, outside.features)
    assert inside.names == [f'photos.tar/{name}' for name in outside.names]


def test_other_settings_in_the_same_folder_are_an_error(trained, image_root):
    done = _pretrain(check=False, data=str(image_root), out=str(trained[0]), epochs=3, image_size=32, **TINY)
    assert done.returncode and 'says something else than this call would write' in done.stderr


def _in_process(tmp_path, images, **options):
    """One run of a small model, in this process."""
    return pretrain(str(images), str(tmp_path / 'run'), image_size=32, **{**TINY, **options})


@pytest.mark.runs
def test_another_length_is_refused_with_the_way_to_stretch_which_goes_on(tmp_path, image_root, capsys):
    _in_process(tmp_path, image_root, epochs=2, batch_size=16, lr=1e-2, seed=3)
    first = read_curve(tmp_path / 'run')
    with pytest.raises(ValueError, match=r'epochs was 2, is 4.* by the schedule of the new length: --stretch'):
        _in_process(tmp_path, image_root, epochs=4, batch_size=16, lr=1e-2, seed=3)
    with pytest.raises(ValueError, match='overrides was'):  # more than the length
        _in_process(tmp_path, image_root, epochs=4, batch_size=16, lr=1e-2, seed=4, stretch=True)
    _in_process(tmp_path, image_root, epochs=4, batch_size=16, lr=1e-2, seed=3, stretch=True)
    rates = [line['lr'] for line in read_curve(tmp_path / 'run') if 'lr' in line]
    assert len(rates) == 12 and len([line for line in first if 'lr' in line]) == 6
    cfg = Config.fromfile(str(tmp_path / 'run/pretrain.py'))
    assert (cfg.max_epochs, cfg.total_batch_size, cfg.base_lr, cfg.randomness.seed) == (4, 16, 1e-2, 3)
    assert rates[6] > rates[5] and rates[-1] == min(rates[6:])  # it had come down, and comes down again
    capsys.readouterr()
    _in_process(tmp_path, image_root, epochs=4, batch_size=16, lr=1e-2, seed=3)
    assert 'finished: nothing is done again' in capsys.readouterr().out


def test_a_run_goes_on_with_another_number_of_workers(tmp_path, image_root, monkeypatch):
    used = []

    def stopped(cfg):
        used.append((cfg.train_dataloader.num_workers, cfg.test_dataloader.num_workers))
        raise SystemExit(130)

    monkeypatch.setattr(sys.modules['mmmim.apis.pretrain'], 'build_runner', stopped)
    tiny = {key: value for key, value in TINY.items() if 'workers' not in key}
    for workers in (dict(workers=1), dict(workers=0), {'train_dataloader.num_workers': 2}, {}, dict(workers=1)):
        with pytest.raises(KeyboardInterrupt):
            pretrain(str(image_root), str(tmp_path / 'run'), image_size=32, epochs=2, **tiny, **workers)
    assert used == [(1, 1), (0, 0), (2, 1), (1, 1), (1, 1)]
    with pytest.raises(ValueError, match=r"overrides was .*'randomness.seed': 4"):
        pretrain(str(image_root), str(tmp_path / 'run'), image_size=32, epochs=2, seed=4, workers=0, **tiny)


@pytest.mark.runs
def test_ctrl_c_saves_and_the_same_call_continues_to_the_same_weights(trained, image_root, tmp_path):
    call = dict(
        data=str(image_root),
        out=str(tmp_path / 'run'),
        epochs=2,
        image_size=32,
        **{**TINY, 'model__backbone__arch': dict(TINY['model__backbone__arch'])},
    )
    slow = (
        'import time, mmmim.models.algorithms.mae as m; loss = m.MAE.loss\n'
        'm.MAE.loss = lambda *a, **k: (time.sleep(1.5), loss(*a, **k))[1]\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', slow + CALL, json.dumps(call)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while (
        not list(tmp_path.glob('run/2*/*.log'))
        or 'Checkpoints will be saved' not in next(tmp_path.glob('run/2*/*.log')).read_text()
    ):
        assert time.monotonic() < deadline and process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode and 'saved first' in output and 'KeyboardInterrupt' in output, output[-2000:]
    assert list((tmp_path / 'run').glob('iter_*.pth')), output[-2000:]
    _pretrain(**call)
    assert largest_difference(load_weights(tmp_path / 'run'), load_weights(trained[0])) == 0


def test_choices_follow_the_data(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    for folder, side, count in (('small', 40, 30), ('large', 300, 8)):
        (tmp_path / folder).mkdir()
        for i in range(count):
            Image.new('RGB', (side, side + 10)).save(tmp_path / folder / f'{i}.jpg')
    small, large = (
        plan(FolderSplit(str(tmp_path / name)), str(tmp_path / 'out'), Choice(3, 'asked'))
        for name in ('small', 'large')
    )
    assert (small['model.backbone.img_size'].value, large['model.backbone.img_size'].value) == (32, 96)
    assert (small['total_batch_size'].value, large['total_batch_size'].value) == (16, 8)
    assert 'short side of 300' in large['model.backbone.img_size'].reason
    assert all(
        choice.reason
        for key, choice in small.items()
        if not key.endswith(('pipeline', 'dataset', 'custom_hooks')) or key == 'feature_eval'
    )


def test_a_gpu_changes_the_choices(image_root, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    choices = plan(FolderSplit(str(image_root)), str(tmp_path / 'out'), Choice(3, 'asked'), model=default_model())
    assert choices['model.backbone.arch'].value == 'small' and choices['model.backbone.img_size'].value == 32
    assert choices['base_lr'].value == 1.5e-4 and default_hours() == 1


@pytest.mark.parametrize(
    'name, own, size, seen',
    [
        ('tf_efficientnet_lite0', 224, 96, 224),
        ('tf_efficientnet_lite0', 224, 32, 128),
        ('vit_tiny_patch14', 518, 96, 224),
    ]
    + [('vit_tiny_patch14', 224, 32, 126), ('vit_tiny_patch14', 28, 4, 14)],
)
def test_a_target_sees_no_more_than_the_images_show(name, own, size, seen):
    patch = dict(img_size=28, patch_size=14, depth=1) if name.startswith('vit') else {}
    module = timm.create_model('vit_tiny_patch16_224' if patch else name, pretrained=False, num_classes=0, **patch)
    network = Network(module, name, 'mit', (0.0,) * 3, (1.0,) * 3, (own, own), 'bicubic', 1.0)
    choice = target_size(network, size)
    assert choice.value == [seen, seen] and choice.reason


@pytest.mark.parametrize('size, patch', [(224, 16), (96, 8), (32, 4), (64, 8), (100, 10), (448, 32)])
def test_patch_for_a_size(size, patch):
    assert patch_for(size) == patch


@pytest.mark.parametrize(
    'call, message',
    [
        (dict(image_size=97), 'no fitting patch'),
        (dict(method='bert'), "method='bert' is not known"),
        (dict(model='vit-huge-tiny'), 'is not known: it is a size .vit-tiny'),
        (dict(epochs=0), 'must be at least 1'),
        (dict(epochs=None, hours=0), 'hours=0 is no time to train for'),
        (dict(hours=1), 'both state the length'),
        (dict(leave_out=True), 'give labels, too'),
        (dict(target='efficientnet-lite0', method='mae'), "is for method='features'"),
        (dict(labels='none.csv'), 'there is no'),
        (dict(overrides={'total_batch_size': 5000}), 'cannot be filled from 52'),
        (dict(overrides={'train_pipeline.9.size': 8}), 'cannot be set'),
        (dict(overrides={'train_dataloader.batch_size': 8}), r'train_dataloader\.batch_size=8: .*total_batch_size=8 '),
        (dict(overrides={'train_cfg__max_epochs': 8}), r'train_cfg\.max_epochs=8: .*Set max_epochs=8'),
        (dict(overrides={'optim_wrapper.optimizer.lr': 0.5}), r'optimizer\.lr=0\.5: .*Set base_lr=4 '),
        (dict(overrides={'param_scheduler': [dict(type='ConstantLR', end=3)]}), r'param_scheduler\.0\.end=3: '),
        (dict(overrides={'max_epochs': 7}), 'epochs=1 and max_epochs=7 are one thing'),
        (dict(overrides={'modle.mask_ratio': 0.5}), 'no setting `modle.mask_ratio`'),
        (dict(overrides={'model.mask_ratio': 'high'}), "mask_ratio='high': it takes a number"),
        (
            dict(epochs=None, hours=1, overrides={'model.mask_ratio': 1.5}),
            'mask_ratio=1.5: it takes a number, from 0 to 1',
        ),
        (dict(overrides={'base_lr': 'fast'}), "base_lr='fast': it takes a number or None"),
    ],
    ids=str,
)
def test_what_cannot_be_is_said(image_root, tmp_path, call, message):
    with pytest.raises((ValueError, TypeError, KeyError, FileNotFoundError), match=message):
        write_config(str(image_root), str(tmp_path / 'out'), **dict(dict(epochs=1), **call))
    assert not (tmp_path / 'out/pretrain.py').exists() and not (tmp_path / 'out/call.json').exists()


def test_data_root_on_the_command_line_moves_the_images_of_a_list(image_root, tmp_path):
    photos = shutil.copytree(image_root, tmp_path / 'photos')
    names = sorted(str(file) for file in photos.rglob('*.*') if file.is_file())
    (tmp_path / 'list.txt').write_text('\n'.join(names))
    out = str(tmp_path / 'out')
    path = write_config(str(tmp_path / 'list.txt'), out, epochs=1, image_size=32)
    dataset = load_config(path, {'data_root': '/moved'}).train_dataloader.dataset
    assert dataset.data_root == '/moved' and dataset.ann_file == f'{out}/train.txt'
    beside = FolderSplit([str(photos), str(tmp_path / 'list.txt')])
    assert plan(beside, out, Choice(1, ''))['data_root'].value == str(photos)
    assert plan(beside, str(photos / 'out'), Choice(1, ''))['data_root'].value == beside.folder


def test_a_folder_whose_name_is_no_utf_8_is_planned_and_goes_on(tmp_path, capfd):
    folder = tmp_path / os.fsdecode(b'photos\xff')
    folder.mkdir()
    for i in range(8):
        pixels = np.random.default_rng(i).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{i}.png')
    for _ in range(2):
        write_config(str(folder), str(tmp_path / 'out'), image_size=32, epochs=1)
    assert 'goes on with' in capfd.readouterr().out


def test_unreadable_folder_of_images_is_an_error(tmp_path):
    (tmp_path / 'photos').mkdir()
    for i in range(3):
        (tmp_path / f'photos/{i}.jpg').write_text('no image')
    with pytest.raises(ValueError, match='none of 3 images'):
        write_config(str(tmp_path / 'photos'), str(tmp_path / 'out'))


@pytest.mark.parametrize('model', sorted(RECIPES))
@pytest.mark.parametrize('method', methods())
def test_every_method_and_model_gives_a_config_that_loads(image_root, tmp_path, method, model):
    path = write_config(str(image_root), str(tmp_path / 'out'), method, model, epochs=2)
    cfg = load_config(path, work_dir=str(tmp_path / 'out'))
    assert cfg.model.backbone.img_size == 32
    assert cfg.train_dataloader.dataset.ann_file == str(tmp_path / 'out/train.txt')
    assert cfg.feature_eval.bank.pipeline == cfg.test_pipeline == cfg.custom_hooks[0].bank.pipeline


@pytest.mark.runs
@pytest.mark.parametrize('method', [name for name in methods() if name != 'mae'])
def test_every_other_method_trains_too(image_root, tmp_path, method):
    tiny = dict(TINY)
    if method in ('crossmae', 'features'):  # a drawing head or a linear predictor in the place of the decoder
        tiny = {key: value for key, value in TINY.items() if '__neck__' not in key}
    if method == 'vision_electra':
        tiny['model__generator__arch'] = TINY['model__backbone__arch']
    done = _pretrain(data=str(image_root), out=str(tmp_path / 'run'), epochs=1, image_size=32, method=method, **tiny)
    result = json.loads(done.stdout.split('RESULT ')[1])
    assert all(os.path.exists(path) for path in result.values())


def test_shifts_of_views_keep_their_share_of_the_image():
    step = _resized(dict(type='PixelShift', size=96, master_size=110, max_shift=13), 224)
    assert step == dict(type='PixelShift', size=224, master_size=255, max_shift=30)
    assert _resized(dict(type='RandomFlip'), 64) == dict(type='RandomFlip')


def test_overrides_reach_nested_settings_and_lists(image_root, tmp_path):
    path = write_config(
        str(image_root),
        str(tmp_path / 'out'),
        overrides={'model.mask_ratio': 0.5, 'train_pipeline.1.scale': (0.3, 1.0), 'base_lr': 1e-3, 'max_epochs': 7},
    )
    cfg = Config.fromfile(path)
    assert (cfg.model.mask_ratio, cfg.base_lr, cfg.max_epochs) == (0.5, 1e-3, 7)
    assert tuple(cfg.train_dataloader.dataset.pipeline[1].scale) == (0.3, 1.0)
    assert cfg.model.backbone.img_size == 32


def test_a_config_of_several_bases_and_what_each_of_them_has(tmp_path):
    bases = ['_base_/models/mae_vit', '_base_/schedules/mae_adamw']
    merged = merge_overrides({'max_epochs': Choice(3, '')}, {'base_lr': 1e-3, 'model__mask_ratio': 0.5}, bases)
    (tmp_path / 'a.py').write_text(config_text(merged, bases, 'a command', 'A title'))
    cfg = Config.fromfile(str(tmp_path / 'a.py'))
    assert (cfg.base_lr, cfg.model.mask_ratio, cfg.max_epochs, cfg.model.type) == (1e-3, 0.5, 3, 'MAE')
    with pytest.raises(KeyError, match='there is no setting `base_rate`'):
        merge_overrides({}, dict(base_rate=1), bases)


def test_an_override_replaces_what_was_chosen_below_it():
    assert (
        merge_overrides({}, dict(lr_base_batch=None), 'quickstart/mae')['lr_base_batch'].value is None
    )  # no base states it
    merged = merge_overrides(
        {'model.neck.depth': Choice(2, 'chosen')}, {'model__neck': dict(depth=4)}, 'quickstart/mae'
    )
    assert merged == {'model.neck': Choice(dict(depth=4), 'as asked for')}


@pytest.mark.parametrize(
    'value',
    [dict(a=1, b=[1, (2,)], c=None), {'not an identifier': 1}, [dict(x='y' * 90, z='w' * 60)], (), [], 'text', (1, 2)],
)
def test_source_is_python_of_the_value(value):
    assert eval(source(value)) == value
    assert all(len(line) < 130 for line in source(value).splitlines())
