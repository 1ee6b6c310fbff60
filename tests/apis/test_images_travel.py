"""Range, channels and statistics go on with the weights."""

import logging

import numpy as np
import pytest
import torch
from image_files import save
from mmengine.config import Config

import mmmim
from mmmim.apis.embed import embed
from mmmim.apis.folder_split import FolderSplit
from mmmim.apis.from_checkpoint import read_source
from mmmim.apis.plan import plan
from mmmim.apis.start import find_start
from mmmim.checkpoint import export_encoder
from mmmim.config.weights import images_of_weights, settle_from_weights
from mmmim.config.write import Choice
from mmmim.registry import MODELS
from mmmim.visualization.predictions import build_trained, read_picture

ENCODER = dict(type='MaskedViT', arch=dict(embed_dim=32, depth=1, num_heads=2), img_size=16, patch_size=8, in_chans=5)
STATISTICS = dict(mean=[100.0] * 5, std=[50.0] * 5)
RANGE = (200, 6000)
RNG = np.random.default_rng(0)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """The folder of a run on five channels of reflectance."""
    folder = tmp_path_factory.mktemp('travel') / 'run'
    torch.manual_seed(0)
    encoder = MODELS.build(ENCODER)
    load = dict(type='LoadImage', channels=5, value_range=RANGE)
    pipeline = [load, dict(type='CenterCrop', size=16), dict(type='PackImage')]
    export_encoder(encoder, folder / 'encoder.safetensors', dict(backbone=ENCODER, **STATISTICS, pipeline=pipeline))
    model = dict(type='MAE', backbone=ENCODER, data_preprocessor=dict(type='MIMDataPreprocessor', **STATISTICS))
    state = {f'backbone.{key}': value for key, value in encoder.state_dict().items()}
    loaders = f'train_dataloader = dict(dataset=dict(type="ImageFolder", pipeline=[{load!r}]))'
    torch.save(
        dict(state_dict=state, meta=dict(cfg=f'model = {model!r}\n{loaders}', iter=4, epoch=1), message_hub={}),
        folder / 'epoch_1.pth',
    )
    return folder


def image(high=6000):
    return (200 + RNG.random((16, 16, 5)) * (high - 200)).astype(np.uint16)


@pytest.mark.parametrize('name', ['encoder.safetensors', 'epoch_1.pth'])
def test_features_are_of_images_in_the_range_of_training(run, tmp_path, name):
    stored = image()
    np.save(tmp_path / 'a.npy', stored)
    eight_bits = np.rint((stored.astype(float) - 200) * 255 / 5800).astype(np.uint8)
    frozen = mmmim.load(run / name)
    assert frozen.channels == 5 and frozen.value_range == RANGE
    expected = frozen.embed(eight_bits)
    np.testing.assert_allclose(frozen.embed(str(tmp_path / 'a.npy')), expected, atol=1e-5)
    np.testing.assert_allclose(frozen.embed(stored), expected, atol=1e-5)
    np.testing.assert_allclose(frozen.embed(stored.astype(np.float32)), expected, atol=1e-5)
    rows = embed(str(run / name), str(tmp_path), str(tmp_path / 'f.npy'), num_workers=0).features
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    facts = images_of_weights(str(run / name))
    assert facts['channels'] == 5 and tuple(facts['value_range']) == RANGE and facts['mean'] == [100.0] * 5


def test_a_start_goes_on_with_them(run, tmp_path):
    start = find_start(str(run), [])
    written = images_of_weights(start.write(str(tmp_path)))
    assert tuple(written['value_range']) == RANGE and written['channels'] == 5 and written['std'] == [50.0] * 5


def test_a_public_network_reads_dark_images_with_the_range_that_they_fill(tmp_path, capsys, run):
    folder = tmp_path / 'dark'
    folder.mkdir()
    for i in range(3):
        save(folder / f'{i}.png', (RNG.random((24, 24)) * 4095).astype(np.uint16))
    rgb = dict(ENCODER, in_chans=3)
    export_encoder(MODELS.build(rgb), tmp_path / 'rgb.safetensors', dict(backbone=rgb))
    embed(str(tmp_path / 'rgb.safetensors'), str(folder), str(tmp_path / 'f.npy'), num_workers=0)
    assert 'images are read with value_range=(0, 4095)' in capsys.readouterr().out


def downstream(run, load=(), preprocessor=(), **model):
    backbone = dict(type='mmmim.MaskedViT', init_cfg=dict(type='Pretrained', checkpoint=str(run / 'epoch_1.pth')))
    statistics = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
    step = dict(type='mmmim.LoadImage', **dict(load))
    loader = dict(dataset=dict(type='mmmim.ImageFolder', pipeline=[step]))
    return Config(
        dict(
            model=dict(backbone=dict(backbone, **model), data_preprocessor=dict(statistics, **dict(preprocessor))),
            train_dataloader=loader,
            test_dataloader=loader,
        )
    )


def test_a_downstream_config_takes_what_the_weights_state(run, caplog):
    cfg = downstream(run)
    with caplog.at_level(logging.WARNING):
        settle_from_weights(cfg)
    step = cfg.test_dataloader.dataset.pipeline[0]
    assert tuple(step.value_range) == RANGE and step.channels == 5 and cfg.model.backbone.in_chans == 5
    assert cfg.model.data_preprocessor.mean == [100.0] * 5 and cfg.model.data_preprocessor.std == [50.0] * 5
    assert not caplog.records


