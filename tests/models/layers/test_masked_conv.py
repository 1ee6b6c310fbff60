"""Masked convolutions: what is removed reaches no visible token, and the result is that of whole maps."""

import pytest
import torch
from torch.nn import functional as F

from mmmim.models.backbones import ConvViT
from mmmim.models.masking import Masking
from mmmim.models.patches import patchify, unpatchify

TINY = dict(
    arch=dict(embed_dims=(8, 12, 32), depths=(1, 2, 2), num_heads=2, mlp_ratios=(2, 3, 4)), img_size=32, patch_size=8
)
VARIANTS = dict(
    hybrid=dict(conv_vit='hybrid'), unfused=dict(fuse=False), stem=dict(conv_vit='stem'), lean=dict(lean=True)
)


@pytest.fixture(params=VARIANTS)
def variant(request):
    return VARIANTS[request.param]


def build(**kwargs):
    """In float64, with all parameters random, also the biases: a zero bias would hide what a padding adds."""
    torch.manual_seed(0)
    vit = ConvViT(**{**TINY, **kwargs}).eval().double()
    for param in vit.parameters():
        if param.requires_grad:
            param.data.add_(torch.randn_like(param) * 0.1)
    return vit


def draw_mask(vit, batch=2, ratio=0.5, strategy='random', seed=1, **options):
    masking = Masking(strategy, ratio, vit.grid_size, **options)
    return masking(torch.rand(batch, *masking.noise_shape, generator=torch.Generator().manual_seed(seed)))


def draw_images(vit, batch=2):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(batch, vit.in_chans, *vit.img_size, generator=generator, dtype=torch.float64)


def changed(vit, images, where):
    """The images with other pixels in the patches where ``where [B, L]`` is true."""
    patches = patchify(images, vit.patch_size)
    return unpatchify(torch.where(where[..., None], patches + 1 + patches**2, patches), vit.patch_size, vit.grid_size)


def channel_norm(norm, x):
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def pointwise(linear, x):
    return F.conv2d(x, linear.weight[..., None, None], linear.bias)


def on_whole_maps(vit, images, mask, masked=True):
    """What ConvMAE writes: convolutions over whole maps, the depth-wise ones masked, tokens gathered at the end."""
    h, w = vit.grid_size
    visible = (1 - mask.mask.double()).reshape(-1, 1, h, w)
    x, ids, fused = images, mask.ids_keep[..., None].expand(-1, -1, vit.embed_dim), 0
    for index, stage in enumerate(vit.patch_embed.stages):
        x = F.gelu(channel_norm(stage.norm, F.conv2d(x, stage.embed.weight, stage.embed.bias, stage.embed.stride)))
        m = F.interpolate(visible, x.shape[2:], mode='nearest') if masked else 1
        for block in stage.blocks:
            x = x + pointwise(block.conv2, block.depthwise(m * pointwise(block.conv1, channel_norm(block.norm1, x))))
            hidden = F.gelu(pointwise(block.mlp.fc1, channel_norm(block.norm2, x)))
            x = x + pointwise(block.mlp.fc2, hidden)
        if vit.fuse:
            fused = fused + vit.fuse[index](x).flatten(2).transpose(1, 2).gather(1, ids)
    x = vit.patch_embed.embed(x).flatten(2).transpose(1, 2)
    if not vit.lean:
        x = vit.patch_embed.linear(F.gelu(vit.patch_embed.norm(x)))
    x = (x + vit.pos_embed).gather(1, ids)
    for block in vit.blocks:
        x = block(x)
    return vit.norm(x + fused)


MASKS = [
    dict(seed=1),
    dict(seed=2, ratio=0.75),
    dict(seed=3, ratio=0.9),
    dict(strategy='unit', unit=2),
    dict(strategy='unit', unit=2, ratio=0.75, seed=4),
    dict(strategy='grid', ratio=0.75),
]


@pytest.mark.parametrize('options', MASKS)
@torch.no_grad()
def test_pixels_of_removed_patches_change_no_visible_token(variant, options):
    vit = build(**variant)
    images, mask = draw_images(vit), draw_mask(vit, **options)
    assert torch.equal(vit(changed(vit, images, mask.mask.bool()), mask), vit(images, mask))


@torch.no_grad()
def test_without_the_mask_of_the_convolutions_removed_pixels_would_leak(variant):
    vit = build(**variant)
    images, mask = draw_images(vit), draw_mask(vit)
    other = changed(vit, images, mask.mask.bool())
    leak = (on_whole_maps(vit, other, mask, masked=False) - on_whole_maps(vit, images, mask, masked=False)).abs()
    assert leak.amax(-1).min() > 1e-6
    assert not torch.allclose(on_whole_maps(vit, images, mask, masked=False), vit(images, mask), atol=1e-3)


@pytest.mark.parametrize('size', [32, (16, 48)])
@pytest.mark.parametrize('patch', [16, 8, 4])
@torch.no_grad()
def test_it_equals_masked_convolutions_on_whole_maps(variant, patch, size):
    vit = build(**variant, patch_size=patch, img_size=size)
    images, mask = draw_images(vit), draw_mask(vit)
    torch.testing.assert_close(vit(images, mask), on_whole_maps(vit, images, mask), atol=1e-12, rtol=0)


@torch.no_grad()
def test_removed_pixels_that_are_not_finite_do_no_harm():
    vit = build()
    images, mask = draw_images(vit), draw_mask(vit)
    patches = patchify(images, 8).masked_fill(mask.mask[..., None].bool(), float('nan'))
    assert torch.equal(vit(unpatchify(patches, 8, vit.grid_size), mask), vit(images, mask))


@torch.no_grad()
def test_every_visible_patch_changes_every_token(variant):
    vit = build(**variant)
    images, mask = draw_images(vit), draw_mask(vit)
    tokens = vit(images, mask)
    for place in range(mask.ids_keep.shape[1]):
        one = F.one_hot(mask.ids_keep[:, place], 16).bool()
        assert ((vit(changed(vit, images, one), mask) - tokens).abs().amax(-1) > 1e-9).all()


def test_gradient_reaches_only_visible_pixels(variant):
    vit = build(**variant)
    mask = draw_mask(vit)
    images = draw_images(vit).requires_grad_()
    vit(images, mask).square().sum().backward()
    assert torch.equal(patchify(images.grad, 8).abs().sum(-1) > 0, mask.mask == 0)


@torch.no_grad()
def test_a_mask_that_keeps_all_gives_the_features_without_a_mask_in_its_order(variant):
    vit = build(**variant)
    images, mask = draw_images(vit), draw_mask(vit)
    order = torch.stack([torch.randperm(16), torch.randperm(16)])
    tokens = vit(images, mask._replace(ids_keep=order))
    back = order.argsort(1)[..., None].expand_as(tokens)
    torch.testing.assert_close(tokens.gather(1, back), vit(images), atol=1e-12, rtol=0)


@torch.no_grad()
def test_convolutions_see_the_neighbours_within_five_positions():
    vit = build(arch=dict(TINY['arch'], depths=(1, 1, 1)), img_size=64)
    images = draw_images(vit)
    corner = F.one_hot(torch.zeros(2, dtype=torch.long), 64).bool()

    def last_features(x):
        return vit.patch_embed(x, None, vit.grid_size)[1][1].flatten(2)

    touched = (last_features(changed(vit, images, corner)) - last_features(images)).abs().amax(-1) > 0
    # stage 1 spreads by 2 positions of 2 pixels, stage 2 by 2 of 4: the patch of 8 pixels, and 12 more of them
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[:3, :3] = True
    assert torch.equal(touched[0].reshape(8, 8), expected)
