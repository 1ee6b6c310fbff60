"""The hybrid convolutional ViT as a dense backbone."""

import pytest
import torch
from harness import FLOAT32
from torch.nn import functional as F

from mmmim.checkpoint.encoder import EncoderMismatchError
from mmmim.models.backbones import ConvViT, DenseConvViT, MaskedViT
from mmmim.registry import MODELS

SMALL = dict(arch=dict(embed_dims=(8, 12, 32), depths=(1, 1, 4), num_heads=2), img_size=64)


def build(kind=DenseConvViT, **kwargs):
    torch.manual_seed(0)
    vit = kind(**{**SMALL, **kwargs}).eval()
    for param in vit.parameters():
        param.data.add_(torch.randn_like(param) * 0.05)
    return vit


def draw(height=64, width=64):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(2))


def save(path, encoder):
    torch.save({'state_dict': {f'backbone.{key}': value for key, value in encoder.state_dict().items()}}, path)
    return dict(type='Pretrained', checkpoint=str(path), prefix='backbone.')


@pytest.mark.parametrize('variant', [dict(fuse=True), dict(fuse=False), dict(conv_vit='stem')])
@torch.no_grad()
def test_the_third_map_holds_the_tokens_of_the_pretrained_encoder(variant, tmp_path):
    encoder = build(ConvViT, **{**variant, 'fuse': True})
    dense = DenseConvViT(**SMALL, **variant, final_norm=True, init_cfg=save(tmp_path / 'a.pth', encoder)).eval()
    dense.init_weights()
    if not dense.fuse:
        encoder.fuse = torch.nn.ModuleList()
    expected = encoder(draw()).mT.unflatten(2, (4, 4))
    maps = dense(draw())
    torch.testing.assert_close(maps[2], expected, atol=1e-6, rtol=0)
    assert torch.equal(maps[3], F.max_pool2d(maps[2], 2))
    assert [tuple(m.shape[1:]) for m in maps] == [(8, 16, 16), (12, 8, 8), (32, 4, 4), (32, 2, 2)]
    assert dense.out_channels == (8, 12, 32, 32)


@torch.no_grad()
def test_maps_of_the_stages_lie_as_the_image_does():
    """The first map, computed by convolutions over the whole image."""
    vit = build()
    stage = vit.patch_embed.stages[0]
    x = F.gelu(stage.norm(stage.embed(draw()).permute(0, 2, 3, 1)))
    block = stage.blocks[0]
    inner = block.depthwise(block.conv1(block.norm1(x)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    x = x + block.conv2(inner)
    x = x + block.mlp(block.norm2(x))
    torch.testing.assert_close(vit(draw())[0], x.permute(0, 3, 1, 2), **FLOAT32)


@pytest.mark.parametrize('kwargs', [{}, dict(window_size=3, relative_positions='decomposed'), dict(with_cp=True)])
def test_any_size_and_gradients_everywhere(kwargs):
    vit = build(**kwargs).train()
    maps = vit(draw(70, 100))
    assert [tuple(m.shape[2:]) for m in maps] == [(20, 28), (10, 14), (5, 7), (3, 4)]
    sum(m.square().sum() for m in maps).backward()
    assert all(p.grad is not None and p.grad.any() for p in vit.parameters() if p.requires_grad)


def test_names_are_those_of_the_encoder():
    assert set(build(fuse=True, final_norm=True).state_dict()) == set(build(ConvViT).state_dict())


def test_relative_positions_begin_with_nothing_changed(tmp_path):
    init_cfg = save(tmp_path / 'a.pth', build(ConvViT))
    plain, relative = (
        DenseConvViT(**SMALL, relative_positions=kind, init_cfg=init_cfg).eval() for kind in (None, 'separate')
    )
    plain.init_weights(), relative.init_weights()
    torch.testing.assert_close(relative(draw(70, 100))[2], plain(draw(70, 100))[2], **FLOAT32)


def test_a_plain_vit_is_refused(tmp_path):
    plain = MaskedViT(arch=dict(embed_dim=32, depth=4, num_heads=2), img_size=64)
    with pytest.raises(EncoderMismatchError, match='a convolutional ViT'):
        DenseConvViT(**SMALL, init_cfg=save(tmp_path / 'a.pth', plain)).init_weights()


def test_layers_of_parameters_and_what_is_frozen():
    vit = build(trainable_blocks=1)
    assert vit.get_layer_depth('backbone.patch_embed.stages.1.blocks.0.conv1.weight', 'backbone.') == (0, 6)
    assert vit.get_layer_depth('backbone.blocks.3.attn.qkv.weight', 'backbone.') == (4, 6)
    assert {name.split('.')[1] for name, p in vit.named_parameters() if p.requires_grad} == {'3'}


def test_it_is_built_from_a_config():
    assert isinstance(MODELS.build(dict(type='mmmim.DenseConvViT', **SMALL)), DenseConvViT)
