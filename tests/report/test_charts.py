"""Charts as SVG: what they draw, on which scale, with which ticks."""

import re

import numpy as np
import pytest

from mmmim.report.charts import INNER_WIDTH, Line, line_chart, linear_ticks, log_ticks, tick_labels


def chart(*lines, **options):
    return str(line_chart('Loss', lines, 'epoch', **options))


def test_a_chart_draws_what_it_is_given():
    x = np.arange(1, 101.0)
    drawing = chart(Line('a', x, 5 - x / 25))
    path = re.search(r'd="M([^"]+)" class="line s0"', drawing)[1]
    places = np.array([pair.split() for pair in path.split('L')], float)
    assert (np.diff(places[:, 0]) > 0).all() and (np.diff(places[:, 1]) >= 0).all()  # y grows downwards
    assert places[:, 0].max() <= INNER_WIDTH and places.min() >= 0 and len(places) == 100
    assert 'a: 4.96 at epoch 1, 1 at epoch 100.' in drawing and 'Loss: 1' in drawing
    assert 'logarithmic' not in drawing and 'class="legend"' not in drawing


def test_a_chart_is_logarithmic_only_where_it_helps():
    x = np.arange(1, 50.0)
    assert 'logarithmic' in chart(Line('a', x, 100 / x**2)) and 'logarithmic' in chart(Line('a', x, x), log_y=True)
    assert 'logarithmic' not in chart(Line('a', x, 100 / x**2), log_y=False)
    assert 'logarithmic' not in chart(Line('a', x, 100 / x**2 - 1))  # some are negative


@pytest.mark.parametrize('y', [[3.0], [0.0, 0.0], [1e-12, -1e-12], [5.0, 5.0 + 1e-12], [1e200, -1e200], [-3.0, -1.0]])
def test_odd_values_are_drawn(y):
    drawing = chart(Line('a', np.arange(len(y), dtype=float), np.array(y), dots=True))
    assert 'nan' not in drawing and 'inf' not in drawing and drawing.count('<circle') == len(y)


def test_long_curves_are_thinned_and_keep_their_extremes():
    values = np.random.default_rng(0).normal(size=100_000)
    drawing = chart(Line('a', np.arange(1e5), values, smooth=999), Line('b', np.arange(10.0), np.arange(10.0)))
    assert len(drawing) < 60_000 and 'class="band s0"' in drawing and drawing.count('<li>') == 2


@pytest.mark.parametrize('low, high', [(0, 1), (31.1, 46.3), (-2, 1e6), (1e-9, 5e-4), (99.99, 100)])
def test_ticks_are_round_and_few(low, high):
    ticks = linear_ticks(low, high)
    assert 3 <= len(ticks) <= 7 and low <= ticks[0] and ticks[-1] <= high
    labels = tick_labels(ticks)
    assert len(set(labels)) == len(ticks) and max(map(len, labels)) <= 7
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_tick_labels():
    assert tick_labels([0, 0.25, 5e-4, 1.05e-3, 12000, 2e6, -1e-9]) == [
        '0',
        '0.25',
        '5e-4',
        '1.05e-3',
        '12k',
        '2e6',
        '-1e-9',
    ]
    assert log_ticks(0.05, 30) == [0.1, 1, 10] and log_ticks(0.3, 2.5) == [0.5, 1, 2]
