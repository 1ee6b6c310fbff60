"""The drawing heads: what they see, and how noise gets in."""

import pytest
import torch

from flops import FlopCounter
from mmmim.models.masking import Masking
from mmmim.models.necks import DrawingHead, UNetDrawingHead
from mmmim.models.patches import patchify, unpatchify


def transformer(**options):
    return DrawingHead(img_size=(16, 24), patch_size=4, **{'embed_dim': 16, 'num_heads': 2, **options})


def unet(**options):
    return UNetDrawingHead(img_size=(16, 24), patch_size=4, width=4, levels=2, noise_dim=16, **options)


HEADS = {
    'z_then_w': lambda: transformer(),
    'w_all': lambda: transformer(noise_tokens='w_all', depth=4),
    'channel': lambda: transformer(noise='concat'),
    'token': lambda: transformer(noise='concat', concat='token'),
    'norm': lambda: transformer(final_norm=True),
    'unet': unet,
    'unet-w_all': lambda: unet(noise_tokens='w_all'),
    'unet-channel': lambda: unet(noise='concat'),
}


@pytest.fixture
def masked():
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(3, 3, 16, 24, generator=generator),
        Masking('random', 0.75, (4, 6))(torch.rand(3, 24, generator=generator)),
    )


@pytest.mark.parametrize('name', HEADS)
def test_two_vectors_give_two_drawings_and_one_gives_one(name, masked):
    head = HEADS[name]()
    z = [torch.randn(3, *head.noise_shape) for _ in range(2)]
    first, again, other = head(*masked, z[0]), head(*masked, z[0]), head(*masked, z[1])
    assert first.shape == (3, 24, 48) and torch.equal(first, again)
    assert ((first - other).abs().amax(-1) > 1e-6).all()


@pytest.mark.parametrize('name', [*HEADS, 'none'])
def test_removed_pixels_are_not_looked_at_and_visible_ones_are(name, masked):
    images, mask = masked
    head = HEADS[name]() if name in HEADS else transformer(noise='none')
    z = None if head.noise_shape is None else torch.randn(3, *head.noise_shape)
    patches, removed = patchify(images, 4), mask.mask[..., None].bool()
    drawing = head(images, mask, z)
    other = unpatchify(torch.where(removed, torch.full_like(patches, 9.0), patches), 4, (4, 6))
    torch.testing.assert_close(head(other, mask, z), drawing)
    other = unpatchify(torch.where(removed, patches, patches + 1), 4, (4, 6))
    assert (head(other, mask, z) - drawing).abs().max() > 1e-4


@pytest.mark.parametrize('name', [*HEADS, 'none', 'unet-none'])
def test_everything_learns(name, masked):
    head = {**HEADS, 'none': lambda: transformer(noise='none'), 'unet-none': lambda: unet(noise='none')}[name]()
    z = None if head.noise_shape is None else torch.randn(3, *head.noise_shape)
    head(*masked, z).square().sum().backward()
    assert not [n for n, p in head.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]


def test_z_enters_the_first_block_and_w_the_second(masked):
    head, seen = transformer(depth=4), []
    for block in head.blocks:
        block.register_forward_pre_hook(lambda module, args: seen.append(args[0][:, 0]))
    z = torch.randn(3, 16)
    w = head.mapping(z)
    head(*masked, z)
    assert all(x.shape == (3, 16) for x in seen) and torch.equal(seen[0], z)
    assert all(torch.equal(x, w) for x in seen[1:])
    seen.clear()
    head.noise_tokens = 'w_all'
    head(*masked, z)
    assert all(torch.equal(x, w) for x in seen)


def test_the_mapping_has_three_layers_of_the_same_width():
    layers = [m for m in transformer().mapping if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in layers] == [(16, 16)] * 3


def test_positions_tell_patches_apart(masked):
    """Mask tokens without noise are drawn differently only by where they are."""
    drawing = transformer(noise='none')(*masked)
    for row, removed in zip(drawing, masked[1].mask.bool()):
        assert len(row[removed].round(decimals=5).unique(dim=0)) == removed.sum()


def test_the_default_width_has_the_published_costs():
    """Table 13: 1, 1.8, 2.6 and 3.5 for 2, 4, 6 and 8 blocks, with every patch embedded; the U-Net 1.7."""
    images, mask = torch.zeros(1, 3, 224, 224), Masking('random', 0.005, (14, 14))(torch.rand(1, 196))

    def cost(head):
        with FlopCounter(head) as counter:
            head(images, mask, torch.zeros(1, 256))
        return sum(counter.counts.values())

    base = cost(DrawingHead(224))
    assert [cost(DrawingHead(224, depth=n)) / base for n in (4, 6, 8)] == pytest.approx([1.8, 2.6, 3.5], abs=0.1)
    assert cost(UNetDrawingHead(224)) / base == pytest.approx(1.7, abs=0.2)


@pytest.mark.parametrize(
    'build, message',
    [
        (lambda: transformer(noise='x'), "noise='x' is not known; use 'mapped'"),
        (lambda: transformer(noise_tokens='x'), "noise_tokens='x' is not known"),
        (lambda: transformer(concat='x'), "concat='x' is not known"),
        (lambda: unet(noise='x'), "noise='x' is not known"),
        (lambda: DrawingHead(30, 16), 'must divide the image size'),
        (lambda: UNetDrawingHead(24, 8, levels=4), 'cannot halve an image of 24x24'),
    ],
)
def test_unknown_choices_and_sizes_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize('name', HEADS)
def test_a_head_with_noise_asks_for_it(name, masked):
    with pytest.raises(ValueError, match='this drawing head takes noise'):
        HEADS[name]()(*masked)
