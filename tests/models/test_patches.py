"""Images into patches and back, in both orders of the values."""

import pytest
import torch
from torch.nn import functional as F

from mmmim.models.patches import (
    composite,
    denormalize_patches,
    gather_patches,
    grid_size,
    normalize_patches,
    patch_statistics,
    patchify,
    regrid,
    to_2tuple,
    unpatchify,
)

SHAPES = [((32, 32), 8), ((32, 48), 8), ((48, 32), 16), ((24, 40), (4, 10)), ((16, 12), (8, 3))]


@pytest.mark.parametrize('channels', [1, 3, 4, 5])
@pytest.mark.parametrize('size, patch', SHAPES)
def test_unpatchify_undoes_patchify(size, patch, channels):
    images = torch.randn(2, channels, *size)
    assert torch.equal(unpatchify(patchify(images, patch), patch, grid_size(size, patch)), images)


def test_patches_run_row_by_row_with_values_in_the_order_height_width_channel():
    images = torch.arange(2 * 4 * 6).reshape(1, 2, 4, 6)
    patches = patchify(images, (2, 3))
    for row in range(2):
        for col in range(2):
            window = images[0, :, 2 * row : 2 * row + 2, 3 * col : 3 * col + 3]
            assert torch.equal(patches[0, 2 * row + col], window.permute(1, 2, 0).flatten())


@pytest.mark.parametrize('channels', [1, 3, 5])
@pytest.mark.parametrize('size, patch', SHAPES)
def test_gathered_patches_times_the_flat_weight_is_a_convolution(size, patch, channels):
    images = torch.randn(2, channels, *size, dtype=torch.float64)
    weight = torch.randn(7, channels, *to_2tuple(patch), dtype=torch.float64)
    expected = F.conv2d(images, weight, stride=to_2tuple(patch)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(gather_patches(images, patch) @ weight.flatten(1).T, expected)


def test_gather_takes_the_wanted_patches_in_the_wanted_order():
    images = torch.randn(3, 3, 16, 24)
    ids = torch.stack([torch.randperm(24)[:7] for _ in range(3)])
    every = gather_patches(images, 4)
    expected = torch.stack([every[i][ids[i]] for i in range(3)])
    assert torch.equal(gather_patches(images, 4, ids), expected)


def test_gradient_of_gathered_patches_reaches_only_their_pixels():
    images = torch.randn(1, 1, 8, 8, requires_grad=True)
    gather_patches(images, 4, torch.tensor([[2]])).sum().backward()
    assert torch.equal(images.grad[0, 0], F.pad(torch.ones(4, 4), (0, 4, 4, 0)))


def test_normalised_patches_have_zero_mean_and_unit_unbiased_variance():
    patches = normalize_patches(torch.randn(2, 5, 48, dtype=torch.float64) * 3 + 2)
    torch.testing.assert_close(patches.mean(-1), torch.zeros(2, 5, dtype=torch.float64))
    torch.testing.assert_close(patches.var(-1), torch.ones(2, 5, dtype=torch.float64), atol=1e-5, rtol=0)


def test_a_flat_patch_normalises_to_zeros():
    assert torch.equal(normalize_patches(torch.full((1, 1, 12), 0.5)), torch.zeros(1, 1, 12))


def test_denormalising_undoes_normalising():
    patches = torch.randn(2, 5, 48)
    torch.testing.assert_close(denormalize_patches(normalize_patches(patches), patches), patches, atol=1e-5, rtol=0)


@pytest.mark.parametrize('image, patch', [(30, 8), ((32, 30), 8), ((32, 32), (8, 5)), (32, 0), (0, 8)])
def test_a_patch_that_does_not_divide_the_image_names_both_sizes(image, patch):
    (h, w), (ph, pw) = to_2tuple(image), to_2tuple(patch)
    with pytest.raises(ValueError, match=f'{h}x{w} .*{ph}x{pw}'):
        grid_size(image, patch)


def test_the_error_names_an_image_size_that_fits():
    with pytest.raises(ValueError, match='fits: 32x48'):
        grid_size((30, 50), 16)


@pytest.mark.parametrize('grid, dim', [((2, 3), 48), ((2, 2), 50)])
def test_patches_that_do_not_fill_the_grid_are_refused(grid, dim):
    with pytest.raises(ValueError, match=f'4 patches of {dim} values do not fill a {grid[0]}x{grid[1]} grid of 4x4'):
        unpatchify(torch.zeros(1, 4, dim), 4, grid)


def test_variance_in_float16_does_not_overflow():
    patches = torch.rand(1, 4, 768, generator=torch.Generator().manual_seed(0)).mul(255).half()
    _, var = patch_statistics(patches)
    torch.testing.assert_close(var.double(), patches.double().var(-1, keepdim=True), rtol=5e-3, atol=0)


def test_composite_paints_removed_patches_and_keeps_the_others():
    images, painted = torch.rand(2, 3, 8, 12), torch.rand(2, 6, 4 * 4 * 3)
    removed = torch.tensor([[1, 0, 0, 1, 1, 0], [0, 1, 1, 0, 0, 1]])
    result, canvas = composite(images, painted, removed, 4), unpatchify(painted, 4, (2, 3))
    for b in range(2):
        for place, gone in enumerate(removed[b].tolist()):
            rows, columns = slice(place // 3 * 4, place // 3 * 4 + 4), slice(place % 3 * 4, place % 3 * 4 + 4)
            expected = canvas if gone else images
            assert torch.equal(result[b, :, rows, columns], expected[b, :, rows, columns])
    grey = composite(images, 0.0, removed, 4)
    assert torch.equal(patchify(grey, 4), patchify(images, 4) * (1 - removed[..., None]))


@pytest.mark.parametrize(
    'old, new', [((8, 8), (4, 4)), ((4, 8), (2, 2)), ((2, 3), (4, 9)), ((1, 1), (3, 2)), ((4, 2),) * 2]
)
def test_values_go_to_another_grid_as_torch_resizes_them(old, new):
    x = torch.rand(2, old[0] * old[1], 5, generator=torch.Generator().manual_seed(0))
    maps = x.transpose(1, 2).unflatten(2, old)
    expected = F.adaptive_avg_pool2d(maps, new) if old[0] >= new[0] else F.interpolate(maps, new, mode='nearest')
    torch.testing.assert_close(regrid(x, old, new), expected.flatten(2).transpose(1, 2))


@pytest.mark.parametrize('old, new', [((4, 4), (3, 3)), ((4, 4), (8, 2)), ((2, 4), (4, 2))])
def test_grids_that_are_no_multiples_are_refused(old, new):
    with pytest.raises(ValueError, match='no whole multiple'):
        regrid(torch.zeros(1, old[0] * old[1], 1), old, new)