def test_what_a_downstream_config_states_otherwise_stays_and_is_said(run, monkeypatch):
    said = []
    monkeypatch.setattr('mmmim.config.weights._warn', said.append)
    cfg = downstream(run, dict(value_range=(0, 10000), channels=5), dict(mean=[90.0] * 5), in_chans=5)
    settle_from_weights(cfg)
    assert tuple(cfg.train_dataloader.dataset.pipeline[0].value_range) == (0, 10000)
    assert cfg.model.data_preprocessor.mean == [90.0] * 5
    assert (
        len(said) == 2
        and 'value_range=(0, 10000)' in said[0]
        and '[200, 6000]' in said[0].replace('(', '[').replace(')', ']')
    )
    assert 'data_preprocessor.mean=[90.0, 90.0' in said[1]


@pytest.fixture
def gone(run, tmp_path):
    """(file of a config, its trained checkpoint); the weights that the config starts from are not there."""
    parts = dict(
        neck=dict(type='MAEDecoder', embed_dim=16, depth=1, num_heads=2),
        target=dict(type='PixelTarget'),
        head=dict(type='ReconstructionHead'),
    )
    cfg = downstream(tmp_path, dict(channels=5))
    init = dict(cfg.model.backbone.init_cfg, checkpoint=str(tmp_path / 'nowhere.pth'))
    cfg.model.update(parts, type='MAE', backbone=dict(ENCODER, init_cfg=init))
    cfg.model.data_preprocessor.type = 'MIMDataPreprocessor'
    (tmp_path / 'as_run.py').write_text(cfg.pretty_text)
    model = dict(parts, type='MAE', backbone=ENCODER, data_preprocessor=dict(type='MIMDataPreprocessor', **STATISTICS))
    stored = torch.load(run / 'epoch_1.pth', weights_only=True)['meta']['cfg'].partition('\n')[2]
    checkpoint = dict(state_dict=MODELS.build(model).state_dict(), meta=dict(cfg=f'model = {model!r}\n{stored}'))
    torch.save(checkpoint, tmp_path / 'trained.pth')
    return str(tmp_path / 'as_run.py'), str(tmp_path / 'trained.pth')


def test_a_config_goes_with_its_checkpoint_where_the_first_weights_are_gone(gone, tmp_path):
    config, checkpoint = gone
    cfg = Config.fromfile(config)
    model = build_trained(cfg, checkpoint)
    assert list(model.data_preprocessor.mean) == STATISTICS['mean']
    np.save(tmp_path / 'a.npy', np.full((16, 16, 5), 6000, np.uint16))
    assert (read_picture(str(tmp_path / 'a.npy'), cfg) == 255).all()  # the end of the range of training
    source = read_source(checkpoint, config)
    assert source.cfg['model']['data_preprocessor']['std'] == STATISTICS['std']
    assert tuple(source.cfg['test_dataloader']['dataset']['pipeline'][0]['value_range']) == RANGE


def test_weights_that_are_not_there_are_a_warning_and_a_checkpoint_without_a_config_leaves_it_to_them(
    run, gone, tmp_path, monkeypatch
):
    said = []
    monkeypatch.setattr('mmmim.config.weights._warn', said.append)
    settle_from_weights(Config.fromfile(gone[0]))
    (line,) = said
    assert 'nowhere.pth' in line and line.endswith('is not here')
    torch.save(dict(model={}), tmp_path / 'bare.pth')
    cfg = downstream(run)
    cfg.load_from = str(tmp_path / 'bare.pth')
    settle_from_weights(cfg)
    assert cfg.model.data_preprocessor.mean == [100.0] * 5 and len(said) == 1


def test_weights_without_a_config_say_nothing(tmp_path):
    torch.save(dict(model={}), tmp_path / 'a.pth')
    (tmp_path / 'b.pth').write_bytes(b'nothing')
    for name in ('a.pth', 'b.pth', 'absent.pth'):
        assert images_of_weights(str(tmp_path / name)) == {}


def test_a_planned_run_goes_on_as_its_start_was_trained(run, tmp_path):
    bands, colours = tmp_path / 'bands', tmp_path / 'colours'
    for folder in (bands, colours):
        folder.mkdir()
    for i in range(8):
        np.save(bands / f'{i}.npy', image(3000))
        save(colours / f'{i}.png', RNG.integers(0, 256, (16, 16, 3)).astype(np.uint8))
    start = find_start(str(run), [])
    choices = plan(FolderSplit(str(bands)), str(tmp_path / 'out'), Choice(1, ''), start=start)
    assert tuple(choices['value_range'].value) == RANGE and choices['image_channels'].value == 5
    assert choices['model.data_preprocessor.mean'].value == [100.0] * 5
    with pytest.raises(ValueError, match=r'is for images of 5 channels, but of 8 looked at 8 of 3 channels'):
        plan(FolderSplit(str(colours)), str(tmp_path / 'out'), Choice(1, ''), start=start)
