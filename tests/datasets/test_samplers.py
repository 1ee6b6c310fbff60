"""The order of an epoch, and the seeds of its samples."""

import pickle

import numpy as np
import pytest
import torch

from mmmim.datasets.samplers import EpochSampler, SampleIndex, SeededDataset


def _sampler(monkeypatch, rank=0, world_size=1, length=100, **kwargs):
    monkeypatch.setattr('mmmim.datasets.samplers.get_dist_info', lambda: (rank, world_size))
    return EpochSampler(range(length), **{'seed': 3, **kwargs})


def test_order_depends_on_seed_and_epoch_only(monkeypatch):
    first, again, other = (_sampler(monkeypatch, seed=seed) for seed in (3, 3, 4))
    for sampler in (first, again, other):
        sampler.set_epoch(2)
    assert list(first) == list(again) != list(other)
    assert [i.seed for i in first] == [i.seed for i in again]
    before = list(first)
    first.set_epoch(3)
    assert sorted(before) == sorted(first) == list(range(100)) and before != list(first)


def test_a_start_skips_without_changing_the_rest(monkeypatch):
    sampler = _sampler(monkeypatch)
    sampler.set_epoch(1)
    whole = list(sampler)
    sampler.set_epoch(1, start=37)
    rest = list(sampler)
    assert rest == whole[37:] and [i.seed for i in rest] == [i.seed for i in whole[37:]]


@pytest.mark.parametrize('world_size', [2, 4])
def test_ranks_share_the_same_global_batches(monkeypatch, world_size):
    """Batch k of all ranks together is batch k of one process, with the same seeds."""
    alone = [(int(i), i.seed) for i in _sampler(monkeypatch, round_to=20)]
    ranks = [
        [(int(i), i.seed) for i in _sampler(monkeypatch, rank, world_size, round_to=20)] for rank in range(world_size)
    ]
    share = 20 // world_size
    for k in range(5):
        together = sorted(sample for rank in ranks for sample in rank[k * share : (k + 1) * share])
        assert together == sorted(alone[k * 20 : (k + 1) * 20])


def test_an_epoch_is_whole_steps(monkeypatch):
    assert len(list(_sampler(monkeypatch, round_to=32))) == 96
    with pytest.raises(ValueError, match='100 images.*128'):
        _sampler(monkeypatch, round_to=128)


def test_short_epochs_take_other_samples_each(monkeypatch):
    whole, short = _sampler(monkeypatch), _sampler(monkeypatch, samples_per_epoch=30)
    seen = []
    for epoch in range(60):
        whole.set_epoch(epoch)
        short.set_epoch(epoch)
        assert list(short) == list(whole)[:30] and len(short) == 30
        seen += list(short)
    assert set(map(int, seen)) == set(range(100))
    assert len(_sampler(monkeypatch, samples_per_epoch=30, round_to=16)) == 16
    for bad in (0, 101):
        with pytest.raises(ValueError, match=f'samples_per_epoch={bad}: a number from 1 to 100'):
            _sampler(monkeypatch, samples_per_epoch=bad)


def test_evaluation_sees_all_in_order_with_fixed_seeds(monkeypatch):
    parts = [list(_sampler(monkeypatch, rank, 3, shuffle=False, pad=True)) for rank in range(3)]
    assert [len(part) for part in parts] == [34, 34, 34]
    joined = [i for group in zip(*parts) for i in group]
    assert joined[:100] == list(range(100)) and joined[100:] == [0, 1]
    sampler = _sampler(monkeypatch, shuffle=False)
    seeds = [i.seed for i in sampler]
    sampler.set_epoch(7)
    assert [i.seed for i in sampler] == seeds


def test_indices_keep_their_seed_on_the_way_to_a_worker():
    index = pickle.loads(pickle.dumps(SampleIndex(5, 123)))
    assert index == 5 and index.seed == 123


def test_a_sample_depends_on_its_own_seed_alone():
    class Drawing:
        def __len__(self):
            return 10

        def __getitem__(self, index):
            return int(index), np.random.rand(), torch.rand(()).item()

    dataset = SeededDataset(Drawing())
    first = dataset[SampleIndex(3, 11)]
    np.random.rand(17), torch.rand(5), dataset[SampleIndex(4, 12)]
    assert dataset[SampleIndex(3, 11)] == first != dataset[SampleIndex(3, 12)]
    assert len(dataset) == 10


