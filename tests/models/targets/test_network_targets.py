"""Targets that are features of a fixed network: VGG-16, and CLIP's and other ViTs, with random weights."""

import os

import pytest
import torch
from timm.data import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from timm.models import VisionTransformer, register_model
from torch import nn
from torch.nn import functional as F

from mmmim.models.build import build_part
from mmmim.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from mmmim.models.targets import CLIPTarget, TimmViTTarget, VGGTarget, timm_vit
from mmmim.registry import MODELS


def images_of(size):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope='module')
def vgg(tmp_path_factory):
    from torchvision.models.vgg import cfgs, make_layers

    torch.manual_seed(0)
    features = make_layers(cfgs['D'])  # as vgg16() calls it
    file = tmp_path_factory.mktemp('vgg') / 'vgg16.pth'
    torch.save({f'features.{key}': value for key, value in features.state_dict().items()}, file)
    yield features.eval(), str(file)
    os.remove(file)


@register_model
def vit_tiny_patch16_clip_test(pretrained=False, **options):
    """timm's CLIP ViT, small."""
    network = VisionTransformer(
        img_size=64,
        patch_size=16,
        embed_dim=32,
        depth=3,
        num_heads=2,
        num_classes=24,
        pre_norm=True,
        norm_layer=nn.LayerNorm,
        act_layer='quick_gelu',
    )
    network.pretrained_cfg = dict(mean=OPENAI_CLIP_MEAN, std=OPENAI_CLIP_STD)
    return network


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    """A network of timm with random weights, its name, and the file that holds them."""
    torch.manual_seed(0)
    network = vit_tiny_patch16_clip_test().eval()
    file = tmp_path_factory.mktemp('clip') / 'clip.pth'
    torch.save(network.state_dict(), file)
    yield network, 'vit_tiny_patch16_clip_test', str(file)
    os.remove(file)


def told(target):
    target.set_image_statistics((100.0, 110.0, 120.0), (50.0, 60.0, 70.0))
    target.init_weights()  # as the runner does: what was loaded must stay
    return target.train()


def as_the_network_wants(images, mean, std):
    """From the normalisation of ``told`` to another one."""
    ours = [torch.tensor(v).reshape(1, 3, 1, 1) for v in ((100.0, 110.0, 120.0), (50.0, 60.0, 70.0))]
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (mean, std))
    return (images * ours[1] + ours[0] - mean) / std


@torch.no_grad()
def test_vgg_features_are_torchvisions(vgg):
    features, file = vgg
    images = images_of((64, 96))
    target = told(VGGTarget((4, 6), 16, weights=file))
    x = features[:16](as_the_network_wants(images, IMAGENET_MEAN, IMAGENET_STD))  # relu3_3
    assert target.out_dim == 256 and x.shape[2:] == (16, 24)
    torch.testing.assert_close(target(images), F.avg_pool2d(x, 4).flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-4)
    whole = told(VGGTarget((4, 6), 16, reduce='flatten', weights=file))
    torch.testing.assert_close(
        whole(images)[0, 7].reshape(4, 4, 256), x[0, :, 4:8, 4:8].permute(1, 2, 0), atol=1e-5, rtol=1e-4
    )


@torch.no_grad()
def test_clip_features_are_timms(clip):
    network, name, file = clip
    images = images_of((64, 64))
    x = as_the_network_wants(images, *([255 * v for v in network.pretrained_cfg[key]] for key in ('mean', 'std')))
    tokens = network.forward_features(x)[:, 1:]
    target = told(TimmViTTarget(name, weights=file))
    assert target.grid_size == (4, 4) and target.out_dim == 32
    torch.testing.assert_close(target(images), tokens, atol=1e-4, rtol=1e-4)
    projected = told(TimmViTTarget(name, project=True, weights=file))
    assert projected.out_dim == 24
    torch.testing.assert_close(projected(images), network.head(tokens), atol=1e-4, rtol=1e-4)
    middle = told(TimmViTTarget(name, layer=2, weights=file))
    expected = network.forward_intermediates(x, indices=[1], output_fmt='NLC', intermediates_only=True)[0]
    torch.testing.assert_close(middle(images), expected, atol=1e-4, rtol=1e-4)
    assert target(images_of((96, 96))).shape == (2, 16, 32)  # resized to what the network takes


@register_model
def vit_tiny_patch16_plain_test(pretrained=False, num_classes=10, **options):
    """A supervised ViT of timm, small."""
    network = VisionTransformer(64, 16, embed_dim=32, depth=2, num_heads=2, num_classes=num_classes)
    network.pretrained_cfg = dict(mean=(0.5,) * 3, std=(0.5,) * 3)
    return network


@torch.no_grad()
def test_any_plain_vit_of_timm_is_a_target_with_or_without_its_head_in_the_file(tmp_path):
    network = vit_tiny_patch16_plain_test(num_classes=0).eval()
    torch.save(network.state_dict(), tmp_path / 'encoder.pth')
    target = MODELS.build(
        dict(type='TimmViTTarget', model='vit_tiny_patch16_plain_test', weights=str(tmp_path / 'encoder.pth'))
    )
    images = images_of((64, 64))
    x = as_the_network_wants(images, (127.5,) * 3, (127.5,) * 3)
    torch.testing.assert_close(told(target)(images), network.forward_features(x)[:, 1:], atol=1e-4, rtol=1e-4)
    with pytest.raises(RuntimeError, match='is not the encoder that the target was built for.*head'):
        TimmViTTarget('vit_tiny_patch16_plain_test', project=True, weights=str(tmp_path / 'encoder.pth'))


