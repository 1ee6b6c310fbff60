"""configs/README.md is what its generator writes."""

import runpy

import pytest
from harness import ROOT

LIST = runpy.run_path(str(ROOT / 'tools/list_configs.py'))


@pytest.mark.runs
def test_the_page_is_written_anew_where_a_config_changed():
    assert LIST['PAGE'].read_text() == LIST['page'](), 'python tools/list_configs.py'


@pytest.mark.parametrize(
    'text, title, numbers',
    [
        (
            'MAE, mask 75%. More. Published, quoted: 84.9% fine-tuning, 73.5% linear.',
            'MAE, mask 75%',
            '84.9% fine-tuning, 73.5% linear',
        ),
        (
            'UperNet at 0.5 scale: a test. Published: 48.1 mIoU after 800 epochs.',
            'UperNet at 0.5 scale: a test',
            '48.1 mIoU',
        ),
        ('Points. Published: 4.21% NME, where FR is 2.8%.', 'Points', '4.21% NME'),
        ('A. Published: nothing for this length; 0.5% lower than with others.', 'A', '-'),
    ],
)
def test_titles_and_numbers_of_docstrings(text, title, numbers):
    assert LIST['title'](text) == title and LIST['published'](text) == numbers
