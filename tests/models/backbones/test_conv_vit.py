"""The hybrid convolutional ViT: its size, its layers, its checkpoints, and that it learns."""

import copy

import pytest
import torch
from torch import nn

from mmmim.checkpoint.encoder import EncoderMismatchError, fill_encoder
from mmmim.models.backbones import ConvViT, MaskedViT
from mmmim.models.masking import Masking
from mmmim.registry import MODELS

TINY = dict(
    arch=dict(embed_dims=(8, 12, 32), depths=(1, 2, 2), num_heads=2, mlp_ratios=(2, 3, 4)), img_size=32, patch_size=8
)
VARIANTS = dict(
    hybrid=dict(conv_vit='hybrid'), unfused=dict(fuse=False), stem=dict(conv_vit='stem'), lean=dict(lean=True)
)
MAE = dict(
    type='MAE',
    backbone=dict(type='ConvViT', **TINY),
    neck=dict(type='MAEDecoder', embed_dim=32, depth=1, num_heads=4),
    target=dict(type='PixelTarget'),
    head=dict(type='ReconstructionHead'),
)


@pytest.fixture(params=VARIANTS)
def variant(request):
    return VARIANTS[request.param]


def build(**kwargs):
    """In float64, with all parameters random, also the biases."""
    torch.manual_seed(0)
    vit = ConvViT(**{**TINY, **kwargs}).eval().double()
    for param in vit.parameters():
        if param.requires_grad:
            param.data.add_(torch.randn_like(param) * 0.1)
    return vit


def draw_mask(vit):
    masking = Masking('random', 0.5, vit.grid_size)
    return masking(torch.rand(2, *masking.noise_shape, generator=torch.Generator().manual_seed(1)))


def draw_images(vit, batch=2):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(batch, vit.in_chans, *vit.img_size, generator=generator, dtype=torch.float64)


# ------------------------------------------------------------------------------------------------ sizes and shapes


def million(backbone):
    """Of trained parameters: the position table is fixed."""
    return sum(param.numel() for param in backbone.parameters() if param.requires_grad) / 1e6


@pytest.mark.parametrize(
    'kwargs, expected',
    [
        (dict(), 88.78),
        (dict(fuse=False), 84.46),  # as fine-tuned
        (dict(conv_vit='stem'), 84.46),
        (dict(lean=True), 88.19),
        (dict(lean=True, fuse=False), 83.86),
    ],
)
def test_it_is_as_large_as_vit_base(kwargs, expected):
    with torch.device('meta'):
        plain, ours = million(MaskedViT(arch='base')), million(ConvViT(arch='base', **kwargs))
    assert plain == pytest.approx(85.65, abs=0.005)
    assert abs(ours / plain - 1) < 0.04 and ours == pytest.approx(expected, abs=0.005)


def test_small_is_a_quarter_of_base():
    with torch.device('meta'):
        assert million(ConvViT(arch='small')) == pytest.approx(23.04, abs=0.01)


