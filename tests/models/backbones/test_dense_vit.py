"""The ViT as a dense backbone: the pre-trained encoder's numbers as maps, at any size, and how it trains."""

import pytest
import torch
from dense_harness import RELATIVE, SMALL, as_map, build, draw, pretrained, save
from harness import FLOAT32
from timm.models.vision_transformer import VisionTransformer

from mmmim.models.backbones import DenseViT, MaskedViT
from mmmim.registry import MODELS


@pytest.fixture
def checkpoint(tmp_path):
    return lambda encoder: save(tmp_path / 'epoch_1.pth', encoder)


# ------------------------------------------------------------------------- the same numbers as the pre-trained encoder


@pytest.mark.parametrize('norm', [True, False])
@pytest.mark.parametrize('class_token', [True, False])
@torch.no_grad()
def test_maps_are_the_tokens_of_the_pretrained_encoder(class_token, norm, checkpoint):
    encoder = build(MaskedViT, class_token=class_token, final_norm=True)
    dense = pretrained(checkpoint(encoder), class_token=class_token, final_norm=norm)
    encoder.norm = encoder.norm if norm else torch.nn.Identity()
    maps, tokens = dense(draw()), encoder(draw())
    assert len(maps) == 4 and all(m.shape == (2, 32, 4, 4) for m in maps)
    torch.testing.assert_close(maps[-1], as_map(tokens, (4, 4)), atol=1e-6, rtol=0)
    encoder.norm, encoder.blocks = torch.nn.Identity(), encoder.blocks[:2]
    torch.testing.assert_close(maps[1], as_map(encoder(draw()), (4, 4)), atol=1e-6, rtol=0)


