"""The crops cut what they say, draw what torchvision draws, and the packed sample is what models expect."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmmim.datasets import (
    CenterCrop,
    ColorJitter,
    FixedSizeCrop,
    LoadImage,
    PackImage,
    RandomFlip,
    RandomResizedCrop,
    Resize,
    mim_collate,
)
from mmmim.registry import FUNCTIONS, TRANSFORMS
from mmmim.structures import DataSample

# pixel (row, column) is (column, row, 7)
RAMP = np.stack(np.broadcast_arrays(np.arange(200)[None], np.arange(100)[:, None], 7), axis=2).astype(np.uint8)


def run(*transforms, image=RAMP, channels=3, **results):
    results = dict(img=image, **results)
    for transform in (LoadImage(channels), *transforms):
        results = transform(results)
    return results


def test_load_image_decodes_nothing(tmp_path):
    results = LoadImage()(dict(img_path=str(tmp_path / 'missing.jpg')))
    assert results['source'].path == str(tmp_path / 'missing.jpg')
    assert 'img' not in results


def test_random_resized_crop_draws_like_torchvision():
    from scipy.stats import ks_2samp
    from torchvision.transforms import RandomResizedCrop as Reference

    crop = RandomResizedCrop(8, scale=(0.2, 1.0))
    np.random.seed(0)
    torch.manual_seed(0)
    picture = torch.empty(3, 375, 500)
    ours = np.array([crop.box(500, 375) for _ in range(4000)])  # left, top, width, height
    theirs = np.array([Reference.get_params(picture, (0.2, 1.0), (3 / 4, 4 / 3)) for _ in range(4000)])[:, [1, 0, 3, 2]]
    area = [boxes[:, 2] * boxes[:, 3] / (500 * 375) for boxes in (ours, theirs)]
    ratio = [boxes[:, 2] / boxes[:, 3] for boxes in (ours, theirs)]
    for mine, reference in (area, ratio, (ours[:, 0], theirs[:, 0]), (ours[:, 1], theirs[:, 1])):
        assert ks_2samp(mine, reference).pvalue > 1e-3
    assert ks_2samp(area[0], 0.9 * area[1]).pvalue < 1e-3  # the comparison does see a difference


@pytest.mark.parametrize(
    'width, height, box', [(1000, 10, (493, 0, 13, 10)), (10, 1000, (0, 493, 10, 13)), (1, 1, (0, 0, 1, 1))]
)
def test_random_resized_crop_falls_back_to_the_middle(width, height, box):
    np.random.seed(0)
    assert RandomResizedCrop(8, scale=(0.9, 0.9)).box(width, height) == box


def test_random_resized_crop_cuts_its_box():
    np.random.seed(3)
    left, top, width, height = RandomResizedCrop((10, 12), interpolation='bilinear').box(200, 100)
    np.random.seed(3)
    image = run(RandomResizedCrop((10, 12), interpolation='bilinear'))['img']
    assert image.shape == (10, 12, 3) and image.dtype == np.uint8
    # pixel (row, column) of the ramp has the value (column, row): the mean tells where the crop was
    assert abs(image[:, :, 0].mean() - (left + (width - 1) / 2)) < 1
    assert abs(image[:, :, 1].mean() - (top + (height - 1) / 2)) < 1


def test_only_the_global_generator_is_used():
    def draw():
        return run(RandomResizedCrop(16), RandomFlip())['img']

    np.random.seed(5)
    first, second = draw(), draw()
    np.random.seed(5)
    assert np.array_equal(draw(), first)
    assert not np.array_equal(first, second)


def test_center_crop_is_the_middle():
    assert CenterCrop(70, ratio=0.7).box(200, 100) == pytest.approx((65, 15, 70, 70))
    assert CenterCrop((35, 140), ratio=0.7).box(200, 100) == pytest.approx((30, 32.5, 140, 35))
    assert np.array_equal(run(CenterCrop(70, ratio=0.7))['img'], RAMP[15:85, 65:135])
    assert CenterCrop(224).box(256, 256) == pytest.approx((16, 16, 224, 224))


def test_resize_takes_everything():
    assert np.array_equal(run(Resize((100, 200)))['img'], RAMP)
    small = run(Resize((20, 40), interpolation='box'))['img']
    assert small[0, 0].tolist() == [2, 2, 7] and small[19, 39].tolist() == [197, 97, 7]
    tiny = np.full((1, 1, 3), 9, np.uint8)
    assert (run(Resize(32), image=tiny)['img'] == 9).all()


def test_fixed_size_crop_moves_but_does_not_scale():
    np.random.seed(0)
    corners = set()
    for _ in range(200):
        image = run(FixedSizeCrop((40, 60), resize=100))['img']
        column, row = int(image[0, 0, 0]), int(image[0, 0, 1])
        assert np.array_equal(image, RAMP[row : row + 40, column : column + 60])
        corners.add((column, row))
    columns, rows = zip(*corners)
    assert len(corners) > 150 and max(columns) <= 140 and max(rows) <= 60
    assert min(columns) < 10 and max(columns) > 130 and min(rows) < 5 and max(rows) > 55


def test_fixed_size_crop_default_scale_and_room():
    assert FixedSizeCrop(224)._resized(500, 375) == (256, 341)
    assert FixedSizeCrop((224, 448), resize=256)._resized(375, 500) == (597, 448)  # more, so that the width fits


def test_fixed_size_crop_with_padding_reflects():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    padded = np.pad(image, [(4, 4), (4, 4), (0, 0)], mode='reflect')
    windows = {padded[y : y + 32, x : x + 32].tobytes() for y in range(9) for x in range(9)}
    np.random.seed(0)
    drawn = {run(FixedSizeCrop(32, resize=32, padding=4), image=image)['img'].tobytes() for _ in range(600)}
    assert drawn <= windows and len(drawn) > 75


def test_flip():
    assert np.array_equal(run(RandomFlip(1))['img'], RAMP[:, ::-1])
    assert np.array_equal(run(RandomFlip(0))['img'], RAMP)
    np.random.seed(0)
    flipped = sum(run(RandomFlip(), image=RAMP[:2, :2])['img'][0, 0, 0] == 1 for _ in range(400))
    assert 160 < flipped < 240


def test_color_jitter():
    image = np.random.default_rng(0).integers(20, 200, (16, 16, 3), dtype=np.uint8)
    assert np.array_equal(run(ColorJitter(), image=image)['img'], image)
    halved = run(ColorJitter(brightness=(0.5, 0.5)), image=image)['img']
    assert np.abs(halved - image / 2).max() <= 1
    grey = run(ColorJitter(saturation=(0, 0)), image=image)['img']
    assert (np.ptp(grey.astype(int), axis=2) == 0).all()
    np.random.seed(0)
    means = [run(ColorJitter(brightness=0.4), image=image)['img'].mean() / image.mean() for _ in range(100)]
    assert 0.58 < min(means) < 0.7 and 1.3 < max(means) < 1.42
    np.random.seed(0)
    everything = run(ColorJitter(0.4, 0.4, 0.4, 0.1), image=image)['img']
    assert everything.shape == image.shape and everything.dtype == np.uint8
    with pytest.raises(ValueError, match='3 channels, but this one has 1'):
        run(ColorJitter(0.4), channels=1)


@pytest.mark.parametrize(
    'make',
    [
        lambda: RandomResizedCrop(0),
        lambda: Resize((4, -4)),
        lambda: CenterCrop((4, 4, 4)),
        lambda: Resize(3.5),
        lambda: Resize(4, interpolation='cubic'),
        lambda: RandomResizedCrop(4, scale=(0, 1)),
        lambda: RandomResizedCrop(4, ratio=(2, 1)),
        lambda: CenterCrop(4, ratio=1.5),
        lambda: FixedSizeCrop(4, padding=-1),
        lambda: FixedSizeCrop(4, resize=0),
        lambda: RandomFlip(1.5),
        lambda: ColorJitter(hue=0.7),
        lambda: ColorJitter(brightness=-1),
        lambda: LoadImage(0),
    ],
)
def test_bad_options_are_refused_at_construction(make):
    with pytest.raises(ValueError):
        make()


def test_a_crop_without_load_image_says_so():
    with pytest.raises(KeyError, match='LoadImage'):
        Resize(4)(dict(img_path='a.jpg'))


def test_pack_image(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / 'a.png')
    results = dict(
        img_path=str(tmp_path / 'a.png'), gt_label=np.int64(3), sample_idx=5, seed=2**62, replaced=[('b', 'bad')]
    )
    for config in (
        dict(type='LoadImage'),
        dict(type='Resize', size=(100, 200)),
        dict(type='RandomFlip', prob=1.0),
        dict(type='PackImage'),
    ):
        results = TRANSFORMS.build(config)(results)
    inputs, sample = results['inputs'], results['data_samples']
    assert inputs.dtype == torch.uint8 and inputs.is_contiguous()
    assert np.array_equal(inputs.numpy(), RAMP[:, ::-1].transpose(2, 0, 1))
    assert isinstance(sample, DataSample) and sample.gt_label == 3 and type(sample.gt_label) is int
    assert (sample.img_path, sample.sample_idx, sample.seed, sample.replaced) == (
        str(tmp_path / 'a.png'),
        5,
        2**62,
        [('b', 'bad')],
    )
    assert 'gt_label' not in run(Resize(4), PackImage())['data_samples']


@pytest.mark.parametrize('channels', [1, 4])
def test_other_channel_counts_go_through(channels):
    inputs = run(RandomResizedCrop(8), RandomFlip(1), PackImage(), channels=channels)['inputs']
    assert inputs.shape == (channels, 8, 8)


def test_collate():
    collate = FUNCTIONS.get('mim_collate')
    assert collate is mim_collate
    samples = [dict(inputs=torch.full((3, 4, 5), i, dtype=torch.uint8), data_samples=i) for i in range(3)]
    batch = collate(samples)
    assert batch['inputs'].shape == (3, 3, 4, 5) and batch['inputs'].dtype == torch.uint8
    assert batch['inputs'][:, 0, 0, 0].tolist() == [0, 1, 2] and batch['data_samples'] == [0, 1, 2]
    views = [dict(inputs=[sample['inputs'], sample['inputs'][:, :2] + 10], data_samples=0) for sample in samples]
    first, second = collate(views)['inputs']
    assert first.shape == (3, 3, 4, 5) and second.shape == (3, 3, 2, 5) and second[2, 0, 0, 0] == 12
    samples[1]['inputs'] = torch.zeros(3, 9, 5, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r'\[3, 4, 5\] and \[3, 9, 5\].*crop of fixed size'):
        collate(samples)


@pytest.mark.parametrize(
    'crop',
    [
        RandomResizedCrop((20, 30)),
        FixedSizeCrop((20, 30), resize=40),
        CenterCrop((20, 30), ratio=0.5),
        Resize((20, 30)),
    ],
    ids=lambda crop: type(crop).__name__,
)
@pytest.mark.parametrize('prob', [0.0, 1.0])
def test_the_box_that_a_crop_shows_is_recorded(crop, prob):
    np.random.seed(3)
    sample = run(crop, RandomFlip(prob), PackImage())
    left, top, right, bottom = (round(v * n, 6) for v, n in zip(sample['data_samples'].crop_box, (200, 100) * 2))
    shown = sample['inputs'][:2].float()  # column and row of the source
    columns, rows = shown[0, 0], shown[1, :, 0]
    assert sample['data_samples'].flipped == bool(prob) == bool(columns[0] > columns[-1])
    # the centres of the first and of the last pixel lie half of one inside the box
    first, last = sorted([columns[0].item(), columns[-1].item()])
    step = (right - left) / 30
    assert abs(first - (left + step / 2 - 0.5)) < 1.5 and abs(last - (right - step / 2 - 0.5)) < 1.5
    step = (bottom - top) / 20
    assert abs(rows[0] - (top + step / 2 - 0.5)) < 1.5 and abs(rows[-1] - (bottom - step / 2 - 0.5)) < 1.5


def test_a_crop_is_of_the_file_and_two_flips_are_none():
    flips = run(RandomFlip(1.0), Resize(10), RandomFlip(1.0), RandomFlip(1.0), PackImage())['data_samples']
    assert flips.flipped is False and flips.crop_box == (0, 0, 1, 1)
    padded = run(Resize(10), FixedSizeCrop(20, padding=2), PackImage())['data_samples']
    assert 'crop_box' not in padded and 'crop_box' not in run(PackImage())['data_samples']
