"""The encoder: what reaches its output, what it loads, and equality with timm."""

import pytest
import timm
import torch
from harness import FLOAT32
from torch.nn import functional as F

from mmmim.checkpoint.encoder import EncoderMismatchError, fill_encoder
from mmmim.models.backbones import MaskedViT
from mmmim.models.masking import Masking
from mmmim.models.patches import patchify, unpatchify

SMALL = dict(arch=dict(embed_dim=32, depth=2, num_heads=2), img_size=32, patch_size=8)


def build(**kwargs):
    torch.manual_seed(0)
    return MaskedViT(**{**SMALL, **kwargs}).eval()


def draw_mask(vit, batch=2, ratio=0.5):
    masking = Masking('random', ratio, vit.grid_size)
    return masking(torch.rand(batch, *masking.noise_shape, generator=torch.Generator().manual_seed(1)))


def draw_images(vit, batch=2):
    return torch.randn(batch, vit.in_chans, *vit.img_size, generator=torch.Generator().manual_seed(2))


def changed(vit, images, where):
    """The images with other pixels in the patches where ``where [B, L]`` is true."""
    patches = patchify(images, vit.patch_size)
    return unpatchify(torch.where(where[..., None], patches + 1 + patches**2, patches), vit.patch_size, vit.grid_size)


@pytest.fixture(scope='module')
def timm_vit():
    """timm's tiny ViT, where every parameter is random, also the positions and the biases."""
    torch.manual_seed(0)
    vit = timm.create_model('vit_tiny_patch16_224', pretrained=False).eval()
    for param in vit.parameters():
        param.data.add_(torch.randn_like(param) * 0.02)
    vit.pos_embed.data.normal_()
    return vit


@torch.no_grad()
def test_features_equal_timms_after_loading_its_state_dict(timm_vit):
    ours = MaskedViT(arch='tiny').eval()
    fill_encoder(ours, timm_vit.state_dict())
    images = torch.randn(2, 3, 224, 224)
    torch.testing.assert_close(ours(images), timm_vit.forward_features(images), **FLOAT32)


@torch.no_grad()
def test_timm_loads_our_state_dict(timm_vit):
    ours = MaskedViT(arch='tiny').eval()
    theirs = timm.create_model('vit_tiny_patch16_224', pretrained=False, num_classes=0).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    images = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(theirs.forward_features(images), ours(images), **FLOAT32)


@torch.no_grad()
def test_pixels_of_removed_patches_change_no_visible_token():
    vit = build()
    images, mask = draw_images(vit), draw_mask(vit)
    assert torch.equal(vit(changed(vit, images, mask.mask.bool()), mask), vit(images, mask))


@torch.no_grad()
def test_every_visible_patch_changes_every_token():
    vit = build()
    images, mask = draw_images(vit), draw_mask(vit)
    tokens = vit(images, mask)
    for place in range(mask.ids_keep.shape[1]):
        one = F.one_hot(mask.ids_keep[:, place], 16).bool()
        assert ((vit(changed(vit, images, one), mask) - tokens).abs().amax(-1) > 1e-6).all()


def test_gradient_reaches_only_visible_pixels():
    vit = build()
    mask = draw_mask(vit)
    images = draw_images(vit).requires_grad_()
    vit(images, mask).square().sum().backward()
    touched = patchify(images.grad, 8).abs().sum(-1) > 0
    assert torch.equal(touched, mask.mask == 0)


@torch.no_grad()
def test_tokens_come_in_the_order_of_ids_keep():
    vit = build()
    images, mask = draw_images(vit), draw_mask(vit)
    order = torch.randperm(mask.ids_keep.shape[1])
    shuffled = mask._replace(ids_keep=mask.ids_keep[:, order])
    torch.testing.assert_close(vit(images, shuffled)[:, 1:], vit(images, mask)[:, 1:][:, order], **FLOAT32)


@torch.no_grad()
def test_a_mask_that_keeps_all_gives_the_features_without_a_mask():
    vit = build()
    images, mask = draw_images(vit), draw_mask(vit)
    everything = mask._replace(ids_keep=torch.arange(16).expand(2, -1))
    torch.testing.assert_close(vit(images, everything), vit(images), **FLOAT32)


