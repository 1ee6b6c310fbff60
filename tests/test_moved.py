"""Old names of modules still import."""

import importlib
import sys

import pytest

from mmmim.moved import MOVED


@pytest.mark.parametrize('old, new', MOVED.items())
def test_an_old_name_is_the_new_module(old, new):
    if new == 'models.mmdet_parts':
        pytest.importorskip('mmdet')
    sys.modules.pop(f'mmmim.{old}', None)
    with pytest.warns(DeprecationWarning, match=f'mmmim.{new}'):
        module = importlib.import_module(f'mmmim.{old}')
    assert module is importlib.import_module(f'mmmim.{new}')


def test_an_old_name_is_no_module_of_its_own():
    assert not [old for old in MOVED if old in MOVED.values()]
    with pytest.raises(ModuleNotFoundError, match='mmmim.models.nothing'):
        importlib.import_module('mmmim.models.nothing')
