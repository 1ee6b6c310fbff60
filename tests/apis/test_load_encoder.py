"""One line from any checkpoint to a timm module that computes the features of the model in the file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import transformers
from harness import FLOAT32
from PIL import Image
from timm.models import SwinTransformer, VisionTransformer
from timm.models.beit import Beit
from torch import nn

import mmmim
from mmmim.checkpoint import export_encoder
from mmmim.checkpoint.encoder import EncoderMismatchError, from_mmmim
from mmmim.models.backbones import MaskedViT
from mmmim.positions import sincos_positions

ROOT = Path(__file__).parents[2]
ARCH = dict(embed_dim=48, depth=2, num_heads=4)  # 4 heads: neither the width nor 64 channels a head would tell
CONFIG = dict(type='MaskedViT', arch=ARCH, img_size=[32, 48], patch_size=8)
TIMM_KEEPS_ARGUMENTS = tuple(map(int, timm.__version__.split('.')[:3])) >= (1, 0, 31)


def random_images(height=32, width=48):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def build(**overrides):
    vit = MaskedViT(**{key: value for key, value in {**CONFIG, **overrides}.items() if key != 'type'}).eval()
    generator = torch.Generator().manual_seed(0)
    for param in vit.parameters():
        param.data.normal_(std=0.3, generator=generator)
    return vit


@pytest.fixture
def exported(tmp_path):
    """An exported encoder with its config, and the module that it was written from."""
    vit = build()
    export_encoder(
        vit, tmp_path / 'encoder.safetensors', dict(backbone=CONFIG, mean=[127.5, 127.5, 0], std=[255, 51, 102])
    )
    return str(tmp_path / 'encoder.safetensors'), vit


@torch.no_grad()
def test_features_are_those_of_our_backbone(exported):
    path, vit = exported
    expected = vit(random_images())
    model = mmmim.load_encoder(path)
    assert type(model) is timm.models.VisionTransformer and not model.training
    torch.testing.assert_close(model.forward_features(random_images()), expected, **FLOAT32)
    torch.testing.assert_close(model(random_images()), expected[:, 1:].mean(1), **FLOAT32)
    token = mmmim.load_encoder(path, pool='token')(random_images())
    torch.testing.assert_close(token, expected[:, 0], **FLOAT32)
    torch.testing.assert_close(mmmim.load_encoder(path, pool='')(random_images()), expected, **FLOAT32)


@torch.no_grad()
def test_the_module_trains_like_any_other(exported):
    model = mmmim.load_encoder(exported[0]).train()
    with torch.enable_grad():
        model(random_images()).square().sum().backward()
    assert all(param.grad is not None for param in model.parameters())


def test_the_readme_example_normalises_as_in_pre_training(exported, tmp_path):
    path, vit = exported
    Image.new('RGB', (60, 40), (255, 51, 102)).save(tmp_path / 'photo.png')
    model = mmmim.load_encoder(path)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    image = transform(Image.open(tmp_path / 'photo.png'))
    assert image.shape == (3, 32, 48)
    torch.testing.assert_close(image[:, 0, 0], torch.tensor([0.5, -1.5, 1.0]))
    with torch.no_grad():
        torch.testing.assert_close(model(image[None]), vit(image[None])[:, 1:].mean(1), **FLOAT32)


def test_hugging_face_files_bring_their_config(tmp_path):
    config = transformers.ViTConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        image_size=32,
        patch_size=8,
        layer_norm_eps=1e-3,
    )
    theirs = transformers.ViTModel(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = mmmim.load_encoder(str(tmp_path / 'model.safetensors'), pool='')
    images = random_images(32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images).last_hidden_state, **FLOAT32)


@torch.no_grad()
def test_fine_tuned_files_keep_the_norm_after_pooling(tmp_path):
    theirs = timm.models.VisionTransformer(32, 8, num_classes=5, global_pool='avg', embed_dim=48, depth=2, num_heads=4)
    for param in theirs.parameters():
        param.normal_(std=0.3)
    theirs.eval()
    torch.save(dict(model=theirs.state_dict()), tmp_path / 'fine_tuned.pth')
    ours = mmmim.load_encoder(str(tmp_path / 'fine_tuned.pth'), num_heads=4)
    images = random_images(32, 32)
    expected = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
    torch.testing.assert_close(ours(images), expected, **FLOAT32)
    # our own classifiers have that norm in their neck
    state = {f'backbone.{key}': value for key, value in theirs.state_dict().items() if 'head' not in key}
    state = {key.replace('backbone.fc_norm', 'neck.norm'): value for key, value in state.items()}
    torch.save(dict(state_dict=state), tmp_path / 'classifier.pth')
    ours = mmmim.load_encoder(str(tmp_path / 'classifier.pth'), num_heads=4)
    torch.testing.assert_close(ours(images), expected, **FLOAT32)
    assert {'fc_norm.weight', 'fc_norm.bias'} <= set(from_mmmim(state, 'timm'))


@pytest.mark.parametrize(
    'options',
    [
        dict(class_token=False),
        dict(reg_tokens=2),
        dict(no_embed_class=True),
        dict(init_values=0.1),
        dict(qk_norm=True),
        dict(qkv_bias=False),
        dict(pre_norm=True),
        dict(in_chans=1),
        dict(final_norm=False),
    ],
    ids=str,
)
@torch.no_grad()
def test_variants_of_timm_are_rebuilt(options, tmp_path):
    theirs = timm.models.VisionTransformer(
        32, 8, num_classes=0, global_pool='avg', fc_norm=False, embed_dim=48, depth=2, num_heads=4, **options
    )
    for param in theirs.parameters():
        param.normal_(std=0.3)
    torch.save(theirs.eval().state_dict(), tmp_path / 'timm.pth')
    images = random_images(32, 32)[:, : options.get('in_chans', 3)]
    ours = mmmim.load_encoder(str(tmp_path / 'timm.pth'), num_heads=4)
    torch.testing.assert_close(ours(images), theirs(images), **FLOAT32)


def saved_and_loaded(model, folder, **arguments):
    """A module after timm has written it to a folder and built it from that."""
    timm.models.save_for_hf(model, folder, **arguments)
    return timm.create_model(f'local-dir:{folder}', pretrained=True).eval()


BEIT = dict(img_size=32, patch_size=8, num_classes=0, embed_dim=48, depth=2, num_heads=4, use_rel_pos_bias=True)


@pytest.mark.parametrize(
    'encoder, options',
    [
        (build, {}),
        (build, dict(pool='token', img_size=(64, 48), patch_size=16)),
        (lambda: build(class_token=False), dict(in_chans=1, adapt_channels=True)),
        (lambda: build(num_class_tokens=2, num_register_tokens=2), dict(pool='')),
        (lambda: VisionTransformer((32, 48), 8, embed_dim=48, depth=2, num_heads=4, global_pool='avg'), {}),
        (lambda: VisionTransformer((32, 48), 8, embed_dim=48, depth=2, reg_tokens=2, no_embed_class=True), {}),
        (lambda: Beit(**BEIT, use_abs_pos_emb=False, global_pool=''), {}),
        (lambda: Beit(**BEIT, use_abs_pos_emb=True, global_pool='avg', init_values=0.1), dict(pool='token')),
        (lambda: Beit(**BEIT, use_abs_pos_emb=False, global_pool=''), dict(img_size=64)),
        (lambda: SwinTransformer((32, 64), embed_dim=8, depths=(2, 2), num_heads=(1, 2), window_size=2), {}),
    ],
)
@torch.no_grad()
def test_timm_saves_and_rebuilds_the_module(encoder, options, tmp_path):
    encoder = encoder()
    if not TIMM_KEEPS_ARGUMENTS and not isinstance(encoder, (MaskedViT, VisionTransformer)):
        pytest.skip('this timm reads no Swin without a classifier, and its Beit has one kind of norm for a pooling')
    for param in encoder.parameters():
        param.normal_(std=0.3)
    path = str(tmp_path / 'encoder.safetensors')
    config = dict(backbone=dict(CONFIG, img_size=encoder.patch_embed.img_size), mean=[51.0] * 3, std=[102.0] * 3)
    export_encoder({k: v for k, v in encoder.state_dict().items() if 'head' not in k}, path, config)
    model = mmmim.load_encoder(path, **options)
    images = torch.randn(2, *model.pretrained_cfg['input_size'])
    again = saved_and_loaded(model, tmp_path / 'hub', model_args=model.model_args)
    assert torch.equal(again.forward_features(images), model.forward_features(images))
    assert torch.equal(again(images), model(images))
    channels = len(images[0])
    config = timm.data.resolve_model_data_config(again)
    assert tuple(config['input_size']) == tuple(images[0].shape)
    assert list(config['mean']) == [0.2] * channels and list(config['std']) == [0.4] * channels
    if TIMM_KEEPS_ARGUMENTS:
        assert torch.equal(saved_and_loaded(model, tmp_path / 'plain')(images), model(images))


def test_timm_refuses_to_save_what_it_can_not_build(tmp_path):
    beit = Beit(**BEIT, use_abs_pos_emb=False, global_pool='')
    torch.save({k: v for k, v in beit.state_dict().items() if not k.startswith('norm.')}, tmp_path / 'beit.pth')
    model = mmmim.load_encoder(str(tmp_path / 'beit.pth'))
    with pytest.raises(KeyError, match='architecture'):
        timm.models.save_for_hf(model, tmp_path / 'hub')


@torch.no_grad()
def test_another_image_and_patch_size(exported):
    path, vit = exported
    model = mmmim.load_encoder(path, img_size=(64, 96), patch_size=16)
    assert model.pos_embed.shape == vit.pos_embed.shape and torch.equal(model.pos_embed, vit.pos_embed)
    # an image enlarged with its patches gives nearly the same tokens: what PI-resize is made for
    small = torch.nn.functional.interpolate(torch.randn(2, 3, 8, 12), (32, 48), mode='bicubic')
    large = torch.nn.functional.interpolate(small, (64, 96), mode='bicubic')
    error = (model.patch_embed(large) - vit.patch_embed(small)).norm() / vit.patch_embed(small).norm()
    assert error < 0.1
    larger = mmmim.load_encoder(path, img_size=(64, 96))
    assert larger.patch_embed.grid_size == (8, 12) and larger(random_images(64, 96)).shape == (2, 48)


def test_an_absent_position_table_is_rebuilt_for_projects_that_compute_it(tmp_path):
    """Not for names alone: a model with rotary positions has no table either."""
    state = {key: value for key, value in build().state_dict().items() if key != 'pos_embed'}
    torch.save(state, tmp_path / 'bare.pth')
    with pytest.raises(EncoderMismatchError, match='no position table.*rotary positions.*timm.create_model'):
        mmmim.load_encoder(str(tmp_path / 'bare.pth'), num_heads=4, img_size=(32, 48))
    torch.save({**state, 'decoder_embed.weight': torch.ones(8, 48)}, tmp_path / 'mae.pth')
    model = mmmim.load_encoder(str(tmp_path / 'mae.pth'), num_heads=4, img_size=(32, 48))
    torch.testing.assert_close(model.pos_embed.detach(), sincos_positions(48, (4, 6), 1))
    with pytest.raises(ValueError, match='give img_size'):
        mmmim.load_encoder(str(tmp_path / 'mae.pth'), num_heads=4)


def test_what_a_file_cannot_tell_is_asked_for(exported, tmp_path):
    square = build(img_size=32)
    torch.save(square.state_dict(), tmp_path / 'bare.pth')
    with pytest.raises(ValueError, match=r'give num_heads=N \(a divisor of 48\)'):
        mmmim.load_encoder(str(tmp_path / 'bare.pth'))
    torch.save(build(img_size=(32, 56)).state_dict(), tmp_path / 'wide.pth')
    with pytest.raises(ValueError, match='28 positions are no square grid.*give the img_size'):
        mmmim.load_encoder(str(tmp_path / 'wide.pth'), num_heads=4)
    model = mmmim.load_encoder(str(tmp_path / 'wide.pth'), num_heads=4, img_size=(32, 56))
    assert model.patch_embed.grid_size == (4, 7)
    torch.save(build(img_size=32, class_token=False).state_dict(), tmp_path / 'mean.pth')
    with pytest.raises(ValueError, match='no class token'):
        mmmim.load_encoder(str(tmp_path / 'mean.pth'), num_heads=4, pool='token')
    with pytest.raises(ValueError, match="pool='max' is not known"):
        mmmim.load_encoder(exported[0], pool='max')


def test_another_architecture_is_named(tmp_path):
    torch.save(nn.Sequential(nn.Linear(2, 2)).state_dict(), tmp_path / 'mlp.pth')
    with pytest.raises(EncoderMismatchError, match=r'no encoder.*begin with 0 \(2\)'):
        mmmim.load_encoder(str(tmp_path / 'mlp.pth'))
    torch.save(timm.create_model('resnet18').state_dict(), tmp_path / 'resnet.pth')
    with pytest.raises(EncoderMismatchError, match='those of a ResNet'):
        mmmim.load_encoder(str(tmp_path / 'resnet.pth'))


@pytest.mark.runs
def test_the_same_checkpoint_in_a_plain_timm_script(tmp_path):
    """No line of this project in the script: a converted file is timm's."""
    vit = build(arch='tiny', img_size=32, patch_size=16)
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in vit.state_dict().items()}), tmp_path / 'epoch_1.pth')
    convert = [sys.executable, str(ROOT / 'tools' / 'convert_checkpoint.py'), str(tmp_path / 'epoch_1.pth')]
    subprocess.run([*convert, str(tmp_path / 'encoder.safetensors'), '--to', 'timm'], check=True, capture_output=True)
    np.save(tmp_path / 'images.npy', random_images(32, 32).numpy())
    script = (
        'import numpy, timm, torch\n'
        "model = timm.create_model('vit_tiny_patch16_224', img_size=32, num_classes=0, "
        "checkpoint_path='encoder.safetensors').eval()\n"
        "images = torch.from_numpy(numpy.load('images.npy'))\n"
        "numpy.save('tokens.npy', model.forward_features(images).detach().numpy())\n"
    )
    subprocess.run([sys.executable, '-c', script], check=True, cwd=tmp_path)
    with torch.no_grad():
        expected = vit(random_images(32, 32))
    torch.testing.assert_close(torch.from_numpy(np.load(tmp_path / 'tokens.npy')), expected, **FLOAT32)


def test_sides_of_a_bare_file_are_told_by_its_sine_cosine_table(tmp_path):
    """64 positions of 4 x 16 patches are no 8 x 8."""
    model = MaskedViT(arch=dict(embed_dim=64, depth=1, num_heads=1), img_size=(32, 128), patch_size=8)
    torch.save(model.state_dict(), tmp_path / 'bare.pth')
    loaded = mmmim.load_encoder(str(tmp_path / 'bare.pth'), pool='', num_heads=1)
    assert loaded.patch_embed.grid_size == (4, 16)
    assert torch.equal(loaded.pos_embed, model.pos_embed)
