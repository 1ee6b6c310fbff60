"""Own pre-training beside public weights: lines of results, their table, what is not measured again."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from harness import ROOT
from PIL import Image

import compare_starts
import mmmim

RESULTS = ROOT / 'tools/benchmarks/results'
TINY = [
    'model.backbone.arch.embed_dim=32',
    'model.backbone.arch.depth=2',
    'model.backbone.arch.num_heads=2',
    'train_dataloader.num_workers=0',
    'test_dataloader.num_workers=0',
]
OTHER = ['--cfg-options', 'model.mask_ratio=0.6']


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photos(tmp_path):
    """Ten images of each of two colours."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(('red', 'green')):
        (tmp_path / 'photos' / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 120, (24, 24, 3), dtype=np.uint8)
            pixels[..., label] += 120
            Image.fromarray(pixels).save(tmp_path / 'photos' / name / f'{i}.png')
    return tmp_path / 'photos'


@pytest.fixture
def faked(monkeypatch):
    """The calls of pre-training; accuracies are made up."""
    calls = []

    def compare(runs, starts, **options):
        names = [(starts[1], 'public'), ('random', 'random'), *((run, 'own') for run in runs)]
        rows = [dict(name=n, kind=k, linear=10.0 * i, linear_25=None, knn=1.0) for i, (n, k) in enumerate(names)]
        return SimpleNamespace(rows=rows, counts=dict(fit=100, classes=2), when='today')

    monkeypatch.setattr(mmmim, 'pretrain', lambda data, out, **options: calls.append((out, options)), raising=False)
    monkeypatch.setattr(mmmim, 'compare', compare, raising=False)
    return calls


def call(*words):
    compare_starts.main([*map(str, words)])


@pytest.mark.slow
@pytest.mark.runs
def test_a_seed_is_trained_measured_and_told(photos, capsys):
    call(
        '--data',
        photos,
        '--results',
        'r.jsonl',
        '--seeds',
        3,
        '--epochs',
        1,
        '--picture',
        'p.png',
        '--cfg-options',
        *TINY,
    )
    lines = [json.loads(text) for text in open('r.jsonl')]
    assert {line['start'] for line in lines} == {'public', 'random', 'target', 'pixels'}
    assert {line['seed'] for line in lines} == {3} and all(0 <= line['linear'] <= 100 for line in lines)
    written = compare_starts.table(lines)
    assert capsys.readouterr().out.rstrip().endswith(written) and len(written.splitlines()) == 6


def test_what_is_measured_is_not_measured_again(faked, capsys):
    call('--data', 'photos', '--results', 'r.jsonl', '--seeds', 0, '--out', 'runs', *OTHER)
    call('--data', 'photos', '--results', 'r.jsonl', '--seeds', 0, 1, '--out', 'runs', *OTHER)
    assert [out for out, _ in faked] == ['runs/pixels-0', 'runs/target-0', 'runs/pixels-1', 'runs/target-1']
    assert [options['target'] for _, options in faked[:2]] == [None, 'efficientnet-lite0']
    assert {options['model.mask_ratio'] for _, options in faked} == {0.6}
    assert [options['seed'] for _, options in faked] == [0, 0, 1, 1]
    assert '| random weights | 10.0 | - | 1.0 |' in capsys.readouterr().out


@pytest.mark.parametrize('words', [OTHER, ['--epochs', 3], ['--public', 'timm:x']])
def test_other_settings_in_the_same_results_are_an_error(words, faked, capsys):
    call('--data', 'photos', '--results', 'r.jsonl', '--seeds', 0)
    with pytest.raises(SystemExit) as end:
        call('--data', 'photos', '--results', 'r.jsonl', '--seeds', 1, *words)
    assert 'give another --results' in str(end.value) and len(faked) == 2


def test_without_results_and_images_there_is_nothing_to_show():
    with pytest.raises(SystemExit) as end:
        call('--results', 'none.jsonl')
    assert end.value.code == 2


@pytest.mark.parametrize('path', sorted(RESULTS.glob('*.jsonl')), ids=lambda path: path.stem)
def test_the_page_has_the_table_of_the_results(path):
    assert compare_starts.table(compare_starts.read_lines(str(path))) in (ROOT / 'docs/benchmarks.md').read_text()


@pytest.mark.parametrize('start', compare_starts.TITLES)
def test_the_readme_has_numbers_of_the_results(start):
    lines = compare_starts.read_lines(str(RESULTS / 'clothing.jsonl'))
    cells = [', '.join(map(str, compare_starts.values(lines, start, key))) for key in ('linear', 'linear_25')]
    rows = [re.sub(r'\*', '', row).split(' | ') for row in (ROOT / 'README.md').read_text().splitlines()]
    assert [row[1:] for row in rows if row[1:] == [cells[0], f'{cells[1]} |']] != []
