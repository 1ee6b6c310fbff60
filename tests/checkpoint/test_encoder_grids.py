"""Position tables of grids that are no squares: found, resampled from the true grid, or refused."""

import pytest
import torch
from torch import nn

from mmmim.checkpoint import export_encoder
from mmmim.checkpoint.config_text import ConfigTextError, stated_grid, stored_config
from mmmim.checkpoint.encoder import EncoderMismatchError, add_positions, fill_encoder, from_mmmim, open_encoder
from mmmim.checkpoint.generator import load_generator
from mmmim.models.backbones import DenseViT, MaskedViT
from mmmim.models.necks import MAEDecoder
from mmmim.positions import find_grid, resize_pos_embed, sincos_grid, sincos_positions

PATCH = 4


def vit(grid, learned=False, kind=MaskedViT, **options):
    """An encoder of two blocks for ``grid`` (h, w); ``learned``: positions that no formula gives."""
    torch.manual_seed(sum(grid))
    model = kind(
        arch=dict(embed_dim=32, depth=2, num_heads=2),
        img_size=(grid[0] * PATCH, grid[1] * PATCH),
        patch_size=PATCH,
        **options,
    )
    if learned:
        model.pos_embed.data.normal_(std=0.5)
    return model


def whole(model):
    """The state dict of a model whose backbone this is."""
    return {f'backbone.{name}': value for name, value in model.state_dict().items()}


def config_text(grid, part='backbone', patch_size=PATCH):
    return (
        f"model = dict(type='MAE', {part}=dict(type='MaskedViT', patch_size={patch_size}, "
        f'img_size=({grid[0] * PATCH}, {grid[1] * PATCH})))\n'
    )


def check_resized(module, source, old, new, note=True):
    report = fill_encoder(module, source)
    table = source['state_dict']['backbone.pos_embed'] if 'state_dict' in source else source['backbone.pos_embed']
    assert torch.equal(module.pos_embed, resize_pos_embed(table, old, new, 1))
    expected = [f'from {old[0]} x {old[1]} to {new[0]} x {new[1]} patches'] if note else []
    assert len(report.notes) == len(expected) and all(text in report.notes[0] for text in expected)


# ------------------------------------------------------------------------------------------ files that say nothing
@pytest.mark.parametrize(
    'old, new',
    [
        ((4, 16), (8, 8)),
        ((4, 16), (8, 32)),
        ((8, 16), (8, 8)),
        ((4, 12), (8, 8)),
        ((8, 8), (4, 16)),
        ((8, 2), (4, 4)),
        ((1, 16), (4, 4)),
        ((16, 1), (4, 4)),
    ],
)
def test_a_sine_cosine_table_tells_its_grid(old, new):
    check_resized(vit(new), whole(vit(old)), old, new)


@pytest.mark.parametrize('grid', [(8, 8), (4, 16), (8, 16)])
def test_the_same_grid_passes_unchanged(grid):
    source = whole(vit(grid))
    check_resized(vit(grid, learned=True), source, grid, grid, note=False)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_sine_cosine_values_are_known_in_any_layout_and_precision(dtype):
    for grid in ((4, 16), (8, 8), (14, 14), (14, 56), (3, 5), (1, 7), (7, 1), (1, 1)):
        table = sincos_positions(48, grid, 0)[0]
        assert sincos_grid(table.to(dtype)) == grid
        if min(grid) > 1:  # a single row there is a single column here
            assert sincos_grid(table.roll(24, -1).to(dtype)) == grid  # mmpretrain's order of the halves
    assert sincos_grid(torch.zeros(16, 48)) is sincos_grid(torch.full((16, 48), torch.nan)) is None
    assert sincos_grid(torch.randn(16, 48)) is sincos_grid(torch.randn(16, 30)) is None
    assert sincos_grid(table[:0]) is None


def test_a_learned_table_that_says_nothing_is_a_square():
    source = whole(vit((8, 8), learned=True))
    check_resized(vit((8, 8)), source, (8, 8), (8, 8), note=False)
    check_resized(vit((4, 6)), source, (8, 8), (4, 6))


def test_a_learned_table_for_as_many_patches_is_taken_for_the_modules_and_a_line_says_so():
    source, module = whole(vit((8, 16), learned=True)), vit((8, 16))
    report = fill_encoder(module, source)
    assert torch.equal(module.pos_embed, source['backbone.pos_embed'])
    assert report.notes == [
        "Nothing in the file tells the grid of its 128 positions: it was taken for the module's, 8 x 16."
    ]


def test_an_unknown_grid_is_refused_with_what_to_do():
    module = vit((8, 8))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(EncoderMismatchError) as caught:
        fill_encoder(module, whole(vit((8, 16), learned=True)))
    message = str(caught.value)
    for text in (
        'pos_embed: file [1, 129, 32], module [1, 65, 32]',
        'has 129 rows, 128 for patches',
        "model's grid is 8 x 8 patches",
        'epoch_N.pth or encoder.safetensors',
        'img_size=(height, width)',
    ):
        assert text in message
    assert 'width, depth and patch size' not in message
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    with pytest.raises(EncoderMismatchError, match='width, depth and patch size'):  # where more than that differs
        fill_encoder(vit((8, 8), final_norm=True, in_chans=1), whole(vit((8, 16), learned=True)))


def test_a_class_token_is_dropped_with_its_row():
    for old, new in (((8, 16), (4, 4)), ((7, 9), (8, 8)), ((4, 16), (8, 8)), ((4, 4), (4, 4))):  # 7 * 9 + 1 = 8 * 8
        module, source = vit(new, class_token=False), whole(vit(old))
        fill_encoder(module, source)
        assert torch.equal(module.pos_embed, resize_pos_embed(source['backbone.pos_embed'][:, 1:], old, new, 0))


