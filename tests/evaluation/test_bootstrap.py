"""Intervals by resampling images."""

import numpy as np
import pytest
import torch

from mmmim.evaluation.bootstrap import difference_in_words, mean_interval


def slowly(values, resamples, seed):
    """Draw images one by one, with replacement."""
    rng = np.random.default_rng(seed)
    means = [np.mean([values[rng.integers(len(values))] for _ in values]) for _ in range(resamples)]
    return np.percentile(means, [2.5, 97.5])


@pytest.mark.parametrize('kind', ['right or wrong', 'difference', 'mean of draws'])
def test_equals_drawing_images_one_by_one(kind):
    rng = np.random.default_rng(3)
    right = rng.random(60) < 0.7
    values = {
        'right or wrong': right.astype(float),
        'difference': right.astype(float) - (rng.random(60) < 0.4),
        'mean of draws': rng.integers(0, 4, 60) / 3,
    }[kind]
    np.testing.assert_allclose(mean_interval(values), slowly(values, 2000, 1), atol=0.035)


def test_an_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        low, high = mean_interval(rng.random(200) < 0.8, resamples=500)
        held += low <= 0.8 <= high
    assert 0.90 < held / 300 < 0.985


def test_pairs_make_it_narrow():
    """Two networks that err on the same images differ surely, though their own intervals overlap."""
    hard = torch.arange(400) % 2 == 0
    a, b = (~hard).double(), ((~hard) & (torch.arange(400) % 16 != 1)).double()
    difference, (low, high), sentence = difference_in_words('a', 'b', a, b)
    assert difference == pytest.approx(6.25) and 3 < low < difference < high < 10
    assert mean_interval(100 * a)[0] < 100 * b.mean() + 4.9
    assert sentence == f'a is better than b by 6.2 points (95% interval {low:.1f} to {high:.1f})'


def test_the_other_way_round_is_worse_by_the_same():
    a, b = (torch.arange(100) < 80).double(), (torch.arange(100) < 60).double()
    up, down = difference_in_words('a', 'b', a, b), difference_in_words('b', 'a', b, a)
    assert up[0] == -down[0] and 'a is better than b by 20.0 points' in up[2]
    assert 'b is worse than a by 20.0 points' in down[2]
    low, high = (float(word) for word in down[2].split('interval ')[1].rstrip(')').split(' to '))
    assert 0 < low < 20 < high


def test_what_cannot_be_shown_is_said_with_the_number_of_images():
    a, b = torch.ones(120), torch.ones(120)
    a[:10] = 0
    b[5:14] = 0
    _, (low, high), sentence = difference_in_words('runs/a', 'runs/b', a, b)
    assert low < 0 < high and 'no difference can be shown with 120 images' in sentence
    assert 'no difference' in difference_in_words('a', 'b', a, a)[2]


def test_the_same_call_gives_the_same_and_another_seed_nearly():
    values = np.random.default_rng(0).random(300) < 0.5
    assert mean_interval(values) == mean_interval(values) != mean_interval(values, seed=1)
    np.testing.assert_allclose(mean_interval(values), mean_interval(values, seed=1), atol=0.01)


def test_many_images_take_no_time_and_none_are_refused():
    low, high = mean_interval(np.arange(1_000_000) % 2)
    assert low < 0.5 < high < low + 0.003
    with pytest.raises(ValueError, match='needs one number for each of some images'):
        mean_interval([])
