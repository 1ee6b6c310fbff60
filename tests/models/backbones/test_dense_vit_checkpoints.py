"""What a dense ViT takes from a checkpoint, and the position tables that it makes of it for other sizes."""

import copy
import pickle

import pytest
import torch
from dense_harness import RELATIVE, SMALL, build, draw, pretrained, save
from harness import FLOAT32

from mmmim import positions as position_cache
from mmmim.checkpoint.encoder import EncoderMismatchError, fill_encoder
from mmmim.models.backbones import MaskedViT


@pytest.fixture
def checkpoint(tmp_path):
    return lambda encoder: save(tmp_path / 'epoch_1.pth', encoder)


# ------------------------------------------------------------------------------------------------------ checkpoints


def test_names_are_those_of_the_encoder_and_tables():
    names = set(MaskedViT(**SMALL).state_dict())
    assert set(build(final_norm=True).state_dict()) == names
    own = {kind: set(build(final_norm=True, relative_positions=kind).state_dict()) - names for kind in RELATIVE}
    assert own['shared'] == {'rel_pos_bias.relative_position_bias_table'}
    assert own['separate'] == {f'blocks.{i}.attn.rel_pos.relative_position_bias_table' for i in range(4)}
    assert own['decomposed'] == {f'blocks.{i}.attn.rel_pos.rel_pos_{axis}' for i in range(4) for axis in 'hw'}


@pytest.mark.parametrize('relative', RELATIVE)
@torch.no_grad()
def test_a_dense_checkpoint_brings_its_tables_along(relative, checkpoint, capsys):
    saved = build(relative_positions=relative)
    path = checkpoint(saved)
    same = pretrained(path, relative_positions=relative)
    assert all(torch.equal(value, saved.state_dict()[name]) for name, value in same.state_dict().items())
    other = pretrained(path, relative_positions=relative, img_size=48)  # tables for another map
    assert 'are in the file' in capsys.readouterr().out
    # what tables of 4 x 4 patches become on a map of 6 x 6 is what they become when they are loaded for it
    torch.testing.assert_close(other(draw(48, 48))[-1], same(draw(48, 48))[-1], **FLOAT32)


def test_the_log_says_which_tables_were_loaded(checkpoint, capsys):
    pretrained(checkpoint(build(MaskedViT)), relative_positions='decomposed')
    said = capsys.readouterr().out
    assert '0 of 8 are in the file' in said and 'norm' in said.split('not used:')[1]


@torch.no_grad()
def test_a_table_for_another_image_size_is_resized_when_loaded(checkpoint):
    path = checkpoint(build(MaskedViT))
    small, large = pretrained(path), pretrained(path, img_size=(48, 64))
    assert large.pos_embed.shape == (1, 1 + 6 * 8, 32)
    torch.testing.assert_close(large(draw(48, 64))[-1], small(draw(48, 64))[-1], atol=1e-6, rtol=0)


@pytest.mark.parametrize('relative', [None, 'shared', 'decomposed'])
def test_an_encoder_of_another_width_is_refused(relative, checkpoint):
    path = checkpoint(build(MaskedViT, arch=dict(embed_dim=48, depth=4, num_heads=2)))
    with pytest.raises(EncoderMismatchError, match='width 48.*the module is a ViT of 4 blocks of width 32'):
        pretrained(path, relative_positions=relative)


def test_tables_of_other_heads_are_refused_and_nothing_is_loaded(checkpoint):
    path = checkpoint(build(relative_positions='shared'))
    vit = build(relative_positions='shared', arch=dict(embed_dim=32, depth=4, num_heads=4))
    before = copy.deepcopy(vit.state_dict())
    with pytest.raises(EncoderMismatchError, match='rel_pos_bias'):
        vit.load_pretrained(path)
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())


def test_tables_do_not_vanish_in_an_encoder_without_them():
    with pytest.raises(EncoderMismatchError, match='Unexpected in the file .*rel_pos'):
        fill_encoder(build(MaskedViT, final_norm=False), build(relative_positions='decomposed').state_dict(), prefix='')


# ------------------------------------------------------------------------------------------------------ the positions


@torch.no_grad()
def test_positions_are_resampled_once_for_each_size(monkeypatch):
    calls, resize = [], position_cache.resize_pos_embed
    monkeypatch.setattr(position_cache, 'resize_pos_embed', lambda *args: calls.append(args[2]) or resize(*args))
    vit = build()
    for size in ((32, 32), (40, 56), (40, 56), (64, 64), (40, 56)):
        vit(draw(*size))
    assert calls == [(5, 7), (8, 8)]
    for side in range(9, 9 + vit.position_cache.keep):
        vit.positions((side, side))
    vit.positions((5, 7))
    assert calls.count((5, 7)) == 2  # the sizes that were not seen for long make room


@torch.no_grad()
def test_no_stale_positions():
    vit, other = build(), build()
    other.pos_embed.normal_()
    vit(draw(40, 56))
    for load in (
        lambda: vit.load_state_dict(other.state_dict()),
        lambda: vit.pos_embed.mul_(2),
        lambda: vit.load_state_dict(build().state_dict(), assign=True),
    ):
        load()
        fresh = build()
        fresh.load_state_dict(vit.state_dict())
        assert torch.equal(vit(draw(40, 56))[-1], fresh(draw(40, 56))[-1])
    vit.double()
    assert vit.positions((5, 7)).dtype == torch.float64
    assert not any('cache' in key for key in vit.state_dict())


def test_positions_made_for_inference_serve_training_and_copies_make_their_own():
    vit = build().train()
    with torch.inference_mode():
        vit(draw(40, 56))
    vit(draw(40, 56))[-1].sum().backward()
    assert vit.patch_embed.proj.weight.grad.abs().sum() > 0
    for twin in (copy.deepcopy(vit), pickle.loads(pickle.dumps(vit))):
        twin.pos_embed.data.zero_()
        assert not twin.positions((5, 7)).any() and vit.positions((5, 7)).any()