@pytest.mark.parametrize('in_chans', [1, 5])
@pytest.mark.parametrize('size, patch, grid', [((32, 96), 16, (2, 6)), ((16, 48), 8, (2, 6)), ((8, 12), 4, (2, 3))])
@torch.no_grad()
def test_rectangles_other_strides_and_other_channel_counts(size, patch, grid, in_chans):
    vit = build(img_size=size, patch_size=patch, in_chans=in_chans)
    assert (vit.grid_size, vit.patch_size, vit.num_prefix_tokens, vit.embed_dim) == (grid, (patch, patch), 0, 32)
    images, mask = draw_images(vit), draw_mask(vit)
    assert vit(images).shape == (2, grid[0] * grid[1], 32)
    assert vit(images, mask).shape == (2, grid[0] * grid[1] // 2, 32)


@torch.no_grad()
def test_bfloat16_autocast_stays_close():
    vit = build().float()
    images, mask = draw_images(vit).float(), draw_mask(vit)
    with torch.autocast('cpu', torch.bfloat16):
        tokens = vit(images, mask)
    assert tokens.isfinite().all() and (tokens.float() - vit(images, mask)).abs().mean() < 0.05


def test_compiled_blocks_keep_their_names():
    assert set(build(compiled='aot_eager').state_dict()) == set(build().state_dict())


def test_norms_have_the_eps_of_convmae():
    """PyTorch's in the convolutional stages and the third embedding, timm's in the transformer."""
    for lean, expected in ((False, 1e-5), (True, 1e-6)):
        norms = {name: part.eps for name, part in build(lean=lean).named_modules() if isinstance(part, nn.LayerNorm)}
        assert {eps for name, eps in norms.items() if name.startswith('patch_embed')} == {expected}
        assert {eps for name, eps in norms.items() if not name.startswith('patch_embed')} == {1e-6}


def test_convolutions_keep_the_initialisation_of_pytorch():
    """As in ConvMAE's code, where layers of 1x1 are convolutions; only the third embedding is a linear layer's."""
    torch.manual_seed(0)
    vit = ConvViT(
        dict(embed_dims=(64, 96, 128), depths=(1, 1, 1), num_heads=2), img_size=32, patch_size=16
    ).requires_grad_(False)
    block, bound = vit.patch_embed.stages[1].blocks[0], (1 / 96) ** 0.5
    for weight in (block.conv1.weight, block.mlp.fc1.weight, block.conv1.bias):
        assert 0.9 * bound < weight.abs().max() <= bound
    assert vit.patch_embed.embed.weight.abs().max() == pytest.approx((6 / (4 * 96 + 128)) ** 0.5, rel=0.02)
    assert vit.patch_embed.linear.weight.abs().max() == pytest.approx((6 / 256) ** 0.5, rel=0.02)
    assert not vit.patch_embed.linear.bias.any() and not vit.blocks[0].mlp.fc1.bias.any()


def test_stochastic_depth_grows_linearly_over_all_stages():
    vit = build(drop_path_rate=0.4)
    rates = [block.drop_path.drop_prob for stage in vit.patch_embed.stages for block in stage.blocks]
    rates += [getattr(block.drop_path1, 'drop_prob', 0.0) for block in vit.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_layers_for_layer_wise_learning_rates():
    vit = build()
    layers = {name: vit.get_layer_depth(f'backbone.{name}', 'backbone.') for name, _ in vit.named_parameters()}
    assert {count for _, count in layers.values()} == {4}
    first = {name.split('.')[0] for name, (layer, _) in layers.items() if layer == 0}
    last = {name.split('.')[0] for name, (layer, _) in layers.items() if layer == 3}
    assert first == {'patch_embed', 'pos_embed'} and last == {'fuse', 'norm'}
    assert layers['blocks.0.mlp.fc1.weight'][0] == 1 and layers['blocks.1.norm1.bias'][0] == 2
    assert vit.get_layer_depth('head.fc.weight', 'backbone.') == (3, 4)


@pytest.mark.parametrize(
    'trainable, expected',
    [
        (0, set()),
        (0.5, {'blocks.1', 'fuse', 'norm'}),
        (1, {'blocks.1', 'fuse', 'norm'}),
        (2, {'patch_embed', 'blocks.0', 'blocks.1', 'fuse', 'norm'}),
    ],
)
def test_only_the_last_blocks_are_trained(trainable, expected):
    vit = build(trainable_blocks=trainable, drop_path_rate=0.5)
    names = [name for name, param in vit.named_parameters() if param.requires_grad]
    assert {'.'.join(name.split('.')[: 2 if name.startswith('blocks') else 1]) for name in names} == expected
    assert (trainable == 0.5) == ('blocks.1.mlp.fc1.weight' in names and 'blocks.1.attn.qkv.weight' not in names)
    vit.train()
    assert vit.patch_embed.stages[1].blocks[1].drop_path.training == (trainable == 2)


# ------------------------------------------------------------------------------------------------------ checkpoints


@pytest.fixture
def checkpoint(tmp_path):
    """A file of a pre-training run: the encoder under ``backbone.``, and a decoder beside it."""
    source, file = build(), tmp_path / 'pretrained.pth'
    state = {f'backbone.{key}': value for key, value in source.state_dict().items()}
    torch.save(dict(state_dict={**state, 'neck.decoder_embed.weight': torch.zeros(2, 2)}), file)
    return source, str(file)


@pytest.mark.parametrize('fuse', [True, False])
@torch.no_grad()
def test_init_weights_loads_its_own_checkpoint_and_keeps_it(checkpoint, fuse):
    source, file = checkpoint
    vit = ConvViT(**TINY, fuse=fuse, init_cfg=dict(type='Pretrained', checkpoint=file, prefix='backbone.')).double()
    vit.init_weights()
    vit.init_weights()
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in vit.state_dict().items())
    images = draw_images(vit)
    assert torch.equal(vit.eval()(images), source(images)) == fuse


@pytest.mark.parametrize('fuse', [True, False])
def test_a_checkpoint_that_was_read_already_is_loaded_and_stays_as_it_is(checkpoint, fuse):
    source, file = checkpoint
    content, vit = torch.load(file), ConvViT(**TINY, fuse=fuse).double()
    vit.load_pretrained(checkpoint=content, logger='silent')  # as `load_from` does
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in vit.state_dict().items())
    assert len(content['state_dict']) == len(source.state_dict()) + 1


def test_init_weights_without_a_checkpoint_changes_nothing():
    vit = build()
    before = copy.deepcopy(vit.state_dict())
    vit.init_weights()
    assert all(torch.equal(before[key], value) for key, value in vit.state_dict().items())


def test_only_pretrained_is_a_known_initialisation():
    with pytest.raises(ValueError, match="can only be of type 'Pretrained'"):
        build(init_cfg=dict(type='Xavier')).init_weights()


def test_a_stem_refuses_a_hybrid_checkpoint(checkpoint):
    vit = build(conv_vit='stem', init_cfg=dict(type='Pretrained', checkpoint=checkpoint[1]))
    with pytest.raises(EncoderMismatchError, match='Unexpected in the file.*fuse.0.weight'):
        vit.init_weights()


