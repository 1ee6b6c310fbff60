"""mmmim.load: any network, frozen, as features of images."""

import importlib
import json
import shutil

import numpy as np
import pytest
import timm
import torch
from fake_hub import FakeHub
from PIL import Image
from safetensors.torch import load_file
from timm.data import create_transform, resolve_model_data_config

import mmmim
from mmmim.apis.best_layer import LayerChoice, store_layer
from mmmim.apis.frozen import Frozen
from mmmim.checkpoint import export_encoder
from mmmim.checkpoint.write import exported_facts
from mmmim.commands.convert import convert
from mmmim.datasets.loading import mim_collate
from mmmim.models.backbones import ConvViT, MaskedSwin, MaskedViT
from mmmim.registry import MODELS

# name in timm, arguments that make it small, and the side of its images
NETWORKS = {
    'vit_small_patch14_dinov2.lvd142m': (dict(embed_dim=48, depth=3, num_heads=3), 518),
    'vit_small_patch16_dinov3.lvd1689m': (dict(embed_dim=48, depth=3, num_heads=3), 256),
    'eva02_tiny_patch14_224.mim_in22k': (dict(depth=3), 224),
    'vit_base_patch16_siglip_224.webli': (dict(embed_dim=48, depth=3, num_heads=3), 224),
    'beit_base_patch16_224.in22k_ft_in22k_in1k': (dict(embed_dim=48, depth=3, num_heads=3), 224),
    'convnext_atto.d2_in1k': (dict(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)), 224),
    'tf_efficientnet_lite0.in1k': ({}, 224),
    'resnet10t.c3_in1k': ({}, 176),
    'swin_tiny_patch4_window7_224.ms_in1k': (dict(embed_dim=24, depths=(1, 1, 1, 1)), 224),
    'maxvit_tiny_tf_224.in1k': (dict(embed_dim=(32, 32, 64, 64), depths=(1, 1, 1, 1), stem_width=8), 224),
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    return FakeHub(tmp_path / 'hub', monkeypatch)


ENCODER = dict(type='MaskedViT', arch=dict(embed_dim=32, depth=3, num_heads=2), img_size=32, patch_size=8)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """The folder of a run, as if it had been trained."""
    folder = tmp_path_factory.mktemp('frozen') / 'run'
    torch.manual_seed(0)
    encoder = MODELS.build(ENCODER)
    statistics = dict(mean=[120.0, 110.0, 100.0], std=[60.0, 50.0, 40.0])
    export_encoder(encoder, folder / 'encoder.safetensors', dict(backbone=ENCODER, **statistics))
    model = dict(type='MAE', backbone=ENCODER, data_preprocessor=dict(type='MIMDataPreprocessor', **statistics))
    state = {f'backbone.{key}': value for key, value in encoder.state_dict().items()}
    meta = dict(cfg=f'model = {model!r}', iter=4, epoch=1)
    torch.save(dict(state_dict=state, meta=meta, message_hub={}), folder / 'epoch_1.pth')
    (folder / 'run.json').write_text(json.dumps(dict(command='mmmim pretrain')))
    return folder


def picture(side, channels=3):
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, channels))
    return pixels.astype(np.uint8)


def batch_of(frozen, *images):
    samples = [dict(img=image, sample_idx=i, seed=0, replaced=[]) for i, image in enumerate(images)]
    for transform in frozen.pipeline:
        samples = [transform(sample) for sample in samples]
    return mim_collate(samples)


def small(monkeypatch, name, options):
    """Lets timm build a model with these arguments, whoever asks."""
    create = timm.create_model
    monkeypatch.setattr(timm, 'create_model', lambda *args, **kwargs: create(*args, **{**options, **kwargs}))


