"""Segmentation and detection read images as pre-training does: depth, range, channels, orientation."""

import json

import numpy as np
import pytest
from det_harness import make_coco, make_det_config
from image_files import UPRIGHT, exif_with, save, smooth
from mmengine.registry import DATASETS, MODELS
from PIL import Image
from seg_harness import make_masks, make_seg_config

from mmmim.config.channels import settle_channels
from mmmim.config.images import settle_images
from mmmim.config.prepare import set_up_scope, settle
from mmmim.datasets.transforms import LoadImage

CHANNELS = 5
RANGE = (200, 6000)
STATISTICS = dict(mean=[120.0, 100.0, 80.0, 60.0, 40.0], std=[50.0] * CHANNELS)


def deep(pixels):
    """Five bands of reflectance from RGB [H, W, 3]."""
    bands = np.concatenate([pixels, pixels[..., :2]], axis=2).astype(float)
    return (200 + bands / 255 * 5800).round().astype(np.uint16)


def turn(root, folder):
    """Replace the PNGs below a folder by arrays of five bands."""
    for path in sorted((root / folder).rglob('*.png')):
        np.save(path.with_suffix('.npy'), deep(np.asarray(Image.open(path))))
        path.unlink()


def loss_of(cfg, dataset_count=2):
    """Build what a config names, and one training loss; its batch, too."""
    set_up_scope(cfg)
    settle(cfg)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    model = MODELS.build(cfg.model)
    model.train()
    samples = [dataset[i] for i in range(dataset_count)]
    batch = {key: [sample[key] for sample in samples] for key in samples[0]}
    data = model.data_preprocessor(batch, True)
    losses = model.loss(data['inputs'], data['data_samples'])
    total = sum(
        value.sum() if hasattr(value, 'sum') else sum(v.sum() for v in value)
        for key, value in losses.items()
        if 'loss' in key
    )
    total.backward()
    assert np.isfinite(total.item())
    return model, samples, data


def test_a_segmentor_of_five_channels(tmp_path):
    root = make_masks(tmp_path / 'data', train=4, val=2)
    turn(root, 'images')
    cfg = make_seg_config(tmp_path / 'run', root)
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='mmmim.LoadImage', decode='whole'),
        dict(type='LoadAnnotations'),
        dict(type='RandomResize', scale=(32, 32), ratio_range=(1.5, 2.0), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(32, 32), cat_max_ratio=0.75),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackSegInputs'),
    ]
    cfg.merge_from_dict({f'model.data_preprocessor.{key}': value for key, value in STATISTICS.items()})
    cfg.image_channels, cfg.value_range = CHANNELS, RANGE
    settle_images(cfg, {})
    model, samples, data = loss_of(cfg)
    assert samples[0]['inputs'].shape == (5, 32, 32) and data['inputs'].shape == (2, 5, 32, 32)
    assert model.backbone.in_chans == 5 and type(model.data_preprocessor).__name__ == 'SegPreprocessor'
    expected = (samples[0]['inputs'].float() - np.array(STATISTICS['mean'])[:, None, None]) / 50
    assert abs(data['inputs'][0].double() - expected).max() < 1e-5  # in the order of the file
    assert 90 < samples[0]['inputs'].float().mean() < 160  # the range is applied


def test_a_detector_of_five_channels(tmp_path):
    root = make_coco(tmp_path / 'data', train=4, val=2)
    for split in ('train2017', 'val2017'):
        turn(root, split)
        path = root / f'annotations/instances_{split}.json'
        path.write_text(path.read_text().replace('.png', '.npy'))
    assert json.loads(path.read_text())['images'][0]['file_name'].endswith('.npy')
    cfg = make_det_config(tmp_path / 'run', root)
    cfg.train_dataloader.dataset.pipeline[0] = dict(type='mmmim.LoadImage', decode='whole')
    cfg.merge_from_dict({f'model.data_preprocessor.{key}': value for key, value in STATISTICS.items()})
    cfg.image_channels, cfg.value_range = CHANNELS, RANGE
    settle_images(cfg, {})
    model, samples, data = loss_of(cfg)
    assert data['inputs'].shape == (2, 5, 48, 48)
    assert model.backbone.in_chans == 5 and type(model.data_preprocessor).__name__ == 'DetPreprocessor'
    expected = (samples[0]['inputs'].float() - np.array(STATISTICS['mean'])[:, None, None]) / 50
    assert abs(data['inputs'][0].double() - expected).max() < 1e-5


@pytest.mark.parametrize('make, kind', [(make_seg_config, 'PhotoMetricDistortion'), (make_det_config, None)])
def test_what_does_not_fit_the_channels_is_said_before_training(tmp_path, make, kind):
    cfg = make(tmp_path / 'run', tmp_path)
    cfg.image_channels = CHANNELS
    if kind is None:
        cfg.train_dataloader.dataset.pipeline[0] = dict(type='LoadImageFromFile')
    settle_images(cfg, {})
    with pytest.raises(ValueError, match='images have 5 channels, but model.data_preprocessor.mean has 3 values'):
        settle_channels(cfg)
    cfg.merge_from_dict({f'model.data_preprocessor.{key}': value for key, value in STATISTICS.items()})
    message = (
        f'{kind} is for images of 3 channels, and these have 5: leave it out' if kind else 'LoadImageFromFile reads'
    )
    with pytest.raises(ValueError, match=message):
        settle_channels(cfg)
    cfg.model.backbone.in_chans = 4
    with pytest.raises(ValueError, match='read with 5 channels, but model.backbone.in_chans=4: set image_channels=5'):
        settle_channels(cfg)


def theirs(path):
    mmcv_transforms = pytest.importorskip('mmcv.transforms')
    return mmcv_transforms.LoadImageFromFile().transform(dict(img_path=path))


@pytest.mark.parametrize('orientation', UPRIGHT)
@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_jpegs_are_those_of_opencv_within_two_levels(tmp_path, orientation, mode):
    image = Image.fromarray(smooth(37, 50)).convert(mode)
    path = save(tmp_path / 'a.jpg', image, exif=exif_with(orientation), quality=90)
    ours = LoadImage(decode='whole').transform(dict(img_path=path))
    other = theirs(path)
    assert ours['img_shape'] == other['img_shape'] and ours['ori_shape'] == other['ori_shape']
    assert np.abs(ours['img'].astype(int) - other['img']).max() <= 2


def test_pngs_and_plain_jpegs_are_the_same_pixels(tmp_path):
    for name in ('a.png', 'a.jpg', 'a.bmp'):
        path = save(tmp_path / name, smooth(37, 50))
        ours = LoadImage(decode='whole').transform(dict(img_path=path))['img']
        assert np.array_equal(ours, theirs(path)['img']), name
        assert ours.flags.c_contiguous and ours.flags.writeable


def test_other_channels_are_in_the_order_of_the_file(tmp_path):
    stored = deep(smooth(20, 24))
    np.save(tmp_path / 'a.npy', stored)
    load = LoadImage(channels=5, decode='whole', value_range=RANGE)
    results = load.transform(dict(img_path=str(tmp_path / 'a.npy')))
    assert results['img'].shape == (20, 24, 5) and results['img_shape'] == (20, 24)
    assert np.array_equal(results['img'], np.rint((stored.astype(np.float64) - 200) * 255 / 5800))


def test_a_torn_jpeg_is_named(tmp_path):
    path = tmp_path / 'a.jpg'
    save(path, smooth(37, 50))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r'a\.jpg'):
        LoadImage(decode='whole').transform(dict(img_path=str(path)))
