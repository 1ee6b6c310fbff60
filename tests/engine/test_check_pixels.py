"""Images that their range makes almost plain stop a run before it trains."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
from image_files import save
from mmengine.config import Config
from PIL import Image

from mmmim.datasets.io.image_io import ImageSource
from mmmim.datasets.io.pixel_sample import take_sample
from mmmim.datasets.samplers import SeededDataset
from mmmim.engine.hooks import CheckPixelsHook
from mmmim.engine.hooks.check_pixels import PixelRangeError, judge, sources
from mmmim.registry import DATASETS

RAMP = np.linspace(0, 1, 4096).reshape(64, 64)
KEY = 'train_dataloader.dataset.pipeline.0.value_range'


def run_of(folder, wrapped=False, **loading):
    """What the hook asks of a runner."""
    cfg = dict(type='ImageFolder', data_root=str(folder), with_label=False)
    cfg['pipeline'] = [dict(type='LoadImage', **loading)]
    dataset = DATASETS.build(cfg)
    if wrapped:
        cfg, dataset = dict(type='RepeatDataset', dataset=cfg), SeededDataset(dataset)
    return SimpleNamespace(
        rank=0,
        train_dataloader=SimpleNamespace(dataset=dataset),
        cfg=Config(dict(train_dataloader=dict(dataset=cfg))),
        dataset=dataset,
    )


def folder_of(tmp_path, *images, suffix='tif'):
    for i, image in enumerate(images):
        save(tmp_path / f'{i}.{suffix}', image)
    return tmp_path


@pytest.mark.parametrize(
    'image, suffix, kind, advice',
    [
        ((RAMP * 4095).astype(np.uint16), 'png', 'uint16', r'\(0, 4095\)'),
        ((RAMP * 3000).astype(np.uint16), 'tif', 'uint16', r'\(0, 3000\)'),
        ((200 + 5800 * RAMP).astype(np.float32), 'tif', 'float32', r'\(200, 6000\)'),
        ((RAMP * 255).astype(np.float32), 'tif', 'float32', r'\(0, 255\)'),
        ((RAMP * 0.01).astype(np.float32), 'tif', 'float32', r'\(0, 0.01\)'),
    ],
)
def test_a_range_that_leaves_few_levels_is_an_error_with_the_key(tmp_path, image, suffix, kind, advice):
    run = run_of(folder_of(tmp_path, image, image, suffix=suffix), channels=1)
    with pytest.raises(PixelRangeError, match=rf'{kind} and read with .* of 256 levels .*Set {KEY}={advice} '):
        CheckPixelsHook().before_train(run)


def test_a_step_that_reads_by_itself_is_what_is_looked_at(tmp_path):
    run = run_of(folder_of(tmp_path, (RAMP * 4095).astype(np.uint16)))

    def read(results):
        return dict(results, img=(np.asarray(Image.open(results['img_path'])) >> 4).astype(np.uint8))

    with pytest.raises(PixelRangeError):
        CheckPixelsHook().before_train(run)
    run.dataset.pipeline.transforms.insert(0, read)
    CheckPixelsHook().before_train(run)


def test_the_key_of_a_wrapped_data_set(tmp_path):
    run = run_of(folder_of(tmp_path, (RAMP * 4095).astype(np.uint16)), wrapped=True, channels=1)
    with pytest.raises(PixelRangeError, match=r'Set train_dataloader\.dataset\.dataset\.pipeline\.0\.value_range='):
        CheckPixelsHook().before_train(run)


@pytest.mark.parametrize(
    'image, loading',
    [
        ((RAMP * 4095).astype(np.uint16), dict(value_range=(0, 4095))),
        ((RAMP * 65535).astype(np.uint16), {}),
        (RAMP.astype(np.float32), {}),
        ((RAMP * 255).astype(np.uint8), {}),
    ],
)
def test_what_fits_passes_in_silence(tmp_path, caplog, image, loading):
    run = run_of(folder_of(tmp_path, image), channels=1, **loading)
    with caplog.at_level(logging.WARNING):
        CheckPixelsHook().before_train(run)
    assert not warnings_in(caplog)


def warnings_in(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def judged(monkeypatch, images, value_range=None):
    """The error and the warnings for images in memory."""
    said = []
    monkeypatch.setattr('mmmim.engine.hooks.check_pixels._warn', said.append)
    error = judge(take_sample(ImageSource(image, 1) for image in images), value_range, KEY)
    return error, said


def test_what_is_only_worth_a_warning(monkeypatch):
    error, said = judged(monkeypatch, [(RAMP * 12).astype(np.uint8)])
    assert error is None and len(said) == 1 and '8 bits' in said[0] and '12 of 256 levels' in said[0]
    error, said = judged(monkeypatch, [(RAMP * 4095).astype(np.uint16)], (0, 65535))  # the config's own decision
    assert error is None and 'value_range=(0, 4095)' in said[0]
    error, said = judged(monkeypatch, [np.full((8, 8), 0.5, np.float32)])
    assert error is None and '1 of 256 levels' in said[0]
    error, said = judged(monkeypatch, [(RAMP * 1.3).astype(np.float32)])
    assert error is None and '23% of the values' in said[0] and 'value_range=(0, 1.3)' in said[0]
    half = np.where(RAMP < 0.5, np.nan, RAMP).astype(np.float32)
    error, said = judged(monkeypatch, [half])
    assert error is None and '50% of the values' in said[0]


def test_one_narrow_image_among_others_is_no_error(monkeypatch):
    assert judged(monkeypatch, [RAMP.astype(np.float32), (RAMP * 0.01).astype(np.float32)]) == (None, [])


def test_images_are_evenly_spread_and_broken_ones_left_out(tmp_path):
    folder = folder_of(tmp_path, *[np.full((4, 4), value, np.uint16) for value in range(10)])
    (tmp_path / '5.tif').write_bytes(b'nothing')
    run = run_of(folder, channels=1)
    load = run.dataset.pipeline.transforms[0]
    assert [int(values[0, 0]) for values in take_sample(sources(run.dataset, load, 2)).deep] == [0]
    assert len(take_sample(sources(run.dataset, load, 100)).deep) == 9