@pytest.mark.parametrize('size', [(32, 32), (48, 24), (16, 72), (37, 50)])
@torch.no_grad()
def test_maps_of_other_sizes_are_timms(size):
    dense = build(final_norm=True)
    theirs = VisionTransformer(
        32, 8, embed_dim=32, depth=4, num_heads=2, num_classes=0, dynamic_img_size=True, dynamic_img_pad=True
    ).eval()
    theirs.load_state_dict(dense.state_dict(), strict=True)
    grid = (-(-size[0] // 8), -(-size[1] // 8))
    expected = as_map(theirs.forward_features(draw(*size)), grid)
    torch.testing.assert_close(dense(draw(*size))[-1], expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_real_sizes_of_vit_b_and_of_rectangular_patches():
    vit = DenseViT(arch='tiny', patch_size=(16, 8), img_size=(64, 32), in_chans=5)
    assert vit.out_indices == (3, 5, 7, 11)
    assert [m.shape for m in vit(draw(50, 40, 1, 5))] == [(1, 192, 4, 5)] * 4
    large = DenseViT(arch=dict(embed_dim=4, depth=24, num_heads=1), img_size=32)
    assert large.out_indices == (7, 11, 15, 23)


@torch.no_grad()
def test_each_map_is_that_of_its_block():
    every, chosen = build(out_indices=range(4)), build(out_indices=[-1, 1])
    chosen.load_state_dict(every.state_dict())
    maps = every(draw())
    assert chosen.out_indices == (1, 3)
    for found, expected in zip(chosen(draw()), (maps[1], maps[3])):
        assert torch.equal(found, expected)
    assert not torch.allclose(maps[1], maps[3])


@pytest.mark.parametrize('relative', RELATIVE)
@pytest.mark.parametrize('window', [None, 3])
@torch.no_grad()
def test_relative_positions_change_nothing_at_first_and_everything_later(relative, window, checkpoint):
    path = checkpoint(build(MaskedViT, final_norm=False))
    plain = pretrained(path, window_size=window, class_token=None)
    relatives = pretrained(path, window_size=window, relative_positions=relative)
    for size in ((32, 32), (40, 56)):
        for expected, found in zip(plain(draw(*size)), relatives(draw(*size))):
            torch.testing.assert_close(found, expected, **FLOAT32)
    for name, param in relatives.named_parameters():
        if 'rel_pos' in name:
            param.data.normal_()
    assert not torch.allclose(relatives(draw())[0], plain(draw())[0], atol=1e-3)


@torch.no_grad()
def test_windows_that_hold_the_whole_map_are_global_attention(checkpoint):
    path = checkpoint(build(MaskedViT, final_norm=False))
    whole, windowed = pretrained(path, class_token=False), pretrained(path, window_size=9)
    for expected, found in zip(whole(draw(40, 56)), windowed(draw(40, 56))):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


# ------------------------------------------------------------------------------------------------------ what is seen


def seen_by(vit, place):
    """Which patches of the first map change with the pixels of one: ``[h, w]``."""
    images = draw(40, 56, 1)
    other = images.clone()
    other[:, :, place[0] * 8, place[1] * 8] += 3
    return (vit(images)[0] - vit(other)[0]).abs().amax(1)[0] > 1e-6


@torch.no_grad()
def test_a_window_sees_itself_and_a_global_block_all():
    vit = build(window_size=(2, 3), global_blocks=[1], out_indices=[0, 1, 2, 3])
    expected = torch.zeros(5, 7, dtype=torch.bool)
    expected[2:4, 6:] = True  # a window that the right edge cuts
    assert torch.equal(seen_by(vit, (3, 6)), expected)
    vit.out_indices = (1,)
    assert seen_by(vit, (3, 6)).all()


@torch.no_grad()
def test_global_blocks_are_the_last_of_each_quarter_unless_stated():
    def kinds(vit):
        return [block.attn.window is None for block in vit.blocks]

    twelve = dict(arch=dict(embed_dim=4, depth=12, num_heads=1), window_size=2)
    assert [i for i, is_global in enumerate(kinds(build(**twelve))) if is_global] == [2, 5, 8, 11]
    assert not any(kinds(build(**twelve, global_blocks=[])))
    assert [i for i, is_global in enumerate(kinds(build(**twelve, global_blocks=[-1, 0]))) if is_global] == [0, 11]


@pytest.mark.parametrize(
    'kwargs, whole, windowed',
    [(dict(), 4, 8), (dict(out_indices=[1, 6]), 2, 5), (dict(global_blocks=[0]), 1, 11), (dict(with_cp=True), 1, 1)],
)
def test_blocks_know_how_many_others_keep_their_weights_at_the_same_time(kwargs, whole, windowed):
    vit = build(arch=dict(embed_dim=4, depth=12, num_heads=1), window_size=2, **kwargs)
    run = [block.attn for block in vit.blocks[: vit.out_indices[-1] + 1]]
    assert {attn.alike for attn in run if attn.window is None} == {whole}
    assert {attn.alike for attn in run if attn.window is not None} == {windowed}


# ------------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize(
    'kwargs',
    [
        {},
        dict(window_size=3),
        *[dict(window_size=window, relative_positions=kind) for window in (None, 3) for kind in RELATIVE],
    ],
    ids=str,
)
def test_checkpointing_changes_neither_maps_nor_gradients_and_gradients_reach_all(kwargs):
    found = []
    for with_cp in (False, True):
        vit = build(drop_path_rate=0.3, with_cp=with_cp, **kwargs).train()
        torch.manual_seed(1)
        maps = [vit(draw(40, 56, 4)), vit(draw(24, 24, 4))]  # two sizes before one backward pass
        sum(m.square().sum() for some in maps for m in some).backward()
        found.append((maps, {name: p.grad for name, p in vit.named_parameters() if p.requires_grad}))
    (maps, grads), (other_maps, other_grads) = found
    assert set(grads) == {name for name in vit.state_dict() if name != 'pos_embed'}
    for name, grad in grads.items():
        assert grad is not None and grad.abs().sum() > 0, name
        torch.testing.assert_close(other_grads[name], grad, atol=1e-5, rtol=1e-5)
    for some, others in zip(maps, other_maps):
        assert all(torch.equal(one, other) for one, other in zip(some, others))


@torch.no_grad()
def test_drop_path_grows_linearly():
    rates = [getattr(block.drop_path2, 'drop_prob', 0.0) for block in build(drop_path_rate=0.3).blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])


def test_bf16_stays_near_float32():
    vit = build(window_size=3, relative_positions='decomposed', final_norm=True)
    exact = vit(draw(40, 56))[-1]
    with torch.autocast('cpu', torch.bfloat16):
        rough = vit(draw(40, 56))[-1]
    assert 0 < (rough.float() - exact).abs().max() < 0.1


@pytest.mark.parametrize('relative', [None, *RELATIVE])
def test_what_is_frozen_gets_no_gradient(relative):
    vit = build(trainable_blocks=1, relative_positions=relative).train()
    sum(m.square().sum() for m in vit(draw())).backward()
    trained = {name for name, p in vit.named_parameters() if p.grad is not None}
    assert trained == {name for name, p in vit.named_parameters() if p.requires_grad}
    assert trained and all(name.startswith('blocks.3.') for name in trained)


def test_blocks_after_the_last_map_are_left_alone():
    vit = build(out_indices=[1])
    vit(draw())[0].sum().backward()
    assert all(p.grad is not None for p in vit.parameters() if p.requires_grad)
    assert not any(p.requires_grad for p in vit.blocks[2:].parameters())


def test_layers_of_parameters():
    vit = build(relative_positions='decomposed', final_norm=True)
    for name, _ in vit.named_parameters():
        first, _, rest = name.partition('.')
        expected = {'blocks': lambda: int(rest[0]) + 1, 'norm': lambda: 5}.get(first, lambda: 0)()
        assert vit.get_layer_depth(f'backbone.{name}', 'backbone.') == (expected, 6)
    name = 'backbone.rel_pos_bias.relative_position_bias_table'
    assert build(relative_positions='shared').get_layer_depth(name, 'backbone.') == (0, 6)


# ------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(out_indices=[4]), r'out_indices=\[4\] must be different ones of the 4 blocks'),
        (dict(out_indices=[1, -3]), 'must be different'),
        (dict(out_indices=[]), 'at least one block'),
        (dict(global_blocks=[1]), 'set window_size'),
        (dict(window_size=2, global_blocks=[9]), 'global_blocks'),
        (dict(window_size=0), 'at least 1 patch'),
        (dict(window_size=2, class_token=True), 'no window holds the class token'),
        (dict(relative_positions='beit'), "'shared', 'separate'"),
        (dict(final_norm=True, out_indices=[1]), 'final_norm=True is for the last block'),
        (dict(arch=dict(embed_dim=32, depth=3, num_heads=2)), 'state out_indices'),
    ],
)
def test_mistakes_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DenseViT(**{**SMALL, **kwargs})


def test_images_of_other_channels_are_refused():
    with pytest.raises(ValueError, match='in_chans=3 and got images of 1 channels'):
        build()(draw(chans=1))


def test_it_is_built_from_a_config():
    assert isinstance(MODELS.build(dict(type='mmmim.DenseViT', **SMALL)), DenseViT)