@torch.no_grad()
def test_with_mask_tokens_all_tokens_come_out_and_removed_pixels_stay_unseen():
    vit = build(mask_tokens=True)
    images, mask = draw_images(vit), draw_mask(vit)
    tokens = vit(images, mask)
    assert tokens.shape == (2, 17, 32)
    assert torch.equal(vit(changed(vit, images, mask.mask.bool()), mask), tokens)
    assert not torch.allclose(vit(changed(vit, images, mask.mask == 0), mask), tokens)
    assert not torch.allclose(vit(images), tokens)


@torch.no_grad()
def test_mask_tokens_stand_in_the_removed_places():
    vit = build(mask_tokens=True)
    vit.blocks = torch.nn.ModuleList()
    vit.norm = torch.nn.Identity()
    mask = draw_mask(vit)
    tokens = vit(draw_images(vit), mask)[:, 1:]
    expected = (vit.mask_token + vit.pos_embed[:, 1:]).expand_as(tokens)
    assert torch.equal((tokens == expected).all(-1), mask.mask.bool())


@torch.no_grad()
def test_without_a_class_token_only_patches_come_out():
    vit = build(class_token=False)
    assert vit.num_prefix_tokens == 0 and vit.pos_embed.shape == (1, 16, 32) and 'cls_token' not in vit.state_dict()
    assert vit(draw_images(vit)).shape == (2, 16, 32)
    assert vit(draw_images(vit), draw_mask(vit, ratio=0.75)).shape == (2, 4, 32)


@pytest.mark.parametrize('in_chans', [1, 5])
@pytest.mark.parametrize('size, patch, grid', [((16, 48), 8, (2, 6)), ((24, 20), (8, 5), (3, 4))])
@torch.no_grad()
def test_rectangles_and_other_channel_counts(size, patch, grid, in_chans):
    vit = build(img_size=size, patch_size=patch, in_chans=in_chans)
    assert vit.grid_size == grid
    images, mask = draw_images(vit), draw_mask(vit)
    assert vit(images).shape == (2, 13, 32)
    assert torch.equal(vit(changed(vit, images, mask.mask.bool()), mask), vit(images, mask))


@torch.no_grad()
def test_the_projection_is_timms_convolution():
    vit = build(img_size=(16, 24), in_chans=5, class_token=False)
    expected = vit.patch_embed(draw_images(vit)) + vit.pos_embed
    torch.testing.assert_close(vit._embed(draw_images(vit), None), expected, **FLOAT32)


def test_init_weights_loads_the_checkpoint_and_keeps_it(tmp_path):
    source = build()
    for param in source.parameters():
        param.data.normal_()
    file = tmp_path / 'mae.pth'
    torch.save(dict(state_dict={f'backbone.{key}': value for key, value in source.state_dict().items()}), file)
    vit = MaskedViT(**SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(file)))
    vit.init_weights()
    vit.init_weights()
    for key, value in source.state_dict().items():  # the patch projection among them
        assert torch.equal(vit.state_dict()[key], value), key


def test_init_weights_without_a_checkpoint_changes_nothing():
    vit = build()
    before = {key: value.clone() for key, value in vit.state_dict().items()}
    vit.init_weights()
    assert all(torch.equal(before[key], value) for key, value in vit.state_dict().items())


def test_a_checkpoint_of_another_width_fails_and_names_both_shapes(tmp_path):
    other = MaskedViT(**{**SMALL, 'arch': dict(embed_dim=64, depth=2, num_heads=2)})
    file = tmp_path / 'other.pth'
    torch.save({f'backbone.{key}': value for key, value in other.state_dict().items()}, file)
    vit = MaskedViT(**SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(file)))
    before = vit.patch_embed.proj.weight.clone()
    with pytest.raises(EncoderMismatchError, match=r'file \[1, 17, 64\], module \[1, 17, 32\]'):
        vit.init_weights()
    assert torch.equal(vit.patch_embed.proj.weight, before)


def test_only_pretrained_is_a_known_initialisation():
    with pytest.raises(ValueError, match="can only be of type 'Pretrained'"):
        build(init_cfg=dict(type='Xavier')).init_weights()


