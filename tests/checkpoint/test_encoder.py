"""Names, exact round trips, and loads of an encoder that match completely or fail."""

import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import transformers
from harness import FLOAT32, transformers_model
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from torch import nn
from transformers.models.vit_mae import modeling_vit_mae

from mmmim.checkpoint import export_encoder, load_file
from mmmim.checkpoint.encoder import (
    EncoderMismatchError,
    add_positions,
    detect_scheme,
    encoder_state_dict,
    fill_encoder,
    from_mmmim,
    to_mmmim,
)
from mmmim.checkpoint.peel import unwrap
from mmmim.checkpoint.schemes.hugging_face import _version_4
from mmmim.positions import resize_pos_embed

FIXTURE = Path(__file__).parents[1] / 'data' / 'mae_official.npz'


@pytest.fixture(scope='module')
def mae():
    """The original code's own state dict: width 48, depth 3, patch 8, 32 px; decoder width 32, depth 2."""
    arrays = np.load(FIXTURE)
    return {key[3:]: torch.from_numpy(arrays[key]) for key in arrays if key.startswith('sd/')}


@pytest.fixture(scope='module')
def hf_config():
    return transformers.ViTMAEConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=192,
        image_size=32,
        patch_size=8,
        decoder_hidden_size=32,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=128,
        layer_norm_eps=1e-6,
    )


@pytest.fixture(scope='module')
def hf(hf_config):
    return transformers.ViTMAEForPreTraining(hf_config).state_dict()


@pytest.fixture(scope='module')
def timm_tiny():
    return timm.create_model('vit_tiny_patch16_224', pretrained=False).state_dict()


class Encoder(nn.Module):
    """The parameters of timm's ViT that stand for a backbone here; ``grid`` (h, w) of 8-pixel patches."""

    def __init__(self, grid=(4, 4), width=48, depth=3, class_token=True, final_norm=True):
        super().__init__()
        vit = timm.models.VisionTransformer(
            img_size=(grid[0] * 8, grid[1] * 8),
            patch_size=8,
            embed_dim=width,
            depth=depth,
            num_heads=3,
            num_classes=0,
            class_token=class_token,
            global_pool='token' if class_token else '',
            final_norm=final_norm,
        )
        self.patch_embed, self.blocks, self.norm = vit.patch_embed, vit.blocks, vit.norm
        self.cls_token, self.pos_embed = vit.cls_token, vit.pos_embed
        self.grid_size, self.num_prefix_tokens = grid, int(class_token)


def assert_same(left, right):
    assert set(left) == set(right)
    for key in left:
        assert torch.equal(left[key], right[key]), key


def test_mae_names_and_round_trip(mae):
    assert detect_scheme(mae) == 'mae'
    ours = to_mmmim(mae)
    assert detect_scheme(ours) == 'mmmim'
    assert len(ours) == len(mae)
    assert {key.split('.')[0] for key in ours} == {'backbone', 'neck'}
    for key in (
        'backbone.cls_token',
        'backbone.pos_embed',
        'backbone.patch_embed.proj.weight',
        'backbone.blocks.2.attn.qkv.weight',
        'backbone.norm.bias',
        'neck.mask_token',
        'neck.decoder_pos_embed',
        'neck.decoder_embed.weight',
        'neck.decoder_blocks.1.mlp.fc2.bias',
        'neck.decoder_norm.weight',
        'neck.decoder_pred.weight',
    ):
        assert key in ours
    assert_same(from_mmmim(ours, 'mae'), mae)


