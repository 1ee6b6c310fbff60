"""TargetCacheHook: features of whole images, computed once, found again, continued; training takes crops of them."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
import timm
import torch
from harness import load_weights, make_config, near, read_curve, save_config, train, train_here
from mmengine.dataset import ConcatDataset

from mmmim.datasets import ImageFolder, SeededDataset, mim_collate
from mmmim.engine.hooks import target_cache
from mmmim.engine.hooks.target_cache import DONE, MISSING, UNREADABLE, FeatureStore, WholeImages
from mmmim.engine.launch import build_runner

pytestmark = pytest.mark.runs


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'network.pth'
    torch.save(timm.create_model('test_efficientnet', pretrained=False).state_dict(), path)
    return str(path)


def config(work_dir, images, weights, target=None, **overrides):
    cfg = make_config(work_dir, images, **overrides)
    wanted = dict(model='test_efficientnet', image_size=64, layer=[3, 4], standardise=True, cache=True)
    cfg.model.target = dict(type='TimmTarget', weights=weights, **{**wanted, **(target or {})})
    cfg.model.neck = dict(type='LinearPredictor')
    cfg.model.head = dict(type='FeatureHead', loss_on='visible')
    cfg.model.mask_ratio = 0.67
    cfg.default_hooks.target_cache = dict(type='TargetCacheHook', batch_size=10)
    return cfg


def folder_of(work_dir):
    (folder,) = (work_dir / 'target_cache').iterdir()
    return folder


def target_of(runner):
    return runner.model.target


def ready(cfg):
    """A runner whose hooks have done what they do before training."""
    runner = build_runner(cfg.copy())
    assert runner.train_loop  # builds it
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    for hook in runner.hooks:
        if isinstance(hook, target_cache.TargetCacheHook):
            hook.before_train(runner)
    return runner


def test_it_learns_from_crops_of_the_cache_and_a_resumed_run_is_bit_identical(tmp_path, image_root, weights):
    cfg = config(tmp_path / 'whole', image_root, weights, epochs=6)
    path = save_config(cfg, tmp_path / 'whole.py')
    output = train(path).stdout
    assert "The target's features of 64 images take" in output and 'Computed 64 of them in' in output
    losses = [line['loss'] for line in read_curve(tmp_path / 'whole')]
    assert np.mean(losses[-4:]) < -0.1 < losses[0]  # standardised features: a constant prediction has 0
    state = load_weights(tmp_path / 'whole')
    assert {name for name in state if name.startswith('target.')} == {
        'target.feature_mean',
        'target.feature_std',
        'target.fitted',
    }
    cut = config(tmp_path / 'cut', image_root, weights, epochs=6, **{'train_cfg.max_iters': 10})
    train(save_config(cut, tmp_path / 'cut.py'))
    whole = config(tmp_path / 'cut', image_root, weights, epochs=6)
    output = train(save_config(whole, tmp_path / 'go_on.py'), '--resume').stdout
    assert '0 are still to be computed' in output and 'Computed' not in output
    assert all(torch.equal(state[name], value) for name, value in load_weights(tmp_path / 'cut').items())


def test_two_processes_equal_one(tmp_path, image_root, weights):
    found = []
    for processes in (1, 2):
        cfg = config(tmp_path / f'of_{processes}', image_root, weights, epochs=2)
        cfg.model.backbone.drop_path_rate = 0.0  # its draws depend on the process
        train(save_config(cfg, tmp_path / f'of_{processes}.py'), processes=processes)
        found.append([line['loss'] for line in read_curve(tmp_path / f'of_{processes}')])
    assert found[0] == near(found[1])
    one, two = (np.load(folder_of(tmp_path / f'of_{n}') / 'rows.npy') for n in (1, 2))
    assert np.array_equal(one, two)


def test_the_rows_are_features_of_whole_images_and_crops_are_taken_by_their_boxes(tmp_path, image_root, weights):
    runner = ready(config(tmp_path / 'run', image_root, weights))
    target, dataset = target_of(runner), runner.train_dataloader.dataset
    batch = mim_collate([dataset[i] for i in range(8)])
    boxes = [sample.crop_box for sample in batch['data_samples']]
    assert len(set(boxes)) == 8 and all(0 <= x <= 1 for box in boxes for x in box)
    data = runner.model.data_preprocessor(batch)
    found, direct = target(data['inputs'], data['data_samples']), target(data['inputs'])
    assert found.shape == direct.shape == (8, 16, target.out_dim)
    similar = torch.nn.functional.cosine_similarity(found.flatten(1)[:, None], direct.flatten(1)[None], dim=-1)
    assert (similar.argmax(1) == torch.arange(8)).float().mean() > 0.7  # more like its own crop than like the others
    everything = torch.cat([target(images) for images in whole_images(runner)])
    assert everything.mean((0, 1)).abs().max() < 0.2  # standardised over the data


def whole_images(runner):
    dataset = runner.train_dataloader.dataset
    images = target_cache.WholeImages(dataset, list(range(64)), (64, 64))
    inputs = torch.stack([image for _, image in (images[i] for i in range(64))])
    return runner.model.data_preprocessor(dict(inputs=inputs))['inputs'].split(16)


def test_another_run_finds_it_and_changed_images_or_another_target_do_not(tmp_path, image_root, weights):
    images = shutil.copytree(image_root, tmp_path / 'images')
    shared = dict(cache_dir=str(tmp_path / 'shared'))
    ready(config(tmp_path / 'a', images, weights, shared))
    assert len(list((tmp_path / 'shared').iterdir())) == 1 and not (tmp_path / 'a/target_cache').exists()
    (folder,) = (tmp_path / 'shared').iterdir()
    before = (folder / 'rows.npy').stat().st_mtime_ns
    ready(config(tmp_path / 'b', images, weights, shared))
    assert (folder / 'rows.npy').stat().st_mtime_ns == before and len(list((tmp_path / 'shared').iterdir())) == 1
    ready(config(tmp_path / 'c', images, weights, dict(shared, layer=4)))
    ready(config(tmp_path / 'd', images, weights, dict(shared, image_size=96)))
    assert len(list((tmp_path / 'shared').iterdir())) == 3
    other = timm.create_model('test_efficientnet', pretrained=False).state_dict()
    torch.save(other, tmp_path / 'other.pth')
    ready(config(tmp_path / 'w', images, str(tmp_path / 'other.pth'), shared))
    assert len(list((tmp_path / 'shared').iterdir())) == 4
    file = next(images.rglob('*.jpg'))
    file.write_bytes(file.read_bytes() + b'\0')
    ready(config(tmp_path / 'e', images, weights, shared))
    assert len(list((tmp_path / 'shared').iterdir())) == 5
    assert json.loads((folder / 'key.json').read_text())['layers'] == [3, 4]


def test_the_digest_of_members_is_that_of_their_tar(tmp_path):
    tar = tmp_path / 'photos.tar'
    tar.write_bytes(b'1')
    os.utime(tar, (1, 1))
    rows = {f'{tar}/1.png': 0, str(tmp_path / 'no-\udcff.png'): 1}  # the second is of bytes that are no UTF-8
    before = target_cache._digest_of_files(rows)
    assert before == target_cache._digest_of_files(rows)
    os.utime(tar, (2, 2))
    assert before != target_cache._digest_of_files(rows)


def test_an_interrupted_filling_goes_on(tmp_path, image_root, weights, monkeypatch):
    whole = ready(config(tmp_path / 'whole', image_root, weights))
    written, write = [], FeatureStore.write

    def interrupted(self, rows, values, unreadable):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(rows)
        write(self, rows, values, unreadable)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureStore, 'write', interrupted)
        with pytest.raises(KeyboardInterrupt):
            ready(config(tmp_path / 'cut', image_root, weights))
    assert int(np.load(folder_of(tmp_path / 'cut') / 'done.npy').sum()) == 30

    def counted(self, rows, values, unreadable):
        written.append(rows)
        write(self, rows, values, unreadable)

    monkeypatch.setattr(FeatureStore, 'write', counted)
    again = ready(config(tmp_path / 'cut', image_root, weights))
    assert sorted(sum(written, [])) == list(range(64))  # each once
    rows = [np.load(folder_of(tmp_path / name) / 'rows.npy') for name in ('whole', 'cut')]
    assert np.array_equal(*rows) and torch.equal(target_of(whole).feature_std, target_of(again).feature_std)


def test_the_features_of_a_replaced_image_are_those_of_the_one_that_is_shown(tmp_path, image_root, weights):
    images = shutil.copytree(image_root, tmp_path / 'images')
    (images / 'class0/003.jpg').write_bytes(b'broken')
    runner = ready(config(tmp_path / 'run', images, weights))
    done = np.load(folder_of(tmp_path / 'run') / 'done.npy')
    assert (done == target_cache.UNREADABLE).sum() == 1 and (done == target_cache.DONE).sum() == 63
    target, sample = target_of(runner), runner.train_dataloader.dataset[3]['data_samples']
    assert sample.sample_idx == 3 and len(sample.replaced) == 1
    shown = target._places[sample.img_path]
    assert shown != 3
    twin = sample.clone()
    found = target(torch.zeros(1, 3, 16, 16), [sample])
    target._rows = np.where(np.arange(64)[:, None] == shown, target._rows, 0)
    assert torch.equal(found, target(torch.zeros(1, 3, 16, 16), [twin]))


def test_what_cannot_work_ends_before_training(tmp_path, image_root, weights, monkeypatch):
    cfg = config(tmp_path / 'boxes', image_root, weights)
    cfg.train_dataloader.dataset.pipeline[1] = dict(type='FixedSizeCrop', size=16, padding=2)
    with pytest.raises(ValueError, match='records none.*FixedSizeCrop without padding'):
        ready(cfg)

    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(target_cache.os, 'posix_fallocate', full)
    with pytest.raises(OSError, match=r'MiB in .*No space left.*MiB are free there.*model\.target\.cache_dir'):
        ready(config(tmp_path / 'full', image_root, weights))
    assert not list((tmp_path / 'full').rglob('rows.npy'))
    cfg = config(tmp_path / 'hook', image_root, weights)
    del cfg.default_hooks.target_cache
    with pytest.raises(RuntimeError, match='TargetCacheHook'):
        train_here(cfg)


# ------------------------------------------------------------------------------------------------- the store, by itself


def values(rows):
    return np.repeat(np.array(rows, np.float16)[:, None] + 1, 3, axis=1)


def fill(store, rows, unreadable=()):
    store.write(list(rows), values(rows), list(unreadable))
    store.flush()


def test_of_two_runs_that_create_a_store_at_once_the_first_ones_is_used_by_both(tmp_path, monkeypatch):
    slow, fast = (FeatureStore(str(tmp_path / 'cache' / 'key'), 8, 3) for _ in range(2))
    reserve, said = target_cache._reserve, []

    def overtaken(path, *options):
        reserve(path, *options)
        monkeypatch.setattr(target_cache, '_reserve', reserve)
        assert not slow.exists()  # a run that looks now sees nothing, rather than half of it
        fast.create(dict(version=1), said.append)
        fill(fast, range(4))

    monkeypatch.setattr(target_cache, '_reserve', overtaken)
    slow.create(dict(version=1), said.append)
    assert [path.name for path in (tmp_path / 'cache').iterdir()] == ['key']
    assert slow.done().tolist() == [DONE] * 4 + [MISSING] * 4 and np.array_equal(slow.rows()[:4], values(range(4)))
    assert slow.unfinished(2) == fast.unfinished(2) == [[4, 5], [6, 7]]
    fill(slow, range(4, 6))
    fill(fast, range(4, 8))  # both had it to do
    fill(slow, range(6, 8))
    assert slow.unfinished(2) == [] and np.array_equal(fast.rows(), values(range(8)))


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / 'key').mkdir()
    (tmp_path / 'key/notes.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='key holds something else.*remove it'):
        FeatureStore(str(tmp_path / 'key'), 8, 3).create({}, lambda _: None)
    assert [path.name for path in tmp_path.rglob('*')] == ['key', 'notes.txt']


def test_rows_are_on_the_disk_before_they_count_as_done(tmp_path, monkeypatch):
    store = FeatureStore(str(tmp_path / 'key'), 8, 3)
    store.create({}, lambda _: None)
    monkeypatch.setattr(target_cache, 'GROUP', 2)
    flushed, flush = [], np.memmap.flush
    monkeypatch.setattr(np.memmap, 'flush', lambda self: flushed.append(self.shape) or flush(self))
    store.write([0, 1], values([0, 1]), [])
    assert not flushed and not store.done().any()
    store.write([2], values([2]), [3])
    assert flushed == [(8, 3), (8,)] and store.done()[:4].tolist() == [DONE] * 3 + [UNREADABLE]


def test_unreadable_rows_are_tried_again_once_each(tmp_path):
    store = FeatureStore(str(tmp_path / 'key'), 12, 3)
    store.create({}, lambda _: None)
    fill(store, [0, 1, 2, 4, 5, 7, 8], [3, 6, 9])
    assert store.unfinished(4) == [[8, 9, 10, 11], [3, 6]]


def test_an_image_that_was_unreadable_goes_through_the_network_and_is_tried_again(tmp_path, image_root, weights):
    images = shutil.copytree(image_root, tmp_path / 'images')
    file = images / 'class0/003.jpg'
    content, times = file.read_bytes(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)

    def put(data):  # the key has its size and time
        file.write_bytes(data)
        os.utime(file, ns=times)

    whole = ready(config(tmp_path / 'whole', images, weights))
    put(bytes(len(content)))
    runner = ready(config(tmp_path / 'run', images, weights))
    put(content)  # as of a disk that answers again
    target, sample = target_of(runner), runner.train_dataloader.dataset[3]['data_samples']
    assert sample.img_path == str(file) and not sample.replaced and len(target._places) == 63
    crop = torch.randn(1, 3, 16, 16)
    assert torch.equal(target(crop, [sample]), target(crop))
    again = ready(config(tmp_path / 'run', images, weights))
    assert (np.load(folder_of(tmp_path / 'run') / 'done.npy') == DONE).all() and len(target_of(again)._places) == 64
    row = target_of(again)._places[str(file)]
    expected = target_of(whole)._rows[row].astype(np.float32)
    np.testing.assert_allclose(target_of(again)._rows[row].astype(np.float32), expected, atol=2e-3, rtol=2e-3)
    assert expected.any()


def test_whole_images_are_read_as_the_training_set_reads_them(image_root):
    def first(load, wrap=SeededDataset):
        dataset = ImageFolder(str(image_root), pipeline=[load, dict(type='mmmim.PackImage')])
        return WholeImages(wrap(dataset), [0], (24, 16))[0][1]

    plain = first(dict(type='mmmim.LoadImage'))
    assert plain.shape == (3, 24, 16)
    assert first(dict(type='mmmim.LoadImage', channels=1)).shape == (1, 24, 16)
    concatenated = first(dict(type='mmmim.LoadImage', channels=1), lambda x: SeededDataset(ConcatDataset([x, x])))
    assert concatenated.shape == (1, 24, 16)
    assert torch.equal(first(dict(type='mmmim.LoadImage', decode='device')), plain)  # pixels, not the file's bytes


def test_the_key_names_the_precision(tmp_path, image_root, weights):
    shared = dict(cache_dir=str(tmp_path / 'shared'))
    ready(config(tmp_path / 'a', image_root, weights, shared))
    ready(
        config(
            tmp_path / 'b',
            image_root,
            weights,
            shared,
            **{'optim_wrapper.type': 'AutocastOptimWrapper', 'optim_wrapper.dtype': 'bfloat16'},
        )
    )
    keys = [json.loads(path.read_text()) for path in (tmp_path / 'shared').glob('*/key.json')]
    assert sorted(key['precision'] for key in keys) == ['bfloat16', 'float32']
