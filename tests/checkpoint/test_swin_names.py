"""Swin in mmpretrain's, the SimMIM authors' and timm's names: the last computes what the others did."""

import pytest
import torch
from harness import FLOAT32
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS as MMPRETRAIN
from timm.models import SwinTransformer

import mmmim
from mmmim.checkpoint.encoder import EncoderMismatchError, detect_scheme, fill_encoder, from_mmmim, left_out, to_mmmim
from mmmim.checkpoint.schemes import list_names
from mmmim.checkpoint.schemes.swin import relative_position_index

ARCH = dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4])


@pytest.fixture(scope='module')
def simmim():
    """mmpretrain's SimMIM with a Swin of window 2 for images of 64 pixels, every parameter random."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MMPRETRAIN.build(
            dict(
                type='SimMIM',
                backbone=dict(
                    type='SimMIMSwinTransformer',
                    arch=ARCH,
                    img_size=64,
                    stage_cfgs=dict(block_cfgs=dict(window_size=2)),
                ),
                neck=dict(type='SimMIMLinearDecoder', in_channels=64, encoder_stride=32),
                head=dict(
                    type='SimMIMHead',
                    patch_size=4,
                    loss=dict(type='PixelReconstructionLoss', criterion='L1', channel=3),
                ),
            )
        )
    generator = torch.Generator().manual_seed(0)
    for param in model.parameters():
        param.data.normal_(std=0.3, generator=generator)
    model.eval()
    return model


def timm_swin():
    return SwinTransformer(
        img_size=64, window_size=2, embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 4), num_classes=0
    )


@torch.no_grad()
def test_timm_computes_what_mmpretrain_did(simmim, tmp_path):
    state = from_mmmim(to_mmmim(simmim.state_dict()), 'timm')
    theirs = timm_swin().eval()
    theirs.load_state_dict(state, strict=True)
    images = torch.randn(2, 3, 64, 64)
    expected = simmim.backbone(images, None)[0].permute(0, 2, 3, 1)
    torch.testing.assert_close(theirs.forward_features(images), expected, **FLOAT32)
    torch.save(simmim.state_dict(), tmp_path / 'simmim.pth')
    ours = mmmim.load_encoder(str(tmp_path / 'simmim.pth'))
    torch.testing.assert_close(ours(images), expected.mean((1, 2)), **FLOAT32)


def test_mmpretrain_names_come_back_bit_for_bit(simmim):
    state = simmim.state_dict()
    assert detect_scheme(state) == 'mmpretrain'
    ours = to_mmmim(state)
    assert detect_scheme(ours) == 'mmmim'
    assert list_names(left_out(ours, 'timm')) == ('backbone.mask_token, neck.decoder.#.weight, neck.decoder.#.bias')
    back = from_mmmim(ours, 'mmpretrain')
    assert set(back) == set(state)
    assert all(torch.equal(back[key], state[key]) for key in state)  # the index buffers among them


def test_the_authors_names_differ_by_a_stage_and_buffers():
    expected = timm_swin().state_dict()
    authors = {'mask_token': torch.ones(1, 1, 8)}
    for key, value in expected.items():
        if '.downsample.' in key:
            stage = int(key.split('.')[1])
            key = key.replace(f'layers.{stage}.', f'layers.{stage - 1}.')
        authors[key] = value
        if key.endswith('relative_position_bias_table'):
            authors[key.replace('bias_table', 'index')] = relative_position_index(2)
            authors[key.replace('relative_position_bias_table', '')[:-5] + 'attn_mask'] = torch.ones(4, 4, 4)
    pre_trained = {
        **{f'encoder.{key}': value for key, value in authors.items()},
        'decoder.0.weight': torch.ones(3072, 64, 1, 1),
    }
    assert detect_scheme(pre_trained) == 'simmim'
    for state in (pre_trained, authors):
        result = from_mmmim(to_mmmim(dict(model=state)), 'timm')
        assert set(result) == set(expected)
        assert all(torch.equal(result[key], expected[key]) for key in expected)


def test_other_schemes_have_no_swin(simmim):
    ours = to_mmmim(simmim.state_dict())
    for scheme in ('mae', 'hf'):
        assert 'backbone.layers.1.blocks.0.attn.qkv.weight' in left_out(ours, scheme)


def test_a_swin_is_refused_by_a_vit_and_named(simmim):
    from mmmim.models.backbones import MaskedViT

    vit = MaskedViT(dict(embed_dim=8, depth=2, num_heads=1), 64, 4)
    with pytest.raises(EncoderMismatchError, match='The file holds a Swin, the module is a ViT of 2'):
        fill_encoder(vit, simmim.state_dict())
