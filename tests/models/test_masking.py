"""Masks of every strategy: their counts, their shapes in the image, and how often each patch is seen."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmmim.models.masking import Masking, take

DATA = Path(__file__).parents[1] / 'data'
GRIDS = [(8, 8), (14, 14), (6, 10), (12, 4), (7, 9), (2, 16)]
RATIOS = [0.1, 0.25, 0.4, 0.5, 0.65, 0.75, 0.8, 0.9, 0.95]


def draw(masking, batch=16, seed=0):
    noise = torch.rand(batch, *masking.noise_shape, generator=torch.Generator().manual_seed(seed))
    return masking(noise)


def removed_neighbours(mask, grid):
    """Mean share of a removed patch's neighbours (up, down, left, right) that are removed, too."""
    image = mask.reshape(-1, 1, *grid)
    cross = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])[None, None]
    count = F.conv2d(image, cross, padding=1)
    possible = F.conv2d(torch.ones_like(image), cross, padding=1)
    return ((count / possible)[image.bool()]).mean().item()


@pytest.mark.parametrize('grid', GRIDS, ids=str)
@pytest.mark.parametrize('strategy', ['random', 'block', 'grid'])
def test_every_image_keeps_the_same_count_at_any_ratio(strategy, grid):
    length = grid[0] * grid[1]
    for ratio in RATIOS:
        mask = draw(Masking(strategy, ratio, grid))
        assert mask.ids_keep.shape == (16, int(length * (1 - ratio)))
        assert torch.equal((mask.mask == 0).sum(1), torch.full((16,), int(length * (1 - ratio))))


@pytest.mark.parametrize('unit, grid', [(2, (8, 8)), (2, (6, 10)), (2, (14, 14)), (3, (6, 9)), (1, (4, 5))])
def test_units_are_kept_or_removed_whole(unit, grid):
    for ratio in (0.1, 0.5, 0.65, 0.8):
        units = grid[0] * grid[1] // unit**2
        image = draw(Masking('unit', ratio, grid, unit=unit)).mask.reshape(-1, *grid)
        blocks = image.unfold(1, unit, unit).unfold(2, unit, unit).flatten(3).sum(3)
        assert set(blocks.unique().tolist()) == {0, unit**2}
        assert torch.equal((blocks == 0).flatten(1).sum(1), torch.full((16,), int(units * (1 - ratio))))


@pytest.mark.parametrize('grid', [(8, 8), (6, 10), (12, 4)], ids=str)
@pytest.mark.parametrize('ratio', [0.3, 0.75, 0.9])
@pytest.mark.parametrize('strategy', Masking.STRATEGIES)
def test_ids_and_mask_agree(strategy, ratio, grid):
    found = draw(Masking(strategy, ratio, grid))
    ids_keep, ids_restore, mask = found
    length, num_keep = grid[0] * grid[1], ids_keep.shape[1]
    every = torch.arange(length).expand(16, -1)
    assert torch.equal(ids_restore.sort(1).values, every)
    assert torch.equal(mask, torch.ones(16, length).scatter(1, ids_keep, 0))
    # visible patches, then the others; gathered by ids_restore they are in image order
    patches = torch.randn(16, length, 3)
    shuffled = torch.zeros_like(patches).scatter(1, ids_restore[..., None].expand(-1, -1, 3), patches)
    assert torch.equal(shuffled[:, :num_keep], patches.gather(1, ids_keep[..., None].expand(-1, -1, 3)))
    assert torch.equal(take(shuffled, ids_restore), patches) and torch.equal(take(patches, found.ids_shuffle), shuffled)
    assert torch.equal(torch.cat([ids_keep, found.ids_removed], dim=1), found.ids_shuffle)
    assert mask.gather(1, found.ids_removed).all()


@pytest.mark.parametrize('strategy', Masking.STRATEGIES)
def test_the_mask_of_an_image_depends_on_its_own_noise_only(strategy):
    masking = Masking(strategy, 0.6, (8, 12))
    noise = torch.rand(5, *masking.noise_shape)
    alone, together = masking(noise[3:4]), masking(noise)
    for one, many in zip(alone, together):
        assert torch.equal(one[0], many[3])


def test_random_keeps_the_smallest_noise_in_its_order():
    noise = torch.tensor([[0.9, 0.1, 0.5, 0.3]])
    assert Masking('random', 0.5, (2, 2))(noise).ids_keep.tolist() == [[1, 3]]


def test_equal_noise_is_resolved_by_image_order():
    assert Masking('random', 0.5, (16, 16))(torch.zeros(1, 256)).ids_keep.tolist() == [list(range(128))]


def test_unit_masks_equal_the_original_cmae():
    fixture = np.load(DATA / 'cmae_official.npz')
    mask = Masking('unit', 0.65, (8, 8), unit=2)(torch.from_numpy(fixture['unit_noise']))
    assert np.array_equal(mask.mask.numpy(), fixture['mask'])


def test_visible_units_come_in_the_order_of_the_noise_and_row_by_row_inside():
    noise = torch.tensor([[0.9, 0.8, 0.1, 0.3]])  # 2 x 2 units of a 4 x 4 grid
    assert Masking('unit', 0.5, (4, 4), unit=2)(noise).ids_keep.tolist() == [[8, 9, 12, 13, 10, 11, 14, 15]]


