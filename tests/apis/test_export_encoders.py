"""mmmim.export: encoders; what lies beside a file; what is refused. Tasks are in test_export_tasks.py."""

import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from fake_hub import FakeHub
from mmengine.dataset import Compose
from PIL import Image, ImageOps

import mmmim
from mmmim import cli
from mmmim.apis.exporting import files
from mmmim.apis.exporting.pixels import Pixels, of_pipeline
from mmmim.checkpoint import export_encoder
from mmmim.checkpoint.write import CheckpointWriteError
from mmmim.registry import MODELS, TRANSFORMS

SMALL = dict(embed_dim=32, depth=3, num_heads=2)
ENCODERS = {
    'vit': dict(type='MaskedViT', arch=SMALL, img_size=32, patch_size=8),
    'conv': dict(type='ConvViT', arch=dict(embed_dims=(8, 16, 24), depths=(1, 1, 2), num_heads=3), img_size=32),
    'relative': dict(type='MaskedRelativeViT', arch=dict(SMALL, depth=2), img_size=32, patch_size=8),
}
SWIN = dict(
    type='MaskedSwin', arch=dict(embed_dim=8, depths=(1, 1), num_heads=(1, 2)), img_size=32, patch_size=4, window_size=4
)


def save_encoder(folder, cfg):
    """The folder of a run with a random encoder, in which everything counts."""
    torch.manual_seed(0)
    encoder = MODELS.build(cfg)
    for parameter in encoder.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    facts = dict(backbone=cfg, mean=[120.0, 110.0, 100.0], std=[60.0, 50.0, 40.0])
    export_encoder(encoder, folder / 'encoder.safetensors', facts)
    return folder


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp('export') / 'run', ENCODERS['vit'])


