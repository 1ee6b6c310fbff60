"""The page of what is public names what is there."""

import importlib
import re

import pytest
from harness import ROOT
from mmengine.registry import Registry

import mmmim
from mmmim import cli, registry

PAGE = (ROOT / 'docs/stability.md').read_text()
ROWS = {
    name: set(re.findall(r'`(\w+)`', row)) for name, row in re.findall(r'^\| [^|]*\(`(\w+)`\) \| (.*) \|$', PAGE, re.M)
}
# where `mmmim.models.mmdet_parts` or `mmseg_parts` was imported
OF_TOOLBOXES = {
    'CocoDataset',
    'CocoMetric',
    'DetPreprocessor',
    'RPNHead',
    'SegPreprocessor',
    'SingleRoIExtractor',
}
REGISTRIES = [name for name, value in vars(registry).items() if isinstance(value, Registry) and name.isupper()]


@pytest.mark.parametrize('name', REGISTRIES)
def test_every_registered_name_is_on_the_page_and_the_other_way_round(name):
    found = getattr(registry, name)
    found.import_from_location()
    ours = {key for key, part in found.module_dict.items() if part.__module__.startswith(('mmmim.', 'timm.'))}
    assert ROWS.get(name, set()) == ours - OF_TOOLBOXES  # others are of tests


def test_python_names_commands_and_scripts_are_there():
    for name in re.findall(r'`mmmim\.(\w+)`', PAGE.partition('## In configs')[0]):
        assert getattr(mmmim, name)
    commands = PAGE.partition('## On the command line')[2].partition('## In files')[0]
    listed = set(re.findall(r'`(?:mmmim )?(\w+)`', commands))
    assert listed == {*cli.COMMANDS, 'doctor'}
    for script in re.findall(r'`(tools/[\w./]+)`', commands):
        assert (ROOT / script).is_file(), script


def test_the_governing_keys_are_read():
    text = (
        ' '.join(path.read_text() for path in (ROOT / 'mmmim').rglob('*.py'))
        + (ROOT / 'mmmim/commands/test.py').read_text()
    )
    paragraph = PAGE.partition('Keys at the top of a config')[2].partition('##')[0]
    for key in re.findall(r'`(\w+)`', paragraph):
        assert re.search(rf"\bcfg\.{key}\b|cfg\.get\('{key}'", text), key


def test_modules_for_custom_imports_exist():
    assert importlib.util.find_spec('mmmim.models.mmdet_parts')