def test_hf_names_and_round_trip(hf, hf_config, mae):
    assert detect_scheme(hf) == 'hf'
    ours = to_mmmim(hf)
    # the same architecture as the fixture: the same names and shapes
    assert {key: value.shape for key, value in ours.items()} == {
        key: value.shape for key, value in to_mmmim(mae).items()
    }
    older = {_version_4(name): value for name, value in hf.items()}  # version 5 has other names in memory
    parts = [older[f'encoder.layer.1.attention.attention.{part}.weight'] for part in ('query', 'key', 'value')]
    assert torch.equal(ours['backbone.blocks.1.attn.qkv.weight'], torch.cat(parts))
    assert_same({_version_4(name): value for name, value in from_mmmim(ours, 'hf').items()}, older)
    assert_same(to_mmmim(from_mmmim(ours, 'hf')), ours)
    encoder = transformers.ViTMAEModel(hf_config).state_dict()
    older = {_version_4(name): value for name, value in encoder.items()}
    assert_same(from_mmmim(to_mmmim(encoder), 'hf'), older)


def test_mae_weights_load_strictly_into_hugging_face(mae, hf_config):
    model = transformers_model(transformers.ViTMAEForPreTraining(hf_config), from_mmmim(to_mmmim(mae), 'hf'))
    assert torch.equal(model.state_dict()['vit.embeddings.position_embeddings'], mae['pos_embed'].float())
    assert_same(from_mmmim(to_mmmim(model.state_dict()), 'mae'), {name: value.float() for name, value in mae.items()})


def test_hf_without_key_is_refused(hf):
    state = {name: value for name, value in hf.items() if not re.search(r'vit.*0.*attention.*(key|k_proj).bias', name)}
    with pytest.raises(ValueError, match='blocks.0.attn.qkv.bias.*query, key and value'):
        to_mmmim(state)


def test_timm_names_and_round_trip(timm_tiny, mae):
    assert detect_scheme(timm_tiny) == 'timm'
    ours = to_mmmim(timm_tiny)
    assert {key for key in ours if not key.startswith('backbone.')} == {'head.weight', 'head.bias'}
    assert_same(from_mmmim(ours, 'timm'), timm_tiny)
    assert not any('decoder' in key or key == 'mask_token' for key in from_mmmim(to_mmmim(mae), 'timm'))


def test_wrapped_files_and_fine_tuned_heads(mae):
    encoder = {key: value for key, value in mae.items() if 'decoder' not in key and key != 'mask_token'}
    fine_tuned = {**encoder, 'fc_norm.weight': torch.ones(48), 'head.weight': torch.ones(10, 48)}
    ours = to_mmmim({'model': {f'module.{key}': value for key, value in fine_tuned.items()}, 'epoch': 3})
    assert 'fc_norm.weight' in ours and 'head.weight' in ours
    assert_same(from_mmmim({'state_dict': ours}, 'mae'), fine_tuned)


def test_unknown_names_are_refused():
    state = {'backbone.layers.0.weight': torch.ones(1)}
    assert detect_scheme(state) is None
    with pytest.raises(ValueError, match='belong to none of.*backbone \\(1\\)'):
        to_mmmim(state)
    with pytest.raises(ValueError, match='Unknown scheme'):
        from_mmmim({'backbone.norm.weight': torch.ones(1)}, 'jax')
    for nothing in ({}, {'state_dict': {}}, [1, 2]):
        with pytest.raises(ValueError):
            unwrap(nothing)


def test_encoder_from_any_file(mae, hf, tmp_path):
    encoder = {key: value for key, value in mae.items() if 'decoder' not in key and key != 'mask_token'}
    ours = to_mmmim(mae)
    export_encoder(ours, tmp_path / 'encoder.safetensors', dict(depth=3))
    exported = load_file(tmp_path / 'encoder.safetensors')
    assert exported['meta'] == dict(config=dict(depth=3))
    for checkpoint in (mae, {'model': mae}, ours, {'state_dict': ours, 'meta': {}}, encoder, exported):
        assert_same(encoder_state_dict(checkpoint), encoder)
    assert set(encoder_state_dict(hf)) == set(encoder)
    online = {f'online.{key}': value for key, value in encoder.items()}
    assert_same(encoder_state_dict(online, prefix='online'), encoder)
    with pytest.raises(EncoderMismatchError, match="no encoder under 'online.'.*backbone \\(42\\)"):
        encoder_state_dict(ours, prefix='online.')