def test_dino_is_in_timm_and_has_no_projection():
    network = timm_vit.create('vit_small_patch16_224.dino')
    assert (network.embed_dim, network.patch_embed.grid_size, network.num_classes) == (384, (14, 14), 0)
    with pytest.raises(ValueError, match='dino has no projection'):
        TimmViTTarget('vit_small_patch16_224.dino', project=True)


def test_the_former_names_stay(clip):
    assert MODELS.get('CLIPTarget') is MODELS.get('TimmViTTarget') is CLIPTarget is TimmViTTarget
    assert TimmViTTarget(clip[1], clip_layer=2, weights=clip[2]).layer == 2


def test_networks_are_fixed_silent_and_in_no_checkpoint(clip, vgg):
    for target in (told(TimmViTTarget(clip[1], weights=clip[2])), told(VGGTarget((4, 4), 16, weights=vgg[1]))):
        images, saved = images_of((64, 64)).requires_grad_(), []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
            features = target(images)
        assert not saved and not features.requires_grad and not target.network.training
        assert not list(target.parameters()) and not target.state_dict()
        with torch.autocast('cpu', torch.bfloat16):
            coarse = target(images)
        assert not torch.equal(coarse.float(), features)  # computed in bf16
        assert F.cosine_similarity(coarse.float(), features, dim=-1).mean() > 0.99


def test_missing_weights_are_named_with_the_way_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r'vgg16-397923af\.pth.*torchvision.*model\.target\.weights'):
        VGGTarget((2, 2), 16)
    monkeypatch.setattr('huggingface_hub.try_to_load_from_cache', lambda *_: None)
    with pytest.raises(FileNotFoundError, match=r'no model\.safetensors of timm/vit_tiny.*=True.*target\.weights'):
        TimmViTTarget('vit_tiny_patch16_clip_test')
    for build in (
        lambda: TimmViTTarget('vit_tiny_patch16_clip_test', weights='no/such.pth'),
        lambda: VGGTarget((2, 2), 16, weights='no/such.pth'),
    ):
        with pytest.raises(FileNotFoundError, match='no/such.pth'):
            build()


def test_errors_name_the_key_and_the_page_that_are_right(monkeypatch):
    monkeypatch.setenv('TORCH_HOME', 'no/such')
    targets = [dict(type='HOGTarget'), dict(type='VGGTarget')]
    with pytest.raises(FileNotFoundError, match=r'set model\.target\.targets\.1\.weights to'):
        build_part(dict(type='CombinedTarget', targets=targets), 'target', patch_size=16, grid_size=(2, 2))
    with pytest.raises(FileNotFoundError, match=r'co/timm/vit_base_patch16_clip_224\.openai and set model\.target\.w'):
        TimmViTTarget(weights='no/such.pth')


def test_a_file_in_timms_hub_is_found(clip, monkeypatch):
    network, name, file = clip
    asked = []
    monkeypatch.setattr('huggingface_hub.try_to_load_from_cache', lambda *args: asked.append(args) or file)
    TimmViTTarget(name)
    assert asked == [(f'timm/{name}', timm_vit.HUB_FILES[0])]


def test_the_default_is_openais_vit_b_in_timm():
    network = timm_vit.create('vit_base_patch16_clip_quickgelu_224.openai')
    assert network.pretrained_cfg['hf_hub_id'] == 'timm/vit_base_patch16_clip_224.openai'
    assert type(network.blocks[0].mlp.act).__name__ == 'QuickGELU'  # as OpenAI trained it
    assert (network.embed_dim, network.patch_embed.grid_size, network.num_classes) == (768, (14, 14), 512)


def test_other_files_are_refused(clip, vgg, tmp_path):
    torch.save({'patch_embed.proj.weight': torch.zeros(1024, 3, 14, 14)}, tmp_path / 'large.pth')
    with pytest.raises(RuntimeError, match='width 1024 with patches of 14x14 .* has width 32 and patches of 16x16'):
        TimmViTTarget(clip[1], weights=str(tmp_path / 'large.pth'))
    with pytest.raises(
        RuntimeError, match='is not the encoder that the target was built for, vit_tiny_patch16_clip_test'
    ):
        TimmViTTarget(clip[1], weights=vgg[1])
    with pytest.raises(RuntimeError, match='is not a VGG-16'):
        VGGTarget((2, 2), 16, weights=clip[2])


@pytest.mark.parametrize(
    'build, message',
    [
        (lambda clip: TimmViTTarget('vit_no_such_clip', weights=clip[2]), 'similar name are vit_.*_clip_'),
        (lambda clip: TimmViTTarget('resnet18', weights=clip[2]), 'no plain ViT'),
        (lambda clip: TimmViTTarget(clip[1], layer=99, weights=clip[2]), 'has blocks 1 to'),
        (lambda clip: VGGTarget((2, 2), 16, layer='relu9_9'), "'relu1_1', 'relu1_2'"),
        (lambda clip: VGGTarget((2, 2), 8, layer='relu5_1'), 'take an earlier layer'),
        (lambda clip: told(TimmViTTarget(clip[1], weights=clip[2])).set_image_statistics((1,), (1,)), '3 channels'),
    ],
)
def test_networks_that_cannot_be(clip, build, message):
    with pytest.raises(ValueError, match=message):
        build(clip)


def test_a_clip_grid_that_does_not_fit_is_refused(clip):
    backbone = dict(type='MaskedViT', arch=dict(embed_dim=32, depth=1, num_heads=2), img_size=32, patch_size=4)
    with pytest.raises(ValueError, match="TimmViTTarget cannot be brought to the backbone's.*4x4 .* 8x8"):
        MODELS.build(
            dict(
                type='CrossMAE',
                backbone=backbone,
                drawing_head=dict(type='DrawingHead', embed_dim=16),
                predictor=dict(type='LinearPredictor'),
                target=dict(type='TimmViTTarget', model=clip[1], weights=clip[2]),
            )
        )
