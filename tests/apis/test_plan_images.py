"""A planned run reads images as they are: their channels, their range, their statistics."""

import json
import sys

import numpy as np
import pytest
from image_files import save
from mmengine.config import Config
from PIL import Image

from mmmim.apis.folder_split import FolderSplit
from mmmim.apis.plan import plan
from mmmim.apis.pretrain import write_config
from mmmim.config.load import load_config
from mmmim.config.write import Choice
from mmmim.registry import DATASETS, MODELS

RNG = np.random.default_rng(0)


def folder_of(tmp_path, count, *makers, suffix='.npy'):
    """``count`` images of each maker: a function of the number to an array."""
    folder = tmp_path / 'images'
    folder.mkdir()
    for k, maker in enumerate(makers):
        for i in range(count):
            if suffix == '.npy':
                np.save(folder / f'{k}_{i}.npy', maker(i))
            else:
                save(folder / f'{k}_{i}{suffix}', maker(i))
    return folder


def random(channels, high=255, dtype=np.uint8):
    shape = (40, 48, channels) if channels else (40, 48)
    return lambda i: (RNG.random(shape) * high).astype(dtype)


def planned(folder, tmp_path, method='mae', **asked):
    return plan(FolderSplit(str(folder)), str(tmp_path / 'out'), Choice(1, ''), method, images=asked, image_size=32)


@pytest.mark.parametrize('channels', [1, 2, 4, 5, 13])
def test_a_run_of_any_channels_is_planned_and_trains(tmp_path, channels):
    folder = folder_of(tmp_path, 10, random(channels, 6000, np.uint16))
    out = tmp_path / 'out'
    path = write_config(str(folder), str(out), image_size=32, epochs=1, overrides={'total_batch_size': 4})
    cfg = load_config(path, work_dir=str(out))
    assert cfg.image_channels == cfg.model.backbone.in_chans == channels and cfg.value_range == (0, 6000)
    assert len(cfg.model.data_preprocessor.mean) == len(cfg.model.data_preprocessor.std) == channels
    assert np.abs(np.array(cfg.model.data_preprocessor.mean) - 127).max() < 5
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        assert loader.dataset.pipeline[0].value_range == (0, 6000) and loader.dataset.pipeline[0].channels == channels
    sample = DATASETS.build(cfg.train_dataloader.dataset)[0]
    model = MODELS.build(cfg.model)
    batch = model.data_preprocessor(dict(inputs=sample['inputs'][None], data_samples=[sample['data_samples']]))
    losses = model.loss(**batch)
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    assert 'uint16; of 8 images' in open(path).read()  # the reason


def test_grey_photographs_have_one_channel_where_the_method_does_not_want_colours(tmp_path):
    folder = folder_of(tmp_path, 8, random(0), suffix='.png')
    choices = planned(folder, tmp_path)
    assert choices['image_channels'].value == 1 and choices['model.backbone.in_chans'].value == 1
    assert len(choices['model.data_preprocessor.mean'].value) == 1
    assert 'image_channels' not in planned(folder, tmp_path, 'cmae')


def test_colour_photographs_and_mixed_ones_are_as_before(tmp_path):
    folder = folder_of(tmp_path, 8, random(3), random(0), suffix='.png')
    choices = planned(folder, tmp_path)
    assert 'image_channels' not in choices and 'value_range' not in choices
    assert 'model.backbone.in_chans' not in choices


@pytest.mark.parametrize('method', ['cmae', 'features'])
def test_methods_for_rgb_say_so(tmp_path, method):
    folder = folder_of(tmp_path, 4, random(5))
    with pytest.raises(ValueError, match=rf'have 5 channels .*method={method!r} .*another method, such as mae'):
        planned(folder, tmp_path, method)


@pytest.mark.parametrize('method', ['mae', 'gan_mae', 'vision_electra', 'crossmae'])
def test_other_methods_take_five_channels(tmp_path, method):
    folder = folder_of(tmp_path, 8, random(5))
    path = write_config(str(folder), str(tmp_path / 'out'), method, image_size=32, epochs=1)
    MODELS.build(load_config(path).model)
    assert load_config(path).model.backbone.in_chans == 5


def test_folders_of_two_kinds_name_both(tmp_path):
    folder = folder_of(tmp_path, 4, random(5), random(3))
    with pytest.raises(ValueError, match=r'of 8 images 4 of [35] channels, 4 of [35] channels: one encoder'):
        planned(folder, tmp_path)
    assert planned(folder, tmp_path, image_channels=5)['image_channels'].value == 5
    with pytest.raises(ValueError, match='asked for are images of 7 channels, but of 8 looked at'):
        planned(folder, tmp_path, image_channels=7)


def paged(tmp_path, *counts):
    folder = tmp_path / 'images'
    folder.mkdir()
    for i, count in enumerate(counts):
        pages = [Image.fromarray(random(0)(i)) for _ in range(count)]
        pages[0].save(folder / f'{i}.tif', save_all=True, append_images=pages[1:])
    return folder


def test_documents_of_some_pages_are_grey_images(tmp_path):
    folder = paged(tmp_path, 1, 2, 5, 2)
    assert planned(folder, tmp_path)['image_channels'].value == 1
    assert planned(folder, tmp_path, image_channels=1)['image_channels'].value == 1


def test_pages_that_all_images_have_are_channels(tmp_path):
    folder = paged(tmp_path, 5, 5, 5, 5)
    assert planned(folder, tmp_path)['image_channels'].value == 5
    assert planned(folder, tmp_path, image_channels=1)['image_channels'].value == 1
    assert planned(folder, tmp_path, image_channels=3)['image_channels'].value == 3


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_bands_without_tifffile_name_what_to_install(tmp_path, monkeypatch, dtype):
    tifffile = pytest.importorskip('tifffile')
    (tmp_path / 'images').mkdir()
    for i in range(4):
        bands = random(13, 200, dtype)(i)
        tifffile.imwrite(tmp_path / f'images/{i}.tif', bands, photometric='minisblack', planarconfig='contig')
    monkeypatch.setitem(sys.modules, 'tifffile', None)
    with pytest.raises(ValueError, match='pip install tifffile imagecodecs'):
        planned(tmp_path / 'images', tmp_path)


def test_types_of_two_kinds_name_both(tmp_path):
    folder = folder_of(tmp_path, 4, random(1, 5000, np.uint16), random(1, 1, np.float32))
    with pytest.raises(ValueError, match=r'different types: 4 of (uint16|float32), 4 of (uint16|float32)'):
        planned(folder, tmp_path)
    assert planned(folder, tmp_path, value_range=(0, 1))['value_range'].value == (0, 1)


def test_a_range_that_is_asked_for_is_taken_for_the_statistics_too(tmp_path):
    folder = folder_of(tmp_path, 8, random(1, 6000, np.uint16))
    asked = planned(folder, tmp_path, value_range=(0, 12000))
    assert asked['value_range'] == Choice((0, 12000), 'as asked for')
    assert abs(asked['model.data_preprocessor.mean'].value[0] - 64) < 4
    path = write_config(
        str(folder), str(tmp_path / 'out'), image_size=32, epochs=1, overrides=dict(value_range=[0, 12000])
    )
    assert Config.fromfile(path).value_range == [0, 12000]
    assert json.loads((tmp_path / 'out' / 'call.json').read_text())['overrides'] == dict(value_range=[0, 12000])