def test_the_seed_survives_wrappers_that_pass_plain_indices(tmp_path):
    """Two epochs give two masks, also through MMEngine's ConcatDataset."""
    from mmengine.dataset import ConcatDataset
    from PIL import Image

    from mmmim.datasets import ImageFolder

    Image.new('RGB', (16, 16)).save(tmp_path / 'a.png')
    pipeline = [dict(type='mmmim.LoadImage'), dict(type='mmmim.Resize', size=8), dict(type='mmmim.PackImage')]
    parts = [ImageFolder(str(tmp_path), pipeline=pipeline) for _ in range(2)]
    dataset = SeededDataset(ConcatDataset(parts))
    assert [dataset[SampleIndex(i, seed)]['data_samples'].seed for i, seed in ((0, 5), (1, 6), (1, 7))] == [5, 6, 7]


def test_repeated_crops_follow_each_other_and_epochs_take_turns_through_the_images(monkeypatch):
    sampler = _sampler(monkeypatch, length=12, repeat_crops=4, round_to=4)
    images = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert len(order) == len(sampler) == 12
        groups = [order[start : start + 4] for start in range(0, 12, 4)]
        assert all(len(set(map(int, group))) == 1 for group in groups)
        assert len({i.seed for i in order}) == 12
        images += [int(group[0]) for group in groups]
    assert sorted(images) == list(range(12))
    sampler.set_epoch(4)
    assert [int(i) for i in sampler][::4] != images[:3]
    sampler.set_epoch(1, start=6)  # in the middle of an image
    rest = list(sampler)
    sampler.set_epoch(1)
    assert [(int(i), i.seed) for i in rest] == [(int(i), i.seed) for i in sampler][6:]


@pytest.mark.parametrize('world_size', [2, 4])
def test_ranks_share_global_batches_of_repeated_crops(monkeypatch, world_size):
    """As without repetition; and all crops of an image are one rank's, which decodes it."""
    options = dict(length=96, round_to=24, repeat_crops=3)
    alone = [(int(i), i.seed) for i in _sampler(monkeypatch, **options)]
    ranks = [
        [(int(i), i.seed) for i in _sampler(monkeypatch, rank, world_size, **options)] for rank in range(world_size)
    ]
    share = 24 // world_size
    for k in range(4):
        parts = [rank[k * share : (k + 1) * share] for rank in ranks]
        assert sorted(sum(parts, [])) == sorted(alone[k * 24 : (k + 1) * 24])
        assert sum(len({index for index, _ in part}) for part in parts) == 8


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(repeat_crops=3, round_to=20), 'divides the 20 samples'),
        (dict(repeat_crops=0), 'positive int'),
        (dict(repeat_crops=2.0, round_to=4), 'positive int'),
        (dict(repeat_crops=2, round_to=4, shuffle=False), 'for training'),
    ],
)
def test_repeated_crops_that_fill_no_batch_are_refused(options, message, monkeypatch):
    with pytest.raises(ValueError, match=message):
        _sampler(monkeypatch, **options)


def test_repeated_crops_of_a_file_are_those_of_single_reading_and_decoded_once(tmp_path, monkeypatch):
    from PIL import Image

    from mmmim.datasets import ImageFolder
    from mmmim.datasets.io import image_io

    for name in 'ab':
        pixels = np.random.RandomState(ord(name)).randint(0, 256, (120, 160, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'{name}.jpg')
    pipeline = [
        dict(type='mmmim.LoadImage'),
        dict(type='mmmim.RandomResizedCrop', size=32),
        dict(type='mmmim.PackImage'),
    ]
    dataset = SeededDataset(ImageFolder(str(tmp_path), pipeline=pipeline))
    seeds = [index.seed for index in _sampler(monkeypatch, length=16, repeat_crops=8, round_to=8)]
    indices = [SampleIndex(place // 8, seed) for place, seed in enumerate(seeds)]
    scales, decode = [], image_io.decode_jpeg
    monkeypatch.setattr(
        image_io,
        'decode_jpeg',
        lambda content, shrink, channels: (scales.append((hash(content), shrink)), decode(content, shrink, channels))[
            1
        ],
    )
    together = [dataset[index]['inputs'] for index in indices]
    assert len(scales) == len(set(scales)) < 8  # each file once at each scale that a crop needs
    fresh = [SeededDataset(ImageFolder(str(tmp_path), pipeline=pipeline))[index]['inputs'] for index in indices]
    assert all(torch.equal(one, other) for one, other in zip(together, fresh))
    assert len({image.numpy().tobytes() for image in together}) == 16
    scales.clear()
    turns = [dataset[index]['inputs'] for pair in zip(indices[:8], indices[8:]) for index in pair]  # another each time
    assert len(scales) == 16 and torch.equal(torch.stack(turns[::2]), torch.stack(together[:8]))