def test_positions_are_fixed():
    vit = build()
    optimizer = torch.optim.SGD([param for param in vit.parameters() if param.requires_grad], lr=1.0)
    before = vit.pos_embed.clone()
    vit(draw_images(vit)).square().sum().backward()
    optimizer.step()
    assert vit.pos_embed.grad is None and torch.equal(vit.pos_embed, before)
    assert not any(param is vit.pos_embed for param in optimizer.param_groups[0]['params'])
    assert 'pos_embed' in vit.state_dict()


def test_initialisation_is_the_papers():
    vit = build(arch=dict(embed_dim=64, depth=1, num_heads=2))
    weight = vit.patch_embed.proj.weight
    bound = (6 / (64 + 3 * 8 * 8)) ** 0.5  # Xavier uniform of the flattened projection
    assert bound * 0.99 < weight.abs().max() <= bound
    qkv = vit.blocks[0].attn.qkv
    assert qkv.weight.abs().max() <= (6 / (64 + 192)) ** 0.5 and not qkv.bias.any()
    assert 0.01 < vit.cls_token.std() < 0.03


def test_layer_norms_have_the_small_epsilon():
    norms = [module for module in build().modules() if isinstance(module, torch.nn.LayerNorm)]
    assert len(norms) == 5 and {norm.eps for norm in norms} == {1e-6}


def test_stochastic_depth_grows_linearly():
    vit = build(arch=dict(embed_dim=32, depth=5, num_heads=2), drop_path_rate=0.4)
    rates = [getattr(block.drop_path1, 'drop_prob', 0.0) for block in vit.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@torch.no_grad()
def test_compiled_blocks_keep_their_names():
    assert set(build(compiled='aot_eager').state_dict()) == set(build().state_dict())


@pytest.mark.parametrize(
    'arch, million', [('tiny', 5.5), ('small', 21.7), ('base', 85.8), ('large', 303.3), ('huge', 630.8)]
)
def test_sizes_of_the_named_architectures(arch, million):
    with torch.device('meta'):
        vit = MaskedViT(arch=arch, patch_size=14 if arch == 'huge' else 16)
    assert sum(param.numel() for param in vit.parameters()) / 1e6 == pytest.approx(million, abs=0.3)


def test_an_unknown_architecture_names_the_known_ones():
    with pytest.raises(ValueError, match="arch='giant' is not known; use one of tiny, small, base, large, huge"):
        build(arch='giant')


@pytest.mark.parametrize('arch', [dict(embed_dim=32, depth=2), dict(embed_dim=32, depth=2, num_heads=2, width=3)])
def test_an_architecture_of_other_keys_names_the_needed_ones(arch):
    with pytest.raises(ValueError, match='needs exactly the keys embed_dim, depth, num_heads'):
        build(arch=arch)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match='width 32 with 3 heads'):
        build(arch=dict(embed_dim=32, depth=2, num_heads=3))


@pytest.mark.parametrize('shape', [(3, 32, 40), (3, 16, 32), (1, 32, 32)])
def test_images_of_another_shape_name_both_shapes(shape):
    with pytest.raises(ValueError, match=rf'3x32x32 .* got \[{", ".join(map(str, shape))}\]'):
        build()(torch.zeros(2, *shape))


def test_a_patch_size_that_does_not_divide_the_image_is_refused():
    with pytest.raises(ValueError, match='30x30 pixels cannot be cut into patches of 8x8'):
        build(img_size=30)


def test_dropout_is_that_of_vit():
    """As timm's with the same rate and seeds: after the positions, the projection of attention and both of the MLP."""
    ours = MaskedViT(dict(embed_dim=32, depth=2, num_heads=2), 32, 8, drop_rate=0.5).train()
    theirs = timm.models.VisionTransformer(
        32, 8, embed_dim=32, depth=2, num_heads=2, num_classes=0, global_pool='', drop_rate=0.5, proj_drop_rate=0.5,
        pos_drop_rate=0.5,
    ).train()  # fmt: skip
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    outputs = []
    for model, forward in ((ours, ours), (theirs, theirs.forward_features)):
        torch.manual_seed(0)
        outputs.append(forward(images))
    torch.testing.assert_close(*outputs)
    assert not torch.equal(outputs[0], ours.eval()(images))