@pytest.mark.parametrize('wrapped', [False, True])
def test_load_encoder_reports_what_matched(mae, wrapped, capsys):
    module = Encoder()
    report = fill_encoder(module, {'model': mae} if wrapped else to_mmmim(mae))
    assert_same(module.state_dict(), encoder_state_dict(mae))
    assert report.matched == 42
    if wrapped:
        assert report.unused['decoder_blocks'] == 24 and report.unused['mask_token'] == 1
    else:
        assert report.unused == {'neck': 32}
    assert '42 keys matched' in capsys.readouterr().out


def test_load_encoder_names_every_difference(mae):
    module = Encoder(width=96, depth=4)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(EncoderMismatchError) as caught:
        fill_encoder(module, mae)
    message = str(caught.value)
    assert 'Missing in the file (12): blocks.3.' in message and 'and 2 more' in message
    assert 'patch_embed.proj.weight: file [48, 3, 8, 8], module [96, 3, 8, 8]' in message
    assert_same(module.state_dict(), before)
    with pytest.raises(EncoderMismatchError, match=r'Unexpected in the file \(12\): blocks.2.'):
        fill_encoder(Encoder(depth=2), mae)
    headless = {key: value for key, value in mae.items() if not key.startswith('norm.')}
    with pytest.raises(EncoderMismatchError, match=r'Missing in the file \(2\): norm.weight; norm.bias'):
        fill_encoder(Encoder(), headless)


def test_load_encoder_without_final_norm(mae):
    report = fill_encoder(Encoder(final_norm=False), mae)
    assert report.unused['norm'] == 2


def test_mask_token_of_an_encoder_is_optional_on_both_sides(mae):
    ours = {**to_mmmim(mae), 'backbone.mask_token': torch.full((1, 1, 48), 5.0)}
    assert fill_encoder(Encoder(), ours).unused == dict(neck=32, mask_token=1)
    assert_same(from_mmmim(ours, 'mae'), mae)  # the decoder's, not the encoder's
    alone = {**encoder_state_dict(mae), 'mask_token': torch.ones(1, 1, 48)}
    assert detect_scheme(alone) == 'timm' and 'backbone.mask_token' in to_mmmim(alone)
    module = Encoder()
    module.mask_token = nn.Parameter(torch.ones(1, 1, 48))
    report = fill_encoder(module, mae)
    assert report.matched == 42 and 'mask token' in report.notes[0] and torch.all(module.mask_token == 1)
    fill_encoder(module, ours)
    assert torch.all(module.mask_token == 5)


def test_load_encoder_resizes_the_position_table(mae):
    module = Encoder(grid=(4, 6))
    report = fill_encoder(module, mae)
    expected = resample_abs_pos_embed(mae['pos_embed'], [4, 6], [4, 4], num_prefix_tokens=1)
    torch.testing.assert_close(module.pos_embed.detach(), expected)
    assert any('4 x 4 to 4 x 6' in note for note in report.notes)


@pytest.mark.parametrize('grid', [(4, 4), (2, 3)])
def test_load_encoder_drops_the_class_token(mae, grid):
    module = Encoder(grid=grid, class_token=False)
    report = fill_encoder(module, mae)
    assert any('class token' in note for note in report.notes)
    expected = resize_pos_embed(mae['pos_embed'][:, 1:], (4, 4), grid, 0)
    torch.testing.assert_close(module.pos_embed.detach(), expected)


