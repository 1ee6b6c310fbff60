"""The fixed position table."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mmmim.positions import sincos_positions

FIXTURE = Path(__file__).parent / 'data' / 'mae_official.npz'


@pytest.mark.parametrize('key, width', [('sd/pos_embed', 48), ('sd/decoder_pos_embed', 32)])
def test_the_table_equals_the_original(key, width):
    expected = torch.from_numpy(np.load(FIXTURE)[key])
    torch.testing.assert_close(sincos_positions(width, (4, 4)), expected, atol=1e-6, rtol=0)


def test_first_half_tells_the_column_and_second_half_the_row():
    table = sincos_positions(16, (3, 5), num_prefix_tokens=0).reshape(3, 5, 16)
    assert torch.equal(table[0, :, :8], table[2, :, :8])
    assert torch.equal(table[:, 0, 8:], table[:, 4, 8:])
    assert not torch.equal(table[:, 0, :8], table[:, 1, :8])


def test_a_rectangle_is_a_part_of_the_square():
    square = sincos_positions(32, (8, 8), 0).reshape(8, 8, 32)
    assert torch.equal(sincos_positions(32, (3, 8), 0).reshape(3, 8, 32), square[:3])
    assert torch.equal(sincos_positions(32, (8, 5), 0).reshape(8, 5, 32), square[:, :5])


@pytest.mark.parametrize('grid', [(4, 4), (2, 9), (14, 14)])
def test_every_patch_has_its_own_position(grid):
    table = sincos_positions(32, grid, 0)[0]
    assert len(table.unique(dim=0)) == grid[0] * grid[1]


@pytest.mark.parametrize('prefix', [0, 1, 2])
def test_prefix_tokens_have_zeros(prefix):
    table = sincos_positions(16, (2, 3), prefix)
    assert table.shape == (1, prefix + 6, 16)
    assert not table[:, :prefix].any() and table[:, prefix:].any(-1).all()


def test_the_table_has_the_default_dtype():
    assert sincos_positions(16, (2, 2)).dtype == torch.get_default_dtype()


def test_a_width_that_is_no_multiple_of_four_is_refused():
    with pytest.raises(ValueError, match='divisible by 4, not 30'):
        sincos_positions(30, (2, 2))
