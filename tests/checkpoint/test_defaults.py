"""Defaults that have changed: what a checkpoint of before says of them."""

import pytest

from mmmim.checkpoint import defaults
from mmmim.checkpoint.defaults import ChangedDefault, of_another_default

REAL = defaults.CHANGED
ANOTHER = ChangedDefault(('MLPPredictor',), 'width', 192, 768)


@pytest.fixture(autouse=True)
def two_changes(monkeypatch):
    monkeypatch.setattr(defaults, 'CHANGED', (*defaults.CHANGED[:1], ANOTHER))


def said(stored, now, known=0):
    return list(of_another_default(dict(backbone=stored), dict(backbone=now), known))


def test_a_key_that_neither_config_states_is_named_with_its_old_value():
    sentence = 'model.backbone.lean: the checkpoint was made when True was the default; set model.backbone.lean=True'
    for name in ('ConvViT', 'mmmim.ConvViT', 'mmmim.DenseConvViT'):
        assert said(dict(type=name), dict(type='ConvViT')) == [sentence]
    assert said(dict(type='ConvViT'), dict(type='ConvViT', lean=False)) == [sentence]


def test_nothing_is_said_where_the_key_is_stated_or_the_checkpoint_is_of_today():
    conv = dict(type='ConvViT')
    assert not said(conv, dict(conv, lean=True))
    assert not said(dict(conv, lean=False), conv)  # the configs differ, which is told elsewhere
    assert not said(conv, conv, known=1)
    assert not said(dict(type='MaskedViT'), dict(type='MaskedViT'))
    assert not said(conv, dict(type='MaskedViT'))


def test_parts_at_any_depth_and_each_change_by_its_date():
    old = dict(head=[dict(type='A'), dict(type='MLPPredictor')])
    assert (
        said(old, old)
        == said(old, old, known=1)
        == [
            'model.backbone.head.1.width: the checkpoint was made when 192 was the default; '
            'set model.backbone.head.1.width=192'
        ]
    )
    assert not said(old, old, known=2)


def test_a_default_that_was_no_constant_is_described(monkeypatch):
    monkeypatch.setattr(defaults, 'CHANGED', REAL)
    stored = dict(type='CrossMAE', predictor=dict(type='MLPPredictor'))
    (sentence,) = of_another_default(stored, stored, known=1)
    assert sentence.startswith(
        'model.predictor.hidden_dim: the checkpoint was made when a quarter of the width of the enc'
    )
    assert sentence.endswith('set model.predictor.hidden_dim to that number')
    assert not list(
        of_another_default(stored, dict(stored, predictor=dict(type='MLPPredictor', hidden_dim=8)), known=1)
    )