def test_resize_pos_embed_equals_timm_and_its_own_extreme():
    table = torch.randn(1, 1 + 4 * 6, 8)
    assert resize_pos_embed(table, (4, 6), (4, 6), 1) is table
    torch.testing.assert_close(
        resize_pos_embed(table, (4, 6), (7, 5), 1), resample_abs_pos_embed(table, [7, 5], [4, 6], num_prefix_tokens=1)
    )
    # as many patches, another shape: a table that depends on the row alone still does so afterwards
    rows = torch.linspace(0, 1, 4).view(1, 4, 1, 1).expand(1, 4, 16, 2).reshape(1, 64, 2)
    resized = resize_pos_embed(rows, (4, 16), (8, 8), 0).view(8, 8, 2)
    torch.testing.assert_close(resized, resized[:, :1].expand(8, 8, 2))
    assert resized[0, 0, 0] < 0.1 and resized[7, 0, 0] > 0.9
    with pytest.raises(ValueError, match='25 rows'):
        resize_pos_embed(table, (5, 5), (4, 4), 1)


@pytest.mark.parametrize('scheme', ['mae', 'hf', 'mmpretrain'])
def test_an_absent_table_is_rebuilt_in_the_layout_of_its_code(mae, scheme):
    """Checked against the libraries' own functions: mmpretrain's halves stand the other way round."""
    if scheme == 'hf' and hasattr(modeling_vit_mae, 'get_2d_sincos_pos_embed'):  # version 4's
        table = modeling_vit_mae.get_2d_sincos_pos_embed(48, 4, add_cls_token=True)
        expected = torch.from_numpy(table)[None].float()
    elif scheme == 'mmpretrain':
        from mmpretrain.models.utils import build_2d_sincos_position_embedding

        expected = build_2d_sincos_position_embedding(4, 48, cls_token=True)
    else:
        expected = mae['pos_embed'].float()
    theirs = {key: value for key, value in from_mmmim(to_mmmim(mae), scheme).items() if 'pos' not in key}
    module = Encoder()
    report = fill_encoder(module, theirs)
    assert any('was rebuilt' in note for note in report.notes)
    torch.testing.assert_close(module.pos_embed.detach(), expected, **FLOAT32)


def test_absent_tables_are_rebuilt_where_the_grid_is_known(mae):
    ours = {key: value for key, value in to_mmmim(mae).items() if key != 'neck.decoder_pos_embed'}
    assert 'neck.decoder_pos_embed was absent' in add_positions(ours, 'mae')[0]
    torch.testing.assert_close(ours['neck.decoder_pos_embed'].double(), mae['decoder_pos_embed'].double(), **FLOAT32)
    assert add_positions(ours, 'mae') == []
    bare = {key: value for key, value in to_mmmim(mae).items() if 'pos_embed' not in key}
    with pytest.raises(EncoderMismatchError, match='can not be rebuilt'):
        add_positions(bare, 'mae')


def test_another_patch_size_is_resampled_when_asked(mae):
    module = Encoder()
    module.patch_embed.proj = nn.Conv2d(3, 48, 16, 16)
    with pytest.raises(EncoderMismatchError, match='patches of 8 x 8.*patches of 16 x 16(?s:.*)resize_patches=True'):
        fill_encoder(module, mae)
    report = fill_encoder(module, mae, resize_patches=True)
    assert any('resampled from 8 x 8 to 16 x 16' in note for note in report.notes)
    expected = resample_patch_embed(mae['patch_embed.proj.weight'], [16, 16])
    torch.testing.assert_close(module.patch_embed.proj.weight.detach(), expected.float())


def test_a_layer_scale_is_multiplied_into_the_layers_before_it(mae):
    scaled = {f'blocks.{i}.ls{k}.gamma': torch.rand(48) for i in range(3) for k in (1, 2)}
    module, timm_vit = (
        Encoder(),
        timm.models.VisionTransformer(
            img_size=32, patch_size=8, embed_dim=48, depth=3, num_heads=3, num_classes=0, init_values=1.0
        ),
    )
    encoder = {key: value.float() for key, value in encoder_state_dict(mae).items()}
    timm_vit.load_state_dict({**encoder, **scaled}, strict=True)
    report = fill_encoder(module, {**encoder, **scaled})
    assert any('6 layer scales' in note for note in report.notes)
    tokens = torch.randn(2, 17, 48)
    torch.testing.assert_close(module.blocks(tokens), timm_vit.eval().blocks(tokens), **FLOAT32)
