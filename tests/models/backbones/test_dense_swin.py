"""timm's Swin as a dense backbone: timm's numbers, any size, any project's checkpoint."""

import pytest
import torch
from harness import FLOAT32
from timm.models.swin_transformer import SwinTransformer

from mmmim.checkpoint.encoder import EncoderMismatchError, from_mmmim
from mmmim.models.backbones import DenseSwin, MaskedViT
from mmmim.registry import MODELS

ARCH = dict(embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 4))


def draw(height=128, width=128):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope='module')
def timms():
    """128 pixels and windows of 4: maps of 32, 16, 8 and 4 positions."""
    torch.manual_seed(0)
    swin = SwinTransformer(128, num_classes=0, window_size=4, always_partition=True, drop_path_rate=0.0, **ARCH).eval()
    for param in swin.parameters():
        param.data.add_(torch.randn_like(param) * 0.05)
    return swin


def load(state, path, **kwargs):
    torch.save(state, path)
    swin = DenseSwin(ARCH, window_size=4, **kwargs, init_cfg=dict(type='Pretrained', checkpoint=str(path))).eval()
    swin.init_weights()
    return swin


def backbone(timms):
    return {f'backbone.{key}': value for key, value in timms.state_dict().items()}


@torch.no_grad()
def test_maps_are_timms(timms, tmp_path):
    swin = load(timms.state_dict(), tmp_path / 'a.pth')
    images = draw()
    expected = [timms.patch_embed(images)]
    for stage in timms.layers:
        expected.append(stage(expected[-1]))
    maps = swin(images)
    assert swin.out_channels == (8, 16, 32, 64)
    for found, x, width in zip(maps[:3], expected[1:4], swin.out_channels):
        normalised = torch.nn.functional.layer_norm(x, (width,))  # as the norms begin
        torch.testing.assert_close(found, normalised.permute(0, 3, 1, 2), **FLOAT32)
    torch.testing.assert_close(maps[3], timms.forward_features(images).permute(0, 3, 1, 2), **FLOAT32)


@pytest.mark.parametrize('scheme', ['mmmim', 'mmpretrain', 'timm'])
@torch.no_grad()
def test_checkpoints_of_other_projects(scheme, timms, tmp_path, capsys):
    swin = load(from_mmmim(backbone(timms), scheme), tmp_path / 'a.pth', out_norms=scheme != 'timm')
    for name, value in timms.state_dict().items():
        if name in swin.state_dict():
            assert torch.equal(swin.state_dict()[name], value), name
    said = capsys.readouterr().out
    assert 'keys matched' in said and ('stages 0, 1, 2 begin anew' in said) == (scheme != 'timm')


@torch.no_grad()
def test_any_size():
    swin = DenseSwin(ARCH, window_size=4)
    assert [tuple(m.shape[2:]) for m in swin(draw(61, 90))] == [(16, 23), (8, 12), (4, 6), (2, 3)]


@torch.no_grad()
def test_a_map_does_not_depend_on_the_size_seen_before():
    swin = DenseSwin(ARCH, window_size=4).eval()
    first = swin(draw(64, 96))
    swin(draw(128, 64))
    assert all(torch.equal(one, other) for one, other in zip(first, swin(draw(64, 96))))


def test_checkpointing_changes_nothing_and_gradients_reach_all():
    grads = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        swin = DenseSwin(ARCH, window_size=4, with_cp=with_cp).train()
        sum((m * m.detach().cos()).sum() for m in swin(draw(70, 60))).backward()
        grads.append({name: p.grad for name, p in swin.named_parameters()})
    for name, grad in grads[0].items():
        assert grad is not None and grad.any(), name
        torch.testing.assert_close(grads[1][name], grad, atol=1e-5, rtol=1e-5)


def test_stages_after_the_last_map_are_left_alone():
    swin = DenseSwin(ARCH, window_size=4, out_indices=[1])
    maps = swin(draw(64, 64))
    assert len(maps) == 1 and maps[0].shape == (2, 16, 8, 8)
    maps[0].square().sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in swin.parameters())


def test_layers_of_parameters():
    swin = DenseSwin(ARCH, window_size=4)
    for name, expected in (
        ('patch_embed.proj.weight', 0),
        ('layers.0.blocks.1.norm1.weight', 2),
        ('layers.1.downsample.reduction.weight', 2),
        ('layers.1.blocks.0.attn.qkv.weight', 3),
        ('layers.3.blocks.1.mlp.fc1.bias', 8),
        ('norm.weight', 9),
        ('out_norms.0.weight', 9),
    ):
        swin.get_parameter(name)
        assert swin.get_layer_depth(f'backbone.{name}', 'backbone.') == (expected, 10)


@pytest.mark.parametrize(
    'other',
    [
        dict(kind=DenseSwin, arch=dict(ARCH, embed_dim=16), window_size=4),
        dict(kind=MaskedViT, arch=dict(embed_dim=8, depth=2, num_heads=1), img_size=32),
    ],
)
def test_another_encoder_is_refused(other, tmp_path):
    encoder = other.pop('kind')(**other)
    with pytest.raises(EncoderMismatchError):
        load({f'backbone.{key}': value for key, value in encoder.state_dict().items()}, tmp_path / 'a.pth')


def test_it_is_built_from_a_config():
    assert isinstance(MODELS.build(dict(type='mmmim.DenseSwin', arch=ARCH)), DenseSwin)
    with pytest.raises(ValueError, match='tiny, small, base, large'):
        DenseSwin('huge')
