"""A config inside a checkpoint is read as data, and what it names is looked at before it is built."""

import pytest
from harness import ROOT
from mmengine.config import Config

from mmmim.checkpoint.config_text import ConfigTextError, check_types, parse_config_text
from mmmim.registry import MODELS, TRANSFORMS

CONFIGS = ['configs/mae/vit-b_800e.py', 'configs/mae/vit-tiny_cifar10.py', 'configs/mae/ablations/target-pca.py']


@pytest.mark.parametrize('path', CONFIGS)
def test_it_reads_what_mmengine_writes(path):
    cfg = Config.fromfile(str(ROOT / path))
    parsed = parse_config_text(cfg.pretty_text)
    assert parsed == cfg.to_dict()
    check_types(parsed['model'], MODELS)
    check_types(parsed['test_pipeline'], TRANSFORMS)


def test_all_kinds_of_values():
    value = {'a key with spaces': (1, -2.5, None, True), 'text': 'it\'s "so"\n', 3: [[], (), {}], 'x': 1e-6}
    assert parse_config_text(Config(dict(a=value, b=[value])).pretty_text) == dict(a=value, b=[value])
    assert parse_config_text('"""A docstring."""\na = dict()\na = 1\n') == dict(a=1)


@pytest.mark.parametrize(
    'text',
    [
        'import os',
        'a = open("x")',
        'a = __import__("os").system("true")',
        'a = dict(b=lambda: 1)',
        'a = dict(**{})',
        'a = dict([(1, 2)])',
        'a = {**{}}',
        'a = {b: 1}',
        'a = b',
        'a = -b',
        'a = 1 + 1',
        'a = "x" * 9**9',
        'a = f"{1}"',
        'a = [i for i in (1, 2)]',
        'a = (b := 1)',
        'a.b = 1',
        'a, b = 1, 2',
        'print()',
        'def f(): pass',
        'a = 1j',
        'a = ...',
        'a = (',
        'a = "\0"',
        'a = ' + '(' * 500 + ')' * 500,
        'a = ' + '-' * 100_000 + '1',
        'a = "' + 'x' * 1_000_001 + '"',
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ConfigTextError):
        parse_config_text(text)


def test_the_message_names_the_line():
    with pytest.raises(ConfigTextError, match=r"line 3 .*open\('x'\)"):
        parse_config_text("a = 1\nb = dict(\n    c=open('x'))")


@pytest.mark.parametrize(
    'name',
    [
        'os.system',
        'torch.nn.Linear',
        'mmengine.Linear',
        'mmmim.os.system',
        'CenterCrop',
        'mmmim.mmmim.MAE',
        3,
        None,
        ['MAE'],
    ],
)
def test_types_of_others_are_refused(name):
    with pytest.raises(ConfigTextError, match='no part of mmmim'):
        check_types(dict(type='MAE', neck=[dict(inner=(dict(type=name),))]), MODELS)


def test_a_scope_is_refused():
    with pytest.raises(ConfigTextError, match='_scope_'):
        check_types(dict(type='MAE', backbone=dict(type='MaskedViT', _scope_='elsewhere')), MODELS)
