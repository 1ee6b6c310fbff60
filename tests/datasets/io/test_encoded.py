"""JPEGs that the data preprocessor decodes: the same crops as from the workers. The device is the CPU here."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.io
from harness import load_weights, make_config, read_curve, save_config, train
from image_files import exif_with, save, smooth
from PIL import Image
from torch.nn import functional as F

from mmmim.datasets import ImageFolder, ImageReadError, LoadImage, SampleIndex, SeededDataset, mim_collate
from mmmim.datasets.io.encoded import EncodedCrop, decode_crops
from mmmim.models.preprocess import MIMDataPreprocessor


def pictures(folder):
    """Plain JPEGs in colour and in grey, and what a worker decodes in any case. The names say which is which."""
    folder.mkdir()
    save(folder / 'device_colour.jpg', smooth(171, 301), quality=95)
    save(folder / 'device_grey.jpeg', Image.fromarray(smooth(150, 120)).convert('L'), quality=95)
    save(folder / 'device_progressive.jpg', smooth(180, 220), quality=95, progressive=True)
    save(folder / 'device_shrunk.jpg', smooth(900, 1200), quality=95)  # at half of its size in a worker
    save(folder / 'worker_turned.jpg', smooth(121, 201), quality=95, exif=exif_with(6))
    save(folder / 'worker_cmyk.jpg', Image.fromarray(smooth(90, 120)).convert('CMYK'))
    save(folder / 'worker_lossless.png', smooth(100, 140))
    return folder


def dataset(folder, decode, *more, size=96):
    pipeline = [
        dict(type='LoadImage', decode=decode),
        dict(type='RandomResizedCrop', size=size),
        *more,
        dict(type='RandomFlip'),
        dict(type='PackImage'),
    ]
    return SeededDataset(ImageFolder(str(folder), pipeline=pipeline, with_label=False))


def samples(data, seed=0):
    return [data[SampleIndex(index, seed + index)] for index in range(len(data))]


def name(sample):
    return Path(sample['data_samples'].img_path).name


def test_only_plain_jpegs_are_handed_on(tmp_path):
    for sample in samples(dataset(pictures(tmp_path / 'a'), 'device')):
        assert isinstance(sample['inputs'], EncodedCrop) == name(sample).startswith('device'), name(sample)


@pytest.mark.parametrize('seed', range(4))
def test_the_batch_is_that_of_the_workers(tmp_path, seed):
    folder, preprocessor = pictures(tmp_path / 'a'), MIMDataPreprocessor()
    batches = {}
    for decode in ('worker', 'device'):
        batch = mim_collate(samples(dataset(folder, decode), seed))
        names = [Path(sample.img_path).name for sample in batch['data_samples']]
        inputs = preprocessor(batch)['inputs']
        assert inputs.shape == (7, 3, 96, 96) and inputs.dtype == torch.float32
        batches[decode] = preprocessor.denormalize(inputs)
    for file, ours, theirs in zip(names, batches['device'], batches['worker']):
        difference = (ours - theirs).abs()
        if file == 'device_shrunk.jpg':  # scaled by the decoder, then by the resizing, or by the latter alone
            assert 10 * np.log10(255**2 / difference.square().mean().item()) > 40
        else:
            assert difference.max() < 1.01, file  # rounding, where torch resizes bytes


def test_both_ways_round(tmp_path):
    folder, seen = pictures(tmp_path / 'a'), set()
    for seed in range(12):
        for ours, theirs in zip(samples(dataset(folder, 'device'), seed), samples(dataset(folder, 'worker'), seed)):
            if isinstance(ours['inputs'], EncodedCrop) and name(ours) != 'device_shrunk.jpg':
                seen.add(ours['inputs'].mirrored)
                read = torch.from_numpy(ours['inputs'].pixels().transpose(2, 0, 1).copy())
                assert torch.equal(read, theirs['inputs'])
    assert seen == {True, False}


def test_crops_of_one_file_are_decoded_once(tmp_path, monkeypatch):
    counts, decode = [], torchvision.io.decode_jpeg
    monkeypatch.setattr(
        torchvision.io, 'decode_jpeg', lambda files, **kwargs: counts.append(len(files)) or decode(files, **kwargs)
    )
    content = Path(save(tmp_path / 'a.jpg', smooth(64, 64))).read_bytes()
    crops = [
        EncodedCrop(content, file, (left, 0, 32, 32), (32, 32), 'bicubic')
        for file, left in (('a', 0), ('a', 16), ('b', 0))
    ]
    made, _ = decode_crops(crops, 'cpu')
    assert counts == [2] and torch.equal(made[0], made[2]) and torch.equal(made[0][:, :, 16:], made[1][:, :, :16])


def test_other_transforms_get_pixels(tmp_path):
    jitter = dict(type='ColorJitter', brightness=(0.5, 0.5))
    made = [samples(dataset(pictures(tmp_path / decode), decode, jitter)) for decode in ('worker', 'device')]
    assert all(
        torch.equal(ours['inputs'], theirs['inputs'])
        for ours, theirs in zip(*made)
        if name(ours) != 'device_shrunk.jpg'
    )
    views = [
        dict(type='LoadImage', decode='device'),
        dict(type='PixelShift', size=24, master_size=32, max_shift=8),
        dict(type='PackImage'),
    ]
    sample = SeededDataset(ImageFolder(str(tmp_path / 'device'), pipeline=views, with_label=False))[SampleIndex(0, 1)]
    assert [view.shape for view in sample['inputs']] == 2 * [(3, 24, 24)]


def test_a_file_that_is_cut_off_is_replaced_in_the_worker(tmp_path):
    folder = pictures(tmp_path / 'a')
    whole = (folder / 'device_colour.jpg').read_bytes()
    (folder / 'device_cut.jpg').write_bytes(whole[: len(whole) // 2])
    broken = [sample for sample in samples(dataset(folder, 'device')) if sample['data_samples'].replaced]
    assert [Path(sample['data_samples'].replaced[0][0]).name for sample in broken] == ['device_cut.jpg']


def test_what_the_device_does_not_decode_is_decoded_on_the_cpu(tmp_path):
    content = Path(save(tmp_path / 'a.jpg', smooth(64, 64))).read_bytes()
    good = EncodedCrop(content, 'good.jpg', (0, 0, 64, 64), (64, 64), 'bicubic')
    no_jpeg = Path(save(tmp_path / 'b.png', smooth(64, 64))).read_bytes()
    with pytest.warns(UserWarning, match='cpu does not decode some JPEGs'):
        made, stand_ins = decode_crops([good, EncodedCrop(no_jpeg, 'b', (0, 0, 64, 64), (64, 64), 'bicubic')], 'cpu')
    assert (made[0] - made[1]).abs().mean() < 4 and not stand_ins
    assert torch.equal(made[1], torch.from_numpy(smooth(64, 64).transpose(2, 0, 1)).float())
    with pytest.raises(ValueError, match='crops of one size'):
        decode_crops([good, torch.zeros(3, 32, 32, dtype=torch.uint8)], 'cpu')


@pytest.mark.runs
@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize(
    'box, size',
    [
        ((3, 5, 2201, 1501), (32, 48)),
        ((0, 1, 2203, 1637), (96, 96)),
        ((1, 0, 1717, 1700), (64, 120)),
        ((0, 0, 2203, 60), (60, 24)),
    ],
)
def test_large_reductions_are_made_in_steps_that_cuda_takes(tmp_path, monkeypatch, interpolation, box, size):
    """The picture is the one of resizing in one step: a shift by an eighth of a pixel would have less than 40 dB."""
    content = Path(save(tmp_path / 'a.jpg', smooth(1640, 2210), quality=95)).read_bytes()
    left, top, width, height = box
    whole = torchvision.io.decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    expected = F.interpolate(
        whole[None, :, top : top + height, left : left + width].float(), size, mode=interpolation, antialias=True
    )[0]
    resize, reductions = F.interpolate, []

    def watched(image, size, **kwargs):
        reductions.extend(side / wanted for side, wanted in zip(image.shape[2:], size))
        return resize(image, size, **kwargs)

    monkeypatch.setattr(F, 'interpolate', watched)
    made, _ = decode_crops([EncodedCrop(content, 'a.jpg', box, size, interpolation)], 'cpu')
    assert max(reductions) <= 16
    assert 10 * np.log10(255**2 / (made[0] - expected).square().mean().item()) > 50


@pytest.mark.parametrize(
    'transform, name',
    [
        (dict(type='AsBGR', transforms=[]), 'AsBGR'),
        (dict(type='mmpretrain.RandomErasing', erase_prob=1.0), 'RandomErasing'),
        (dict(type='mmcv.Resize', scale=(32, 32)), 'Resize'),  # which asks with get()
        (dict(type='mmpretrain.PackInputs'), 'PackInputs'),  # with `in`
    ],
)
def test_transforms_that_want_pixels_say_what_to_do(tmp_path, transform, name):
    folder = pictures(tmp_path / 'a')
    with pytest.raises(ValueError, match=f"^{name} needs pixels.*current_image.*decode='worker'") as caught:
        samples(dataset(folder, 'device', transform))
    assert not isinstance(caught.value, ImageReadError)  # or the data set would look for another image
    samples(dataset(folder, 'worker', transform) if name != 'PackInputs' else dataset(folder, 'worker'))


@pytest.mark.parametrize(
    'crop',
    [dict(type='CenterCrop', size=64), dict(type='Resize', size=64), dict(type='FixedSizeCrop', size=64, resize=80)],
    ids=lambda crop: crop['type'],
)
def test_every_crop(tmp_path, crop):
    """A central crop's box has whole numbers as floats here; where a box is in between pixels, a worker decodes."""
    (tmp_path / 'a').mkdir()
    save(tmp_path / 'a/a.jpg', smooth(128, 128), quality=95)
    made = []
    for decode in ('worker', 'device'):
        pipeline = [dict(type='LoadImage', decode=decode), crop, dict(type='RandomFlip'), dict(type='PackImage')]
        data = SeededDataset(ImageFolder(str(tmp_path / 'a'), pipeline=pipeline, with_label=False))
        batch = mim_collate(samples(data))
        assert decode == 'worker' or crop['type'] == 'FixedSizeCrop' or isinstance(batch['inputs'][0], EncodedCrop)
        made.append(MIMDataPreprocessor().denormalize(MIMDataPreprocessor()(batch)['inputs']))
    error = (made[0] - made[1]).square().mean().item()
    assert 10 * np.log10(255**2 / max(error, 1e-6)) > 40


@pytest.mark.parametrize(
    'options, message',
    [(dict(decode='gpu'), "'worker', 'device' or 'whole'"), (dict(decode='device', channels=4), '3 channels')],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        LoadImage(**options)


def test_training_takes_it_from_the_command_line_and_resumes(tmp_path, image_root):
    """By one key, with loading workers; a run in two parts is that in one."""
    config = save_config(make_config(tmp_path / 'whole', image_root, epochs=2, workers=2), tmp_path / 'config.py')
    key = 'train_dataloader.dataset.pipeline.0.decode=device'
    train(config, '--cfg-options', key)
    train(config, '--work-dir', str(tmp_path / 'workers'))
    losses = [[line['loss'] for line in read_curve(tmp_path / run)] for run in ('whole', 'workers')]
    assert np.abs(np.subtract(*losses)).max() < 5e-3  # pictures of another scale of decoding
    parts = ['--work-dir', str(tmp_path / 'parts'), '--resume']
    train(config, *parts, '--cfg-options', key, 'train_cfg.max_iters=6')
    train(config, *parts, '--cfg-options', key)
    whole, resumed = load_weights(tmp_path / 'whole'), load_weights(tmp_path / 'parts')
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
