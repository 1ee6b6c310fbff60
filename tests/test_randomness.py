"""Numbers that depend on where they are drawn, and on nothing else."""

import itertools
import random

import numpy as np
import pytest
import torch
from scipy import stats

from mmmim import randomness
from mmmim.randomness import LATENT, MASK, derive, seed_generators, uniform


def seeds(count):
    """As they travel with samples of one epoch."""
    return torch.tensor([derive(0, 3, index) for index in range(count)])


def test_numbers_never_change():  # else old runs would not resume alike
    assert (derive(0), derive(1, 2, 3)) == (8147104208329303767, 3851293329796251419)
    numbers = uniform(torch.tensor([derive(5)]), (3,), MASK)
    assert (numbers[0] * 2**24).tolist() == [6860902, 14258995, 5742570]


def test_the_order_of_the_parts_matters():
    parts = list(itertools.permutations([0, 1, 2, 3]))
    assert len({derive(*p) for p in parts}) == len(parts)


def test_the_number_of_parts_matters():
    assert len({derive(), derive(0), derive(0, 0), derive(0, 0, 0)}) == 4


def test_seeds_are_63_bit_and_distinct():
    values = [derive(seed, epoch, index) for seed in (-1, 0, 1, 2**62) for epoch in range(25) for index in range(100)]
    assert all(0 <= value < 2**63 for value in values)
    assert max(values) > 2**62 and len(set(values)) == len(values)


def test_numpy_and_torch_integers_derive_the_same():
    assert derive(np.int64(5), np.int32(-7)) == derive(torch.tensor(5), -7) == derive(5, -7)


def test_each_bit_of_a_seed_depends_on_each_bit_of_the_parts():
    flips = [derive(1, 2) ^ derive(1 ^ (1 << bit), 2) for bit in range(63)]
    flips += [derive(1, 2) ^ derive(1, 2 ^ (1 << bit)) for bit in range(63)]
    share = np.mean([[flip >> bit & 1 for bit in range(63)] for flip in flips], axis=0)
    assert 0.25 < share.min() and share.max() < 0.75


def test_streams_are_all_different():
    names = ('AUGMENT', 'MASK', 'REPLACE', 'ORDER', 'STEP', 'LATENT', 'VIEW', 'FIT')
    assert [getattr(randomness, name) for name in names] == list(range(1, 9))  # numbers that old runs were drawn with


def test_seeded_generators_repeat():
    def draw():
        seed_generators(derive(7))
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw() == draw()
    seed_generators(derive(8))
    assert random.random() != draw()[0]


def test_numbers_lie_in_the_half_open_unit_interval():
    numbers = uniform(seeds(2000), (196,), MASK)
    assert numbers.dtype == torch.float32 and 0 <= numbers.min() and numbers.max() < 1


@pytest.mark.parametrize(
    'make_seeds',
    [seeds, torch.arange, lambda n: torch.arange(n) * 2**40 - 2**62],
    ids=['derived', 'counting', 'spread'],
)
def test_numbers_are_uniform(make_seeds):
    numbers = uniform(make_seeds(2000), (100,), MASK).double().flatten().numpy()
    assert abs(numbers.mean() - 0.5) < 5 * (1 / 12 / numbers.size) ** 0.5
    assert abs(numbers.var() - 1 / 12) < 0.001
    assert stats.kstest(numbers, 'uniform').pvalue > 1e-3


def test_every_place_of_a_row_is_uniform():
    numbers = uniform(seeds(4000), (32,), MASK).numpy()
    assert min(stats.kstest(column, 'uniform').pvalue for column in numbers.T) > 1e-4


def correlation(a, b):
    return abs(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1])


def test_streams_seeds_and_places_are_uncorrelated():
    a = uniform(seeds(1000), (100,), MASK)
    limit = 5 / a.numel() ** 0.5
    assert correlation(a, uniform(seeds(1000), (100,), LATENT)) < limit
    assert correlation(a[1:], a[:-1]) < limit
    assert correlation(a[:, 1:], a[:, :-1]) < limit
    counting = uniform(torch.arange(1001), (100,), MASK)
    assert correlation(counting[1:], counting[:-1]) < limit
    assert correlation(uniform(torch.arange(1000), (100,), LATENT), counting[:-1]) < limit


def test_rows_are_never_shifted_copies():
    numbers = uniform(torch.arange(300), (50,), MASK)
    assert len(numbers.flatten().unique()) > 0.999 * numbers.numel()


def test_a_row_depends_on_its_seed_only():
    every = seeds(64)
    batch = uniform(every, (196,), MASK)
    assert torch.equal(uniform(every[17:18], (196,), MASK)[0], batch[17])
    assert torch.equal(uniform(every.flip(0), (196,), MASK), batch.flip(0))


def test_repeated_calls_agree_whatever_the_generators_do():
    first = uniform(seeds(4), (7,), MASK)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert torch.equal(uniform(seeds(4), (7,), MASK), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_shapes_read_the_same_numbers():
    assert torch.equal(uniform(seeds(3), (4, 5), MASK).flatten(1), uniform(seeds(3), (20,), MASK))
    assert uniform(seeds(3), (), MASK).shape == (3,)


def test_the_tensor_code_equals_the_integer_code():
    """The batch is computed in wrapping int64, here again with Python's unbounded integers."""
    full, mix = (1 << 64) - 1, randomness._mix64
    for seed in (0, 1, derive(9), 2**63 - 1):
        key = mix((seed * randomness._M1 + derive(MASK) * 2) & full)
        expected = [(mix((key + place * randomness._GOLDEN) & full) >> 40) * 2**-24 for place in range(1, 6)]
        assert uniform(torch.tensor([seed]), (5,), MASK)[0].tolist() == expected
