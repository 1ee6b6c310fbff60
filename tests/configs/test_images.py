"""Channels and range are stated once in a config."""

import pytest

from mmmim.config.load import load_config

TEXT = """
default_scope = 'mmmim'
{top}
train_dataloader = dict(dataset=dict(type='ImageFolder', data_root='d', pipeline=[dict(type='LoadImage'{train})]))
test_dataloader = dict(dataset=dict(type='R', dataset=dict(pipeline=[dict(type='mmmim.LoadImage')])))
feature_eval = dict(bank=dict(type='ImageFolder', data_root='d', pipeline=[dict(type='LoadImage'{bank})]))
"""


def steps(tmp_path, top='', train='', bank='', **overrides):
    (tmp_path / 'c.py').write_text(TEXT.format(top=top, train=train, bank=bank))
    cfg = load_config(str(tmp_path / 'c.py'), overrides)
    sets = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset.dataset, cfg.feature_eval.bank
    return [{key: value for key, value in dataset.pipeline[0].items() if key != 'type'} for dataset in sets]


def test_the_key_at_the_top_is_for_all(tmp_path):
    assert steps(tmp_path, 'value_range = (0, 4095)') == [dict(value_range=(0, 4095))] * 3
    assert steps(tmp_path, 'image_channels = 5') == [dict(channels=5)] * 3
    assert steps(tmp_path, value_range=(0, 9)) == [dict(value_range=(0, 9))] * 3  # from the command line alone


def test_without_it_what_training_states_is_for_all_that_state_nothing(tmp_path):
    assert steps(tmp_path, train=', value_range=(0, 5)') == [dict(value_range=(0, 5))] * 3
    own = steps(tmp_path, train=', value_range=(0, 5)', bank=', value_range=(0, 6)')
    assert own == [dict(value_range=(0, 5)), dict(value_range=(0, 5)), dict(value_range=(0, 6))]
    assert steps(tmp_path) == [{}] * 3


def test_the_command_line_moves_what_followed_the_old_value(tmp_path):
    found = steps(tmp_path, 'value_range = (0, 5)', ', value_range=[0, 5]', value_range=(0, 7))
    assert found == [dict(value_range=(0, 7))] * 3


def test_the_command_line_takes_a_range_away_again(tmp_path):
    assert steps(tmp_path, 'value_range = (0, 5)', ', value_range=[0, 5]', value_range=None) == [{}] * 3


def test_two_values_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r'value_range=\(0, 5\) is for all .* LoadImage in train_dataloader states'):
        steps(tmp_path, 'value_range = (0, 5)', ', value_range=(0, 6)')