def test_absent_tables_are_rebuilt_for_the_grid_of_the_other():
    ours = dict(whole(vit((4, 16))), **{'neck.decoder_embed.weight': torch.ones(16, 32)})
    assert '4 x 16 patches' in add_positions(ours, 'mae')[0]
    assert torch.equal(ours['neck.decoder_pos_embed'], sincos_positions(16, (4, 16)))


# -------------------------------------------------------------------------------------- files that state their grid
@pytest.mark.parametrize('key', ['cfg', 'cfg_text'])
@pytest.mark.parametrize(
    'old, new',
    [
        ((4, 16), (8, 8)),
        ((8, 16), (8, 8)),
        ((16, 4), (8, 32)),
        ((4, 16), (16, 4)),
        ((2, 32), (4, 16)),
        ((4, 16), (4, 16)),
    ],
)
def test_a_training_checkpoint_states_its_grid(old, new, key):
    source = dict(state_dict=whole(vit(old, learned=True)), meta={key: config_text(old)})
    check_resized(vit(new), source, old, new, note=old != new)


def test_files_on_disk_state_their_grid(tmp_path):
    model = vit((4, 16), learned=True)
    state = dict(state_dict=whole(model), meta=dict(cfg=config_text((4, 16))))
    torch.save(state, tmp_path / 'epoch_1.pth')
    size = dict(img_size=[4 * PATCH, 16 * PATCH], patch_size=PATCH)
    export_encoder(model, tmp_path / 'encoder.safetensors', dict(backbone=dict(type='MaskedViT', **size)))
    export_encoder(model, tmp_path / 'plain.safetensors', size)
    expected = resize_pos_embed(model.pos_embed, (4, 16), (8, 8), 1)
    for name in ('epoch_1.pth', 'encoder.safetensors', 'plain.safetensors'):
        assert open_encoder(str(tmp_path / name)).grid == (4, 16)
        for module in (vit((8, 8)), vit((8, 8), kind=DenseViT, out_indices=(0, 1))):
            module.load_pretrained(checkpoint=str(tmp_path / name))
            assert torch.equal(module.pos_embed, expected)
    decomposed = vit((8, 8), kind=DenseViT, out_indices=(0, 1), relative_positions='decomposed')
    decomposed.load_pretrained(checkpoint=str(tmp_path / 'epoch_1.pth'))
    assert torch.equal(decomposed.pos_embed, expected)


def test_what_a_config_may_say():
    def told(text, part='backbone'):
        try:
            return stated_grid(stored_config(dict(meta=dict(cfg_text=text))).get('model', {}), part)
        except ConfigTextError:
            return None

    both = (
        'model = dict(backbone=dict(img_size=(64, 256)), generator=dict(img_size=64, patch_size=(8, 16)), neck=dict())'
    )
    assert told(both) == told(both, 'online') == told(both, '') == (4, 16)
    assert told(both, 'generator') == (8, 4)
    for text in (
        '',
        'model = 3',
        'model = dict(backbone=None)',
        'model = dict(backbone=dict(depth=3))',
        "model = dict(backbone=dict(img_size='64'))",
        'model = dict(backbone=dict(img_size=(1e999, 1e999)))',
        'model = dict(backbone=dict(img_size=65))',
        'model = dict(backbone=dict(img_size=64, patch_size=0))',
        'import os',
        'model = dict(',
        '__import__("os").abort()',
    ):
        assert told(text) is None
    assert stored_config(dict(meta=[1])) == stored_config(dict(meta=dict(cfg=b'x'))) == stored_config([1]) == {}


def test_a_config_of_another_grid_counts_for_nothing():
    table = torch.randn(1, 1 + 36, 32)
    assert find_grid(table, (1,), (6, 6), (4, 16)) == (1, (6, 6), False)
    assert find_grid(sincos_positions(32, (4, 9)), (1,), (6, 6), (4, 16)) == (1, (4, 9), True)
    assert find_grid(table[:, :1], (1,)) is find_grid(table[:, :0], (1,)) is None


# ----------------------------------------------------------------------------------------- a generator's decoder
@pytest.mark.parametrize('learned', [False, True])
@pytest.mark.parametrize('old, new', [((4, 16), (8, 8)), ((8, 16), (4, 4)), ((4, 4), (2, 8))])
def test_a_decoder_table_is_resized_from_its_own_grid(old, new, learned, tmp_path):
    encoder, decoder = vit(old, learned), _decoder(old)
    if learned:
        nn.init.normal_(decoder.decoder_pos_embed)
    neck = {f'neck.{name}': value for name, value in decoder.state_dict().items()}
    torch.save(
        dict(state_dict={**whole(encoder), **neck}, meta=dict(cfg=config_text(old)) if learned else {}),
        tmp_path / 'mae.pth',
    )
    found, other = vit(new), _decoder(new)
    load_generator(found, other, str(tmp_path / 'mae.pth'))
    assert torch.equal(found.pos_embed, resize_pos_embed(encoder.pos_embed, old, new, 1))
    assert torch.equal(other.decoder_pos_embed, resize_pos_embed(decoder.decoder_pos_embed, old, new, 1))


def _decoder(grid):
    return MAEDecoder(in_dim=32, grid_size=grid, out_dim=3 * PATCH**2, embed_dim=16, depth=1, num_heads=2)


@pytest.mark.parametrize('scheme', ['timm', 'hf', 'mmpretrain'])
def test_other_schemes_are_read_alike(scheme):
    module, source = vit((8, 8)), whole(vit((4, 16)))
    fill_encoder(module, from_mmmim(source, scheme))
    assert torch.equal(module.pos_embed, resize_pos_embed(source['backbone.pos_embed'], (4, 16), (8, 8), 1))