def test_checkpoints_of_a_plain_vit_are_refused_and_change_nothing():
    plain = MaskedViT(arch=dict(embed_dim=32, depth=2, num_heads=2), img_size=32, patch_size=8)
    state, vit = {f'backbone.{key}': value for key, value in plain.state_dict().items()}, build()
    before = vit.pos_embed.clone(), vit.blocks[0].attn.qkv.weight.clone()
    with pytest.raises(EncoderMismatchError, match=r'Missing in the file.*patch_embed\.stages\.0\.embed\.weight'):
        fill_encoder(vit, state)
    assert torch.equal(before[0], vit.pos_embed) and torch.equal(before[1], vit.blocks[0].attn.qkv.weight)


def test_a_plain_vit_refuses_its_checkpoint(checkpoint):
    plain = MaskedViT(arch=dict(embed_dim=32, depth=2, num_heads=2), img_size=32, patch_size=8)
    with pytest.raises(EncoderMismatchError, match=r'Missing in the file.*patch_embed\.proj\.weight'):
        fill_encoder(plain, checkpoint[1])


@pytest.mark.parametrize('lean', [True, False])
@torch.no_grad()
def test_a_checkpoint_of_the_other_kind_names_the_key(tmp_path, lean):
    state = {f'backbone.{key}': value for key, value in build(lean=lean).state_dict().items()}
    vit = build(lean=not lean)
    before = copy.deepcopy(vit.state_dict())
    with pytest.raises(EncoderMismatchError, match=f'patch_embed.linear.weight(?s:.*)The backbone needs lean={lean}'):
        fill_encoder(vit, state)
    assert all(torch.equal(before[key], value) for key, value in vit.state_dict().items())


@torch.no_grad()
def test_another_image_size_resizes_the_positions(checkpoint):
    vit = ConvViT(**{**TINY, 'img_size': 64}).double()
    fill_encoder(vit, checkpoint[1])
    assert vit.pos_embed.shape == (1, 64, 32) and vit(draw_images(vit)).isfinite().all()


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(arch='huge'), "arch='huge' is not known; use one of small, base, or a dict"),
        (dict(arch=dict(embed_dim=32, depth=2, num_heads=2)), 'needs exactly the keys embed_dims, depths, num_heads'),
        (dict(arch=dict(embed_dims=(8, 32), depths=(1, 2), num_heads=2)), 'three widths, three depths'),
        (dict(arch=dict(embed_dims=(8, 8, 32), depths=(1, 0, 2), num_heads=2)), 'depths of at least 1'),
        (dict(arch=dict(embed_dims=(8, 8, 32), depths=(1, 1, 2), num_heads=3)), 'width 32 with 3 heads'),
        (dict(conv_vit='stems'), "conv_vit='stems' is not known; use 'hybrid' or 'stem'"),
        (dict(patch_size=14), 'patch_size=14 is no total stride of a ConvViT; use one of 16, 8, 4'),
        (dict(patch_size=(8, 16)), 'is no total stride'),
        (dict(img_size=30), '30x30 pixels cannot be cut into patches of 8x8'),
        (dict(trainable_blocks=3), 'must be a multiple of 0.5 between 0 and 2'),
    ],
)
def test_what_cannot_be_built_says_why(changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_images_of_another_shape_name_both_shapes():
    with pytest.raises(ValueError, match=r'3x32x32 .* got \[3, 32, 40\]'):
        build()(torch.zeros(2, 3, 32, 40))


# -------------------------------------------------------------------------------------------------------------- MAE


def build_mae(**backbone):
    torch.manual_seed(0)
    return MODELS.build({**copy.deepcopy(MAE), 'backbone': {**copy.deepcopy(MAE['backbone']), **backbone}})


def waves(batch=8):
    """Smooth images, of which neighbours tell something about what is removed."""
    y, x = torch.meshgrid(torch.linspace(0, 6, 32), torch.linspace(0, 6, 32), indexing='ij')
    shift = torch.arange(batch)[:, None, None, None] + torch.arange(3)[:, None, None]
    return torch.sin(x + shift) + torch.cos(0.7 * y - shift)


def test_every_trained_parameter_gets_a_gradient(variant):
    mae = build_mae(**variant)
    mae.loss(waves())['loss'].backward()
    without = {
        name
        for name, param in mae.named_parameters()
        if param.requires_grad and (param.grad is None or not param.grad.any())
    }
    assert not without


@pytest.mark.runs
@pytest.mark.parametrize('conv_vit', ['hybrid', 'stem'])
def test_it_learns_to_fill_in_what_is_removed(conv_vit):
    mae, images = build_mae(conv_vit=conv_vit), waves()
    noise = torch.rand(8, 16, generator=torch.Generator().manual_seed(3))
    optimizer = torch.optim.AdamW([param for param in mae.parameters() if param.requires_grad], lr=3e-3)
    losses = []
    for _ in range(100):
        loss = mae.loss(images, noise=noise)['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.9  # normalised patches: predicting their mean costs 1
    assert losses[-1] < 0.1


def test_reconstructions_have_the_images_shape():
    samples = build_mae().eval().predict(waves(2))
    assert samples[0].reconstruction.shape == (3, 32, 32) and samples[0].mask.sum() == 12