def run_example(path, images, tmp_path):
    """Runs the script that lies beside a file, where torch and mmmim cannot be imported; returns what it prints."""
    blocked = tmp_path / 'blocked'
    blocked.mkdir()
    for name in ('torch', 'mmmim', 'cv2', 'mmengine'):
        (blocked / f'{name}.py').write_text(f"raise ImportError('{name} is blocked')")
    before = os.pathsep.join([str(blocked), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(
        [sys.executable, path, *map(str, images)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, 'PYTHONPATH': before},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_encoder_as_onnx_with_what_lies_beside_it(run, image_root, tmp_path):
    done = mmmim.export(str(run), str(tmp_path / 'new/model.onnx'), data=str(image_root))
    assert sorted(os.listdir(tmp_path / 'new')) == ['model.json', 'model.onnx', 'model_example.py']
    assert done.difference <= 1e-4 and done.batch == 5 and '5 images of data' in done.images
    pictures = sorted(image_root.rglob('*.jpg'))[:7]
    frozen = mmmim.load(str(run), device='cpu')
    expected = frozen.embed([str(picture) for picture in pictures])
    session = onnxruntime.InferenceSession(done.path)
    assert session.get_inputs()[0].shape == ['batch', 3, 32, 32] and session.get_outputs()[0].shape == ['batch', 32]
    crop = Compose(frozen.pipeline)
    pixels = np.stack(
        [crop(dict(img_path=str(p), sample_idx=0, seed=0, replaced=[]))['inputs'].numpy() for p in pictures]
    )
    for count in (1, 7):
        found = session.run(None, {'pixels': pixels[:count]})[0]
        np.testing.assert_allclose(found, expected[:count], atol=1e-5)
    about = json.loads((tmp_path / 'new/model.json').read_text())
    inside = {entry.key: json.loads(entry.value) for entry in onnx.load(done.path).metadata_props}['mmmim']
    assert {**inside, 'checked': about['checked']} == about
    assert about['preprocessing']['crop_ratio'] == 0.875 and about['checked']['batch'] == 5
    script = open(done.example).read()
    assert len(script.splitlines()) <= 14
    run_example(done.example, [pictures[0]], tmp_path)
    np.testing.assert_allclose(np.load(f'{pictures[0]}.npy'), expected[0], atol=1e-3)
    os.remove(f'{pictures[0]}.npy')


@pytest.mark.parametrize('name, layer', [('vit', 2), ('conv', 1), ('relative', None)])
def test_every_encoder_and_its_layers(name, layer, tmp_path):
    folder = save_encoder(tmp_path / 'run', ENCODERS[name])
    done = mmmim.export(str(folder), str(tmp_path / 'a.pt2'), layer=layer)
    assert done.difference <= 1e-5 and 'drawn' in done.images and done.example is None


@pytest.mark.slow
@pytest.mark.parametrize('layer', [None, 1])
@pytest.mark.parametrize('name', [*ENCODERS, 'swin'])
def test_every_encoder_as_onnx(name, layer, tmp_path):
    folder = save_encoder(tmp_path / 'run', {**ENCODERS, 'swin': SWIN}[name])
    assert mmmim.export(str(folder), str(tmp_path / 'a.onnx'), layer=layer).difference <= 1e-5


@pytest.fixture(scope='module')
def exported(run, tmp_path_factory):
    """The first layer alone."""
    return mmmim.export(str(run), str(tmp_path_factory.mktemp('first') / 'a.pt2'), layer=1)


def test_what_comes_after_a_layer_is_not_in_the_file(exported):
    names = torch.export.load(exported.path).state_dict
    assert {name.split('blocks.')[1][0] for name in names if 'blocks.' in name} == {'0'}


def test_another_size_and_float_pixels(run, tmp_path):
    done = mmmim.export(str(run), str(tmp_path / 'a.pt2'), image_size=(16, 48), dtype='float32')
    about = json.loads(open(done.preprocessing).read())
    assert about['input']['shape'] == ['batch', 3, 16, 48] and about['input']['dtype'] == 'float32'
    images = torch.randint(0, 256, (3, 3, 16, 48))
    with torch.no_grad():
        found = torch.export.load(done.path).module()(images.float())
    expected = mmmim.load(str(run), device='cpu', image_size=(16, 48)).features(dict(inputs=images.byte()))[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_public_network_of_stages(tmp_path, monkeypatch):
    hub, name = FakeHub(tmp_path / 'hub', monkeypatch), 'convnext_atto.d2_in1k'
    create = timm.create_model
    small = dict(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32))
    monkeypatch.setattr(timm, 'create_model', lambda *args, **options: create(*args, **{**small, **options}))
    module = hub.put_timm(name)
    hub.put_weights(timm.get_pretrained_cfg(name).hf_hub_id, module)
    done = mmmim.export(f'timm:{name}', str(tmp_path / 'a.pt2'), image_size=64, layer=2)
    about = json.loads(open(done.preprocessing).read())
    assert done.difference <= 1e-5 and about['licence_of_start'] == 'apache-2.0'


# -------------------------------------------------------------------------------------------------------- preprocessing


def by_pillow(pixels, path):
    """What the lines of the script make of a file, ``[H, W, 3]``."""
    names = dict(path=str(path), Image=Image, ImageOps=ImageOps)
    exec('\n'.join(pixels.by_pillow()), names)
    return np.asarray(names['pixels']).astype(int)


@pytest.mark.parametrize(
    'step, most',
    [
        (dict(type='mmmim.CenterCrop', size=[24, 40], ratio=0.9), 0),
        (dict(type='mmmim.Resize', size=20, interpolation='bilinear'), 0),
        (dict(type='mmcv.Resize', scale=(70, 40), keep_ratio=True), 1),
        (dict(type='mmcv.Resize', scale=(70, 40), keep_ratio=False), 1),
        (dict(type='mmcv.Resize', scale=(300, 200), keep_ratio=True), 1),
    ],
)
@pytest.mark.parametrize('size', [(97, 65), (50, 120)])
def test_the_lines_of_pillow_do_what_the_pipeline_does(step, most, size, tmp_path):
    """Of files without loss; JPEGs that are made much smaller are decoded at a smaller scale in training."""
    ramp = np.add.outer(np.sin(np.arange(size[1]) / 5), np.cos(np.arange(size[0]) / 7))
    picture = (127 + 60 * ramp[..., None] * [1, -1, 0.5]).clip(0, 255).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / 'a.png')
    whole = step['type'].startswith('mmcv')
    steps = [TRANSFORMS.build(cfg) for cfg in (dict(type='LoadImage', decode='whole' if whole else 'worker'), step)]
    expected = steps[1](steps[0](dict(img_path=str(tmp_path / 'a.png'))))['img'].astype(int)
    pixels = of_pipeline(steps)
    assert pixels.bgr == whole
    found = by_pillow(pixels, tmp_path / 'a.png')
    assert found.shape == expected.shape
    assert np.abs(found - (expected[..., ::-1] if whole else expected)).max() <= most


def drawn(mode):
    """A picture of 8 bits, in which every pixel has an opacity of its own where the mode has one."""
    values = np.random.default_rng(0).integers(0, 256, (24, 30, 4), dtype=np.uint8)
    if mode in ('LA', 'RGBA'):
        return Image.merge(mode, [Image.fromarray(values[..., k]) for k in range(4 - len(mode), 4)])
    if mode == 'CMYK':
        return Image.fromarray(values, 'CMYK')
    colours = Image.fromarray(values[..., :3])
    picture = colours.quantize(16) if mode == 'P' else colours.convert(mode)
    if mode in ('P', 'L'):
        picture.info['transparency'] = bytes(range(0, 256, 16)) if mode == 'P' else 128
    return picture


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P', 'L', 'RGB', '1', 'CMYK'])
@pytest.mark.parametrize('channels', [3, 1])
def test_the_lines_of_pillow_read_every_mode_as_the_pipeline_does(mode, channels, tmp_path):
    path = tmp_path / ('a.tif' if mode == 'CMYK' else 'a.png')
    drawn(mode).save(path)
    steps = [dict(type='LoadImage', channels=channels), dict(type='mmmim.Resize', size=20, interpolation='bicubic')]
    load, resize = [TRANSFORMS.build(cfg) for cfg in steps]
    expected = resize(load(dict(img_path=str(path))))['img'].astype(int)
    found = by_pillow(of_pipeline([load, resize]), path)
    assert np.abs(found - expected.reshape(found.shape)).max() == 0


def test_pictures_of_more_than_8_bits_are_refused_by_the_lines_of_pillow(tmp_path):
    Image.fromarray(np.full((9, 9), 40000, np.uint16)).save(tmp_path / 'a.png')
    pixels = Pixels((4, 4), 'squash', 'bicubic')
    assert '8 bits' in pixels.words()['values']
    with pytest.raises(AssertionError, match='more than 8 bits'):
        by_pillow(pixels, tmp_path / 'a.png')


def test_a_pipeline_that_cannot_be_described_is_refused():
    steps = [TRANSFORMS.build(dict(type=f'mmmim.{name}')) for name in ('LoadImage', 'RandomFlip', 'PackImage')]
    with pytest.raises(ValueError, match='RandomFlip'):
        of_pipeline(steps)
    with pytest.raises(ValueError, match='gives images a size'):
        of_pipeline(steps[::2])
    for pixels in (
        Pixels((4, 4), 'crop', 'bicubic', channels=5),
        Pixels((4, 4), 'crop', 'bicubic', value_range=(0, 9)),
    ):
        with pytest.raises(ValueError, match='Pillow'):
            pixels.by_pillow()


def test_images_of_other_channels(tmp_path):
    folder, cfg = tmp_path / 'run', dict(ENCODERS['vit'], in_chans=2)
    export_encoder(
        MODELS.build(cfg), folder / 'encoder.safetensors', dict(backbone=cfg, mean=[120.0, 9], std=[60.0, 9])
    )
    about = json.loads(open(mmmim.export(str(folder), str(tmp_path / 'a.pt2')).preprocessing).read())
    assert about['input']['shape'] == ['batch', 2, 32, 32] and about['input']['channels'] == '2'


# -------------------------------------------------------------------------------------------------------------- refused


def test_the_format_is_told_by_the_ending_or_asked_for(run, tmp_path):
    for out, options, message in (
        ('a.bin', {}, 'does not tell the format'),
        ('a.pt2', dict(format='onnx'), 'ends in .onnx'),
        ('a.onnx', dict(format='tflite'), "format='tflite'"),
        ('a.onnx', dict(dtype='int8'), "dtype='int8'"),
        ('a.onnx', dict(layer=9), 'layer=9'),
    ):
        with pytest.raises(ValueError, match=message):
            mmmim.export(str(run), str(tmp_path / out), **options)
    assert not os.listdir(tmp_path)


def test_what_is_not_installed_is_named_before_anything_is_read(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *rest: None if 'onnx' in name else find(name, *rest))
    with pytest.raises(ModuleNotFoundError, match=r'onnx, onnxscript, onnxruntime: pip install "\.\[export\]"'):
        mmmim.export(str(tmp_path / 'absent'), str(tmp_path / 'a.onnx'))


def test_a_file_of_somebody_else_stays(run, tmp_path):
    for name in ('a.pt2', 'a.json'):
        (tmp_path / name).write_text('{"mine": 1}')
        with pytest.raises(FileExistsError, match=f'{name} exists'):
            mmmim.export(str(run), str(tmp_path / 'a.pt2'))
        assert (tmp_path / name).read_text() == '{"mine": 1}'
        (tmp_path / name).unlink()
    script = tmp_path / 'a_example.py'
    script.write_text('import onnxruntime  # mine')
    with pytest.raises(FileExistsError, match='a_example.py exists'):
        mmmim.export(str(run), str(tmp_path / 'a.pt2'))
    script.write_text('# made by mmmim 1.0\n')  # of an earlier a.onnx
    mmmim.export(str(run), str(tmp_path / 'a.pt2'))
    assert not script.exists()
    (tmp_path / 'b.pt2').mkdir()
    with pytest.raises(FileExistsError, match='a folder'):
        mmmim.export(str(run), str(tmp_path / 'b.pt2'), force=True)
    (tmp_path / 'a.pt2').write_text('mine')
    mmmim.export(str(run), str(tmp_path / 'a.pt2'), force=True)
    assert files.described(str(tmp_path / 'a.pt2'))


def test_a_file_that_computes_something_else_is_not_written(run, exported, tmp_path, monkeypatch):
    shutil.copy(exported.path, tmp_path / 'a.pt2')
    shutil.copy(exported.preprocessing, tmp_path / 'a.json')
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    compute = files.compute
    monkeypatch.setattr(files, 'compute', lambda *args: [found * 1.001 for found in compute(*args)])
    with pytest.raises(files.Difference, match='differ by up to'):
        mmmim.export(str(run), str(tmp_path / 'a.pt2'))
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_names_of_another_project(run, tmp_path, capsys):
    done = mmmim.export(str(run), str(tmp_path / 'vit'), format='timm')
    assert done.format == 'timm' and done.difference is None
    module = timm.create_model(f'local-dir:{tmp_path / "vit"}', pretrained=True)
    assert len(module.blocks) == 3
    with pytest.raises(ValueError, match='translates files'):
        mmmim.export('timm:vit_tiny_patch16_224', str(tmp_path / 'b.pth'), format='mae')


@pytest.mark.parametrize(
    'option',
    [dict(image_size=64), dict(layer=1), dict(pool='cls'), dict(data='x'), dict(dtype='float32'), dict(config='x')],
)
def test_what_a_translation_does_not_look_at_is_refused(option, run, tmp_path):
    with pytest.raises(ValueError, match=f'{next(iter(option))}=.*format=.mae.'):
        mmmim.export(str(run), str(tmp_path / 'a.pth'), format='mae', **option)
    assert not os.listdir(tmp_path)


def test_the_command(run, image_root, tmp_path, capsys):
    out = str(tmp_path / 'a.pt2')
    cli.main(
        [
            'export',
            '--model',
            str(run),
            '--out',
            out,
            '--layer',
            '2',
            '--data',
            str(image_root),
            '--image-size',
            '16',
            '32',
        ]
    )
    said = capsys.readouterr().out
    assert f'{out}: compared with torch on 5 images of data, 5 at once' in said and 'a.json' in said
    with pytest.raises(SystemExit) as end:
        cli.main(['export', '--model', str(tmp_path / 'absent'), '--out', out])
    assert 'absent' in str(end.value)


def test_a_full_disk_is_an_error_and_what_was_there_stays(run, exported, tmp_path, monkeypatch):
    def refuse(handle):
        raise OSError(errno.ENOSPC, 'No space left on device')

    shutil.copy(exported.path, tmp_path / 'a.pt2')
    before = (tmp_path / 'a.pt2').read_bytes()
    monkeypatch.setattr(os, 'fsync', refuse)
    with pytest.raises(CheckpointWriteError, match='a.pt2 could not be written: .*No space left'):
        mmmim.export(str(run), str(tmp_path / 'a.pt2'), layer=1)
    assert os.listdir(tmp_path) == ['a.pt2'] and (tmp_path / 'a.pt2').read_bytes() == before
