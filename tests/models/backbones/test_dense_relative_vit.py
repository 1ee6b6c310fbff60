"""DenseRelativeViT: BEiT's tokens as maps, of the size it is built for and of others, from files of mmpretrain."""

import pytest
import torch
from harness import FLOAT32
from timm.layers import resize_rel_pos_bias_table

from mmmim.checkpoint.encoder import EncoderMismatchError
from mmmim.models.backbones import DenseRelativeViT, RelativeViT
from mmmim.models.layers.relative_positions import resize_bias_table

ARCH = dict(embed_dim=24, depth=4, num_heads=3)
THEIRS = dict(embed_dims=24, num_layers=4, num_heads=3, feedforward_channels=96)


def random_values(module, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-0.5, 0.5)
    module.eval()  # mmpretrain's returns nothing
    return module


def dense(**options):
    options = {'arch': ARCH, 'img_size': 32, 'patch_size': 8, 'out_indices': (1, 3), **options}
    return DenseRelativeViT(**options).eval()


def test_parameters_and_maps_are_those_of_the_encoder():
    encoder = random_values(RelativeViT(ARCH, img_size=32, patch_size=8))
    model = dense(final_norm=True)
    model.load_state_dict(encoder.state_dict(), strict=True)
    images = torch.randn(2, 3, 32, 32)
    maps = model(images)
    assert [tuple(one.shape) for one in maps] == [(2, 24, 4, 4)] * 2
    torch.testing.assert_close(maps[-1].flatten(2).transpose(1, 2), encoder(images)[:, 1:], **FLOAT32)


def test_a_map_of_another_size_is_that_of_an_encoder_with_the_table_interpolated():
    model = random_values(dense(final_norm=True))
    encoder = RelativeViT(ARCH, img_size=(24, 48), patch_size=8).eval()
    state = {
        name: resize_bias_table(value, (4, 4), (3, 6)) if name.endswith('bias_table') else value
        for name, value in model.state_dict().items()
    }
    encoder.load_state_dict(state, strict=True)
    images = torch.randn(1, 3, 24, 48)
    torch.testing.assert_close(model(images)[-1].flatten(2).transpose(1, 2), encoder(images)[:, 1:], **FLOAT32)


def test_images_that_patches_do_not_divide_are_padded_with_zeros():
    model, images = random_values(dense()), torch.randn(1, 3, 27, 40)
    padded = torch.zeros(1, 3, 32, 40)
    padded[:, :, :27] = images
    assert all(torch.equal(a, b) for a, b in zip(model(images), model(padded)))
    assert model(images)[0].shape == (1, 24, 4, 5)


@pytest.mark.parametrize('shared', [False, True])
def test_maps_are_mmpretrains_from_its_own_file(shared):
    mmpretrain = pytest.importorskip('mmpretrain.models')
    theirs = random_values(
        mmpretrain.BEiTViT(
            THEIRS,
            img_size=32,
            patch_size=8,
            out_indices=(1, 3),
            out_type='featmap',
            final_norm=False,
            use_abs_pos_emb=False,
            use_rel_pos_bias=not shared,
            use_shared_rel_pos_bias=shared,
            layer_scale_init_value=0.1,
        )
    )
    model = dense()
    model.load_pretrained(dict(state_dict={f'backbone.{k}': v for k, v in theirs.state_dict().items()}))
    images = torch.randn(2, 3, 32, 32)
    for ours, expected in zip(model(images), theirs(images)):
        torch.testing.assert_close(ours, expected, **FLOAT32)


def test_tables_are_resized_as_in_beit_when_a_checkpoint_is_loaded():
    encoder = random_values(RelativeViT(ARCH, img_size=32, patch_size=8))
    model = dense(img_size=(48, 64))
    model.load_pretrained(dict(state_dict={f'backbone.{k}': v for k, v in encoder.state_dict().items()}))
    name = 'blocks.2.attn.relative_position_bias_table'
    expected = resize_rel_pos_bias_table(encoder.state_dict()[name], (6, 8), model.state_dict()[name].shape)
    assert torch.equal(model.state_dict()[name], expected)


def test_a_vit_without_relative_positions_is_refused():
    from mmmim.models.backbones import MaskedViT

    plain = MaskedViT(ARCH, img_size=32, patch_size=8).state_dict()
    with pytest.raises(EncoderMismatchError, match='q_bias'):
        dense().load_pretrained(dict(state_dict={f'backbone.{k}': v for k, v in plain.items()}))


def test_gradients_reach_what_is_run_and_are_the_same_with_checkpointing():
    grads = []
    for with_cp in (False, True):
        model = random_values(dense(out_indices=(0, 2), with_cp=with_cp)).train()
        torch.manual_seed(1)
        sum(one.square().mean() for one in model(torch.randn(2, 3, 32, 32))).backward()
        grads.append({name: p.grad for name, p in model.named_parameters()})
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        if name.startswith(('blocks.3.', 'norm.')):
            assert grad is None
        else:
            assert grad.abs().sum() > 0 and torch.equal(grad, grads[1][name]), name


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(out_indices=(1, 4)), 'must be different ones of the 4 blocks'),
        (dict(out_indices=()), 'at least one block'),
        (dict(out_indices=(1, 2), final_norm=True), 'the last one, 3'),
        (dict(relative_positions='decomposed'), "relative_positions='decomposed'"),
    ],
)
def test_what_cannot_be_built_is_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        dense(**options)