@torch.no_grad()
@pytest.mark.parametrize('name', NETWORKS)
def test_features_are_timms(hub, monkeypatch, name):
    """Output and each layer, with timm's own transform; the picture has the size, as resizing differs by rounding."""
    options, side = NETWORKS[name]
    torch.manual_seed(0)
    small(monkeypatch, name, options)
    module = hub.put_timm(name)
    for parameter in module.parameters():
        parameter.copy_(parameter + 0.02 * torch.randn_like(parameter))  # layer scale and positions that count
    hub.put_weights(timm.get_pretrained_cfg(name).hf_hub_id, module)
    frozen = mmmim.load(f'timm:{name}')
    assert frozen.img_size == (side, side) and not any(p.requires_grad for p in frozen.module.parameters())
    config = {**resolve_model_data_config(module), 'crop_pct': 1.0}
    pixels = picture(side)
    images = create_transform(**config)(Image.fromarray(pixels))[None]
    batch = dict(inputs=torch.from_numpy(pixels).permute(2, 0, 1)[None])
    expected = module.forward_head(module.forward_features(images), pre_logits=True)
    output, *layers = frozen.features(batch, [None, *range(1, frozen.depth + 1)])
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    assert output.dtype == torch.float32 and frozen.width == output.shape[1] and not output.is_inference()
    maps = module.forward_intermediates(images, output_fmt='NCHW', intermediates_only=True)
    assert len(maps) == frozen.depth
    for layer, grid in zip(layers, maps):
        tokens = grid.flatten(2).transpose(1, 2)
        if hasattr(module, 'num_prefix_tokens'):
            tokens = module.norm(tokens)
        mean = tokens.mean(1)
        if isinstance(getattr(module, 'norm', None), torch.nn.Identity) and hasattr(module, 'num_prefix_tokens'):
            mean = module.fc_norm(mean)
        torch.testing.assert_close(layer, mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(frozen.features(batch, [-1])[0], layers[-1])


@torch.no_grad()
def test_the_crop_is_timms_up_to_resampling(hub):
    module = hub.put_timm('test_vit.r160_in1k')
    frozen = mmmim.load('timm:test_vit.r160_in1k')
    y, x = np.mgrid[0:300, 0:400]
    smooth = np.stack([x * 255 / 400, y * 255 / 300, 128 + 100 * np.sin(x / 60)], -1).astype(np.uint8)
    timms = create_transform(**resolve_model_data_config(module))(Image.fromarray(smooth))
    ours = batch_of(frozen, smooth)['inputs'][0].float() / 255
    mean, std = (torch.tensor(module.pretrained_cfg[key]).reshape(3, 1, 1) for key in ('mean', 'std'))
    assert (ours - (timms * std + mean)).abs().max() < 3 / 255


@torch.no_grad()
def test_pooling_of_tokens(hub):
    module = hub.put_timm('test_vit.r160_in1k')
    frozen = mmmim.load('timm:test_vit.r160_in1k')
    batch = batch_of(frozen, picture(160))
    images = frozen._preprocessor(batch)['inputs']
    tokens = module.forward_features(images)
    mean, first = (frozen.features(batch, [None, -1], pool) for pool in ('mean', 'cls'))
    for found in mean:
        torch.testing.assert_close(found, tokens[:, module.num_prefix_tokens :].mean(1), atol=1e-5, rtol=1e-5)
    for found in first:
        torch.testing.assert_close(found, tokens[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(frozen.features(batch, pool='cls_mean')[0], first[0])  # there is one
    hub.put_timm('test_resnet.r160_in1k')
    with pytest.raises(ValueError, match="pool='cls'"):
        mmmim.load('timm:test_resnet.r160_in1k', pool='cls')


def test_one_pass_for_all_layers(hub):
    hub.put_timm('test_vit.r160_in1k')
    frozen, calls = mmmim.load('timm:test_vit.r160_in1k'), []
    frozen.module.patch_embed.register_forward_hook(lambda *_: calls.append(1))
    frozen.features(batch_of(frozen, picture(160)), [None, 1, 2, 3, None, 1])
    assert len(calls) == 1


def test_a_run_in_the_current_folder_says_nothing_of_public_weights(hub, tmp_path, monkeypatch):
    hub.put_timm('test_vit.r160_in1k')
    (tmp_path / 'run.json').write_text(json.dumps(dict(layer=1)))
    monkeypatch.chdir(tmp_path)
    assert mmmim.load('timm:test_vit.r160_in1k', layer='auto').layer is None


def test_another_size(hub):
    hub.put_timm('test_vit.r160_in1k')
    frozen = mmmim.load('timm:test_vit.r160_in1k', image_size=96)
    assert frozen.img_size == (96, 96) and frozen.embed(picture(200)).shape == (1, frozen.width)


# ----------------------------------------------------------------------------------------------------- our own, files


def test_a_run_its_file_and_its_checkpoint_are_one(run, image_root, tmp_path):
    copy = shutil.copytree(run, tmp_path / 'run')
    paths = sorted(map(str, image_root.rglob('*.jpg')))[:5]
    rows = [mmmim.load(str(place)).embed(paths) for place in (run, run / 'encoder.safetensors', run / 'epoch_1.pth')]
    assert rows[0].shape == (5, 32) and rows[0].dtype == np.float32
    (copy / 'encoder.safetensors').unlink()  # of a run that was stopped
    for other in (*rows[1:], mmmim.load(copy).embed(paths)):
        np.testing.assert_allclose(rows[0], other, atol=1e-5)


def test_paths_pil_and_arrays_are_one(run, image_root):
    frozen = mmmim.load(run)
    paths = sorted(image_root.rglob('*.jpg'))[:3]
    pictures = [Image.open(path) for path in paths]
    arrays = [np.asarray(image) for image in pictures]
    rows = frozen.embed(paths, batch_size=2)
    for images in (pictures, arrays, np.stack(arrays), [str(paths[0]), pictures[1], arrays[2]], iter(paths)):
        np.testing.assert_allclose(frozen.embed(images), rows, atol=1e-5)
    for image in (str(paths[0]), paths[0], pictures[0], arrays[0]):
        np.testing.assert_allclose(frozen.embed(image), rows[:1], atol=1e-5)
    grey = pictures[0].convert('L')
    np.testing.assert_allclose(frozen.embed(grey), frozen.embed(grey.convert('RGB')), atol=1e-5)
    turned = pictures[0].rotate(90, expand=True)
    turned.getexif()[0x0112] = 6  # upright once it is turned to the right
    np.testing.assert_allclose(frozen.embed(turned), rows[:1], atol=1e-5)
    for wrong, message in (([], 'the list is empty'), (arrays[0].astype(np.float32), 'float32'), ([3], "'int'")):
        with pytest.raises(ValueError, match=message):
            frozen.embed(wrong)


def test_a_run_says_which_layer_and_licence(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / 'run')
    record = json.loads((copy / 'run.json').read_text())
    (copy / 'run.json').write_text(json.dumps({**record, 'layer': 1, 'start': dict(licence='apache-2.0')}))
    frozen, output = mmmim.load(copy), mmmim.load(copy, layer=-1)
    assert (frozen.layer, output.layer, frozen.licence) == (1, frozen.depth, 'apache-2.0')
    file = copy / 'encoder.safetensors'
    assert mmmim.load(file).layer is None and mmmim.load(file, layer='auto').layer == 1
    assert np.abs(frozen.embed(picture(32)) - output.embed(picture(32))).max() > 1e-3
    np.testing.assert_allclose(output.embed(picture(32)), mmmim.load(file).embed(picture(32)), atol=1e-6)


def test_the_layer_goes_on_with_the_file(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / 'run')
    file, crop = copy / 'encoder.safetensors', dict(type='CenterCrop', size=32, ratio=1.0)
    more = dict(pipeline=[dict(type='LoadImage'), crop], start=dict(name='a', licence='mit'), iterations=3)
    before, weights = {**exported_facts(file), **more}, load_file(file)
    export_encoder(weights, str(file), before)
    store_layer(str(copy), LayerChoice(1, {'1': 60.0, 'output': 50.0}, 'layer 1 is the best'))
    moved = shutil.move(file, tmp_path / 'moved.safetensors')
    assert exported_facts(moved) == {**before, 'layer': 1}
    torch.testing.assert_close(load_file(moved), weights, rtol=0, atol=0)
    assert mmmim.load(moved, layer='auto').layer == 1 and mmmim.load(moved).layer is None
    convert(str(moved), str(tmp_path / 'timm.safetensors'), 'timm')
    kept = exported_facts(tmp_path / 'timm.safetensors')
    assert kept == {**{key: before[key] for key in ('backbone', 'mean', 'std', 'pipeline', 'start')}, 'layer': 1}


@torch.no_grad()
@pytest.mark.parametrize(
    'encoder',
    [
        lambda: MaskedViT(dict(embed_dim=32, depth=3, num_heads=2), 32, 8, num_register_tokens=2),
        lambda: ConvViT(dict(embed_dims=(8, 16, 32), depths=(1, 1, 2), num_heads=2), img_size=64),
        lambda: MaskedSwin(dict(embed_dim=8, depths=(1, 1), num_heads=(1, 2)), 32, 4, window_size=4),
    ],
    ids=['vit', 'conv_vit', 'swin'],
)
def test_layers_of_our_encoders(encoder):
    from mmmim.apis.frozen import _own_features, _stages

    torch.manual_seed(0)
    module = encoder().eval()
    images = torch.randn(2, 3, *module.img_size)
    depth = len(_stages(module))
    output, last, first = _own_features(module, images, [None, depth, 1], 'mean')
    torch.testing.assert_close(output, module(images)[:, module.num_prefix_tokens :].mean(1))
    torch.testing.assert_close(output, last)
    assert first.shape[0] == 2 and not any(stage._forward_hooks for stage in _stages(module))
    if isinstance(module, MaskedViT):
        module.blocks = module.blocks[:1]
        torch.testing.assert_close(first, module(images)[:, 3:].mean(1))


@torch.no_grad()
def test_the_mean_of_several_class_tokens_of_a_file(tmp_path):
    torch.manual_seed(0)
    arch = dict(embed_dim=192, depth=12, num_heads=3)
    module = MaskedViT(arch, 32, 8, num_class_tokens=3, num_register_tokens=1).eval()
    torch.save(module.state_dict(), tmp_path / 'vit.pth')
    frozen = mmmim.load(str(tmp_path / 'vit.pth'), pool='cls_mean')
    batch = batch_of(frozen, picture(32))
    tokens = module(frozen._preprocessor(batch)['inputs'])
    for found in frozen.features(batch, [None, -1], pool='cls_mean'):
        torch.testing.assert_close(found, tokens[:, :3].mean(1), atol=1e-5, rtol=1e-5)
    assert frozen.width == 192


@torch.no_grad()
def test_a_file_of_another_project(tmp_path):
    torch.manual_seed(0)
    module = timm.create_model('vit_tiny_patch16_224', img_size=32, patch_size=8, depth=2, num_classes=0).eval()
    torch.save(module.state_dict(), tmp_path / 'vit.pth')
    frozen = mmmim.load(str(tmp_path / 'vit.pth'))
    assert (frozen.licence, frozen.depth, frozen.width, frozen.img_size) == ('unknown', 2, 192, (32, 32))
    batch = batch_of(frozen, picture(32))
    tokens = module.forward_features(frozen._preprocessor(batch)['inputs'])
    mean, first = frozen.features(batch, pool='mean')[0], frozen.features(batch, pool='cls')[0]
    torch.testing.assert_close(mean, tokens[:, 1:].mean(1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(first, tokens[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(frozen.features(batch)[0], mean)
    export_encoder(module.state_dict(), str(tmp_path / 'vit.safetensors'), {})  # no config: what a foreign file is
    torch.testing.assert_close(mmmim.load(str(tmp_path / 'vit.safetensors')).features(batch)[0], mean)


@pytest.mark.parametrize(
    'call, message',
    [
        (dict(model='vit_small_patch14_dinov2'), 'did you mean timm:vit_small_patch14_dinov2'),
        (dict(model='vit-tiny'), 'is a size, which has no weights'),
        (dict(model='EMPTY'), 'neither encoder.safetensors nor a checkpoint'),
        (dict(model='none.pth'), "'none.pth' is no file"),
        (dict(layer=7), 'layer=7: .* has layers 1 to'),
        (dict(layer=0), 'layer=0'),
        (dict(layer='best'), "layer='best'"),
        (dict(pool='max'), "pool='max'"),
    ],
    ids=str,
)
def test_what_cannot_be_loaded(run, tmp_path, monkeypatch, call, message):
    (tmp_path / 'EMPTY').mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        mmmim.load(**{'model': str(run), **call})


def test_the_old_module_hides_no_function(monkeypatch):
    monkeypatch.setattr(mmmim.apis, 'load_encoder', importlib.import_module('mmmim.models.load_encoder'))
    assert mmmim.load_encoder is mmmim.load_encoder.__globals__['load_encoder']
    assert Frozen is mmmim.apis.Frozen