@pytest.mark.parametrize('grid', [(14, 14), (10, 20)], ids=str)
@pytest.mark.parametrize('ratio', [0.4, 0.5, 0.6])
def test_block_removes_connected_areas(grid, ratio):
    block = draw(Masking('block', ratio, grid), 80).mask
    random = draw(Masking('random', ratio, grid), 80).mask
    assert removed_neighbours(random, grid) == pytest.approx(ratio, abs=0.03)
    assert removed_neighbours(block, grid) > ratio + 0.22


def test_block_masks_differ_between_images():
    masks = draw(Masking('block', 0.5, (14, 14)), 50).mask
    assert len(masks.unique(dim=0)) == 50


def test_block_reaches_every_patch_also_the_corners():
    often = draw(Masking('block', 0.5, (14, 14)), 1000).mask.mean(0)
    assert 0.02 < often.min() and often.max() < 0.95


@pytest.mark.parametrize(
    'ratio, expected', [(0.25, ['1111', '1111', '1111', '1111']), (0.2, ['0001', '1111', '1111', '1111'])]
)  # cut short, row by row
def test_block_removes_the_rectangle_of_the_noise(ratio, expected):
    noise = torch.zeros(1, 32, 4)
    noise[:, 0] = torch.tensor([0.0, 0.5, 0.5, 0.99])  # smallest area, square, half way down, at the right
    image = Masking('block', ratio, (8, 8))(noise).mask.reshape(8, 8)
    assert image[2:6, 4:].int().tolist() == [[int(digit) for digit in row] for row in expected]
    assert image.sum() == image[2:6, 4:].sum()


@pytest.mark.parametrize('noise', [0.0, 1 - 2**-24])
def test_block_keeps_its_count_with_extreme_noise(noise):
    masking = Masking('block', 0.75, (14, 14))
    assert masking(torch.full((2, *masking.noise_shape), noise)).mask.sum(1).tolist() == [147, 147]


@pytest.mark.parametrize('grid', [(8, 8), (14, 14), (6, 10), (12, 4), (2, 16)], ids=str)
def test_grid_at_75_percent_shows_one_of_every_two_by_two(grid):
    image = draw(Masking('grid', 0.75, grid), 64).mask.reshape(64, *grid)
    windows = image.unfold(1, 2, 2).unfold(2, 2, 2).flatten(3)
    assert ((windows == 0).sum(3) == 1).all()
    assert len({tuple(window) for window in windows[:, 0, 0].tolist()}) == 4  # each of the four over time


@pytest.mark.parametrize('grid', [(8, 8), (14, 14), (6, 10)], ids=str)
def test_grid_at_50_percent_is_a_checkerboard(grid):
    image = draw(Masking('grid', 0.5, grid), 32).mask.reshape(32, *grid)
    assert (image[:, 1:] != image[:, :-1]).all() and (image[:, :, 1:] != image[:, :, :-1]).all()


@pytest.mark.parametrize(
    'strategy, grid', [('random', (6, 10)), ('grid', (8, 8)), ('grid', (16, 8)), ('unit', (6, 10))]
)
@pytest.mark.parametrize('ratio', [0.3, 0.75, 0.9])
def test_every_patch_is_seen_equally_often(strategy, grid, ratio):
    masking = Masking(strategy, ratio, grid)
    often = 1 - draw(masking, 20000).mask.mean(0)
    expected = masking.num_keep / masking.num_patches
    deviation = (expected * (1 - expected) / 20000) ** 0.5
    assert (often - expected).abs().max() < 5 * deviation


@pytest.mark.parametrize('ratio', [0, 1, -0.1, 1.5, float('nan')])
@pytest.mark.parametrize('strategy', Masking.STRATEGIES)
def test_a_ratio_outside_of_zero_and_one_is_refused(strategy, ratio):
    with pytest.raises(ValueError, match=rf'mask_ratio={ratio} must lie inside \(0, 1\)'):
        Masking(strategy, ratio, (8, 8))


@pytest.mark.parametrize('strategy, count, limit', [('random', '16 patches', 0.9375), ('unit', '4 units', 0.75)])
def test_a_ratio_that_leaves_no_patch_names_the_limit(strategy, count, limit):
    message = f'leaves no visible patch: the 4x4 grid has {count}. Use a ratio below {limit}'
    with pytest.raises(ValueError, match=message):
        Masking(strategy, 0.95, (4, 4))


@pytest.mark.parametrize('strategy, grid', [('random', (1, 1)), ('block', (1, 1)), ('unit', (2, 2))])
def test_a_grid_of_one_patch_names_no_ratio(strategy, grid):
    with pytest.raises(ValueError, match='no ratio fits: use larger images or smaller patches'):
        Masking(strategy, 0.75, grid)


def test_an_unknown_strategy_names_the_known_ones():
    with pytest.raises(ValueError, match="masking='stripes' is not known; use one of random, block, grid, unit"):
        Masking('stripes', 0.75, (8, 8))


@pytest.mark.parametrize('strategy', Masking.STRATEGIES)
def test_noise_of_another_shape_names_both_shapes(strategy):
    masking = Masking(strategy, 0.75, (8, 8))
    wanted = ', '.join(map(str, masking.noise_shape))
    with pytest.raises(ValueError, match=rf'must be \[B, {wanted}\], not \[2, 63\]'):
        masking(torch.rand(2, 63))


def test_a_unit_that_does_not_divide_the_grid_is_refused():
    with pytest.raises(ValueError, match='blocks of 2x2 patches do not divide a 7x8 grid'):
        Masking('unit', 0.75, (7, 8), unit=2)
