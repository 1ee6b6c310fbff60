"""The verdict on curves whose answer is known."""

import json

import numpy as np
import pytest

from mmmim.evaluation.health import Facts, judge

FACTS = Facts(images=5000, views=100_000, held_out=512, width=192)
GOOD = {
    'health/rankme': 20.0,
    'health/feature_spread': 0.4,
    'health/pixel_std': 50.0,
    'health/pixel_std_between': 50.0,
    'health/flat_images': 0.0,
    'health/held_out_loss': 0.6,
}


def curve(loss=None, steps=200, measured=None, start=None, **more):
    """A run whose loss has settled; ``measured`` replaces values at the end, ``start`` those before training."""
    place = np.linspace(0, 1, steps)
    loss = 0.5 + np.exp(-12 * place) if loss is None else loss(place)
    noise = 0.005 * np.random.default_rng(0).standard_normal(steps)
    records = [
        dict(iter=i + 1, epoch=1, lr=1e-3, loss=value, **{key: value for key in more})
        for i, value in enumerate((loss + noise).tolist())
    ]
    records += [dict(iter=int(share * steps), **GOOD) for share in (0.25, 0.5, 0.75, 1.0)]
    records[-1].update(measured or {})
    return [dict(iter=0, **{**GOOD, **(start or {})}), *records]


def verdict(records, facts=FACTS):
    found = judge(records, facts)
    json.dumps(found)
    assert found['reasons'] and all(found['reasons'])
    return found['verdict']


def test_a_run_that_has_settled_is_healthy():
    found = judge(curve(), FACTS)
    assert found['verdict'] == 'healthy' and (found['rankme'], found['ceiling'], found['images']) == (20.0, 192, 512)
    assert [check['holds'] for check in found['checks']] == [False] * 6


@pytest.mark.parametrize(
    'expected, records, facts',
    [
        ('still falling', curve(lambda x: 1 - 0.5 * x), FACTS),
        ('flat', curve(lambda x: 1 + 0 * x, measured={'health/rankme': 8.0}), FACTS),
        ('collapsed', curve(measured={'health/rankme': 1.5}), FACTS),
        ('collapsed', curve(measured={'health/feature_spread': 0.01}), FACTS),
        ('collapsed', curve(measured={'health/rankme': 4.0}), FACTS._replace(pretrained=True)),
        ('too few images', curve(), FACTS._replace(images=300)),
        ('too few images', curve(), FACTS._replace(views=5000)),
        ('too few images', curve(lambda x: 1 - 0.5 * x, measured={'health/held_out_loss': 0.7}), FACTS),
        ('near-constant images', curve(measured={'health/flat_images': 60.0}), FACTS),
        ('near-constant images', curve(measured={'health/pixel_std_between': 1.0}), FACTS),
    ],
)
def test_each_fault_is_named(expected, records, facts):
    assert verdict(records, facts) == expected


def test_advice_is_of_the_gravest_fault_alone():
    """More epochs are no remedy for images without content."""
    found = judge(curve(lambda x: 1 - 0.5 * x, measured={'health/flat_images': 99.0}), FACTS)
    assert [check['name'] for check in found['checks'] if check['holds']] == ['near-constant images', 'still falling']
    assert len(found['reasons']) == 1 and 'epochs' not in found['reasons'][0]


def test_a_plateau_is_not_flat_where_features_are_rich():
    assert verdict(curve(lambda x: 1 + 0 * x)) == 'healthy'


def test_a_fall_within_the_noise_is_none():
    loud = curve(lambda x: 1 - 0.15 * x + 0.5 * (np.arange(len(x)) % 3 - 1))
    assert verdict(loud) == 'healthy' and verdict(curve(lambda x: 1 - 0.15 * x)) == 'still falling'


def test_a_low_rank_is_normal_on_the_way_from_random_weights():
    """MAE's falls at first and grows later: 10.8, 4.1 and 6.9 after 0, 30 and 60 epochs of 160 photographs."""
    assert verdict(curve(measured={'health/rankme': 4.0})) == 'healthy'


def test_weights_at_the_start_make_few_images_enough():
    assert verdict(curve(), FACTS._replace(images=300, views=5000, pretrained=True)) == 'healthy'


@pytest.mark.parametrize('case', ['players', 'moving target'])
def test_of_losses_that_need_not_fall_nothing_is_said(case):
    more = dict(loss_disc=0) if case == 'players' else {}
    records = curve(lambda x: 1 - 0.5 * x, measured={'health/held_out_loss': 9.0}, **more)
    found = judge(records, FACTS._replace(moving_target=case == 'moving target'))
    assert found['verdict'] == 'healthy' and 'Of the loss nothing is said' in found['reasons'][0]
    assert {check['name'] for check in found['checks']} == {'near-constant images', 'collapsed', 'too few images'}


def test_what_was_not_measured_is_not_judged():
    found = judge([], FACTS)
    assert (found['verdict'], found['rankme']) == ('healthy', None)
    assert [check['name'] for check in found['checks']] == ['too few images']
    assert verdict([dict(iter=1, loss=1.0), dict(iter=2, loss=float('nan'), lr='x')]) == 'healthy'
