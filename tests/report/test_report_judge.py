"""The report's first sections: other networks, k-NN from the start on, health; what is said of start and weights."""

import json
import re

import pytest
from test_report_page import EVIL, Page

from mmmim.evaluation.health import Facts, judge
from mmmim.models.networks import non_commercial
from mmmim.report.page import write_report

ROWS = [
    dict(
        name='efficientnet-lite0',
        kind='public',
        licence='apache-2.0',
        layer=None,
        knn=84.0,
        knn_interval=[80.1, 87.9],
        linear=88.0,
        linear_interval=[84.4, 91.6],
        linear_25=78.6,
        seconds=41.2,
    ),
    dict(name='random', kind='random', licence='', layer=None, knn=30.0, linear=40.8, linear_25=None, seconds=11),
    dict(name='runs/a', kind='own', licence='apache-2.0', layer=4, knn=85.9, linear=53.4, linear_25=33, seconds=12),
]
COMPARISON = dict(
    counts=dict(fit=12_000, selection=150, report=120, classes=10),
    limit=10_000,
    rows=ROWS,
    differences=[dict(a='runs/a', b='random', sentence='No difference can be shown with 120 images.')],
    notes=['The first row is a stand-in.'],
)


def make_run(folder, **files):
    """A work dir with a curve, and files given as ``run='{...}'`` or as values."""
    folder.mkdir()
    lines = [dict(iter=i, epoch=1, loss=1 / i) for i in range(1, 11)]
    (folder / 'curve.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in files.pop('curve', []) + lines))
    for name, content in files.items():
        (folder / f'{name}.json').write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def page(folder):
    return Page(write_report([folder]))


def cells(found, caption):
    """The rows of one table, as lists of text."""
    body = re.search(rf'<caption[^>]*>{caption}</caption>.*?<tbody>(.*?)</tbody>', found.source, re.S)[1]
    rows = re.findall('<tr>(.*?)</tr>', body, re.S)
    return [[re.sub('<[^>]+>', '', cell) for cell in re.findall('<t[hd].*?>(.*?)</t[hd]>', row)] for row in rows]


def test_the_table_stands_first_with_intervals_and_sentences(tmp_path):
    found = page(make_run(tmp_path / 'a', comparison=COMPARISON))
    assert found.headings[0] == 'Beside other networks'
    assert cells(found, 'Networks beside a') == [
        ['efficientnet-lite0', 'public, apache-2.0', '88.0% (84.4–91.6)', '78.6%', '84.0% (80.1–87.9)', '41 s'],
        ['random', 'random weights', '40.8%', '', '30.0%', '11 s'],
        ['runs/a, layer 4', 'pre-trained here', '53.4%', '33.0%', '85.9%', '12 s'],
    ]
    for best in ('88.0%', '78.6%', '85.9%', 'runs/a'):
        assert f'<strong>{best}</strong>' in found.source
    assert '<strong>40.8%' not in found.source
    for words in ('No difference can be shown with 120 images.', 'The first row is a stand-in.'):
        assert words in found.words
    assert 'at most 10,000 of 12,000 images of 10 classes' in found.words


def test_the_size_of_images_is_shown_where_it_is_known(tmp_path):
    sizes = ([224, 224], [518, 392], None)
    rows = [dict(row, image_size=size) for row, size in zip(ROWS, sizes)]
    shown = cells(page(make_run(tmp_path / 'a', comparison=dict(COMPARISON, rows=rows))), 'Networks beside a')
    assert [row[-2] for row in shown] == ['224', '518×392', '']


def test_knn_is_drawn_from_the_start_on_before_everything_else(tmp_path):
    curve = [{'iter': i, 'epoch': 1, 'knn/top1_k20': 60.0 + i} for i in (0, 5, 10)]
    labels = dict(
        classes=['a', 'b'],
        fit=[['x', 'a']] * 20,
        selection=[],
        report=[['y', 'b']] * 9,
        seen=3,
        source='L.csv',
        note='A fifth is the report part',
    )
    found = page(make_run(tmp_path / 'a', curve=curve, labels=labels))
    assert found.headings[0] == 'k-NN'
    (drawn,) = [a['aria-label'] for a in found.all('svg') if 'k-NN' in a.get('aria-label', '')]  # once
    assert '60 at iteration 0, 70 at iteration 10' in drawn
    assert (
        'Labels of L.csv: 2 classes, 20 to fit on, 9 to report. 3 of those that select or report are also pre-trained '
        'on. A fifth is the report part.' in found.words
    )
    assert 'k-NN accuracy (k = 20) 60.0 → 70.0%' in found.words


def test_start_and_kept_weights_are_said_at_the_top(tmp_path):
    record = dict(
        start=dict(name='timm:vit', kind='public', licence='cc-by-nc-4.0', note='goes on with its own features'),
        kept=dict(
            chosen='start',
            candidates=[dict(name='start', knn=68.4, linear=72.1), dict(name='epoch 10', knn=66, linear=None)],
            sentence='Adapting did not help: the start is exported.',
        ),
    )
    found = page(make_run(tmp_path / 'a', run=record))
    head = found.words[: found.words.index('Curves')]
    assert 'Adapting did not help: the start is exported.' in head
    assert 'Start: timm:vit, licence cc-by-nc-4.0. Goes on with its own features.' in head
    assert 'forbids commercial use' in head
    assert cells(found, 'Weights to choose from, a') == [
        ['start (exported)', '68.4%', '72.1%'],
        ['epoch 10', '66.0%', ''],
    ]


@pytest.mark.parametrize('licence', ['apache-2.0', 'mit', 'unknown', '', 'dinov3-license', 'openrail'])
def test_other_licences_are_no_warning(tmp_path, licence):
    found = page(make_run(tmp_path / 'a', run=dict(start=dict(name='n', kind='public', licence=licence, note=''))))
    assert f'Start: n, licence {licence or "unknown"}.' in found.words and not non_commercial(licence)
    assert 'commercial' not in found.words


@pytest.mark.parametrize(
    'licence', ['cc-by-nc-4.0', 'CC BY-NC-SA 4.0', 'fair-noncommercial-research', 'Non-Commercial']
)
def test_licences_that_forbid_commercial_use_are(licence):
    assert non_commercial(licence)


def test_health_is_said_in_words_with_its_checks_and_curves(tmp_path):
    curve = [
        {
            'iter': i,
            'epoch': 1,
            'health/rankme': rank,
            'health/feature_spread': 0.3,
            'health/pixel_std': 40,
            'health/pixel_std_between': 40,
            'health/flat_images': 0,
        }
        for i, rank in ((0, 9.0), (5, 4.0), (10, 1.5))
    ]
    verdict = judge(curve, Facts(images=9000, views=90_000, held_out=400, width=192))
    found = page(make_run(tmp_path / 'a', curve=curve, run=dict(health=dict(verdict, iter=10, seconds=4.0))))
    head = found.words[: found.words.index('Curves')]
    assert 'Health: Collapsed. Images get almost the same features: RankMe is 9 → 1.5' in head
    assert 'Health' in found.headings and [row[3] for row in cells(found, 'Health of a')] == ['no', 'yes', 'no']
    assert 'RankMe below 2' in found.words and '1.5 of at most 192' in found.words
    (drawn,) = [a['aria-label'] for a in found.all('svg') if a.get('aria-label', '').startswith('RankMe')]
    assert '9 at iteration 0, 1.5 at iteration 10' in drawn
    assert 'Measurements' not in found.headings and 'Training loss' in head  # health is no measurement by labels


def test_a_verdict_of_an_earlier_iteration_says_so(tmp_path):
    found = page(make_run(tmp_path / 'a', run=dict(health=dict(verdict='healthy', reasons=['All is well.'], iter=4))))
    assert 'Health: Healthy (at iteration 4). All is well.' in found.words and not found.all('b')


def test_without_these_files_nothing_is_shown_and_nothing_noted(tmp_path):
    found = page(make_run(tmp_path / 'a', run='{}'))
    assert not {'Beside other networks', 'k-NN', 'Health'} & set(found.headings)
    assert not re.search('comparison|labels|Start:|Health', found.words)


@pytest.mark.parametrize('content', ['{"rows": [', '[1]'])
def test_broken_files_are_noted(tmp_path, content):
    found = page(make_run(tmp_path / 'a', comparison=content, labels=content))
    notes = found.words[found.words.rindex('Not shown') :]
    assert 'comparison.json' in notes and 'labels.json' in notes
    assert 'Beside other networks' not in found.headings


@pytest.mark.parametrize('value', [None, True, -1, 10**400, EVIL, [1, 'a'], {'a': {'b': None}}], ids=repr)
def test_values_of_any_kind_are_survived_and_escaped(tmp_path, value):
    rows = [dict(ROWS[0], **{key: value}) for key in ROWS[0] if key != 'name']
    health = dict(
        verdict='flat', reasons=value, iter=value, checks=[dict(name=value, formula=value), value], rankme=value
    )
    record = dict(
        health=health, start=dict(name='n', licence=value, kind=value, note=value), kept=dict(candidates=[value])
    )
    comparison = dict(rows=rows, counts=value, limit=value, differences=[value], notes=[value])
    found = page(make_run(tmp_path / 'a', comparison=comparison, run=record, labels=dict(classes=value, note=value)))
    assert '<script' not in found.source and len(cells(found, 'Networks beside a')) == len(rows)


def test_several_runs_have_their_tables_and_one_chart(tmp_path):
    curve = [{'iter': i, 'epoch': 1, 'knn/top1_k20': 60.0 + i} for i in (0, 10)]
    health = dict(verdict='healthy', reasons=['So it is.'], iter=10, checks=[dict(name='flat', holds=False)])
    folders = [make_run(tmp_path / name, curve=curve, comparison=COMPARISON, run=dict(health=health)) for name in 'ab']
    found = Page(write_report(folders, tmp_path / 'report.html'))
    assert found.headings[:2] == ['Beside other networks', 'k-NN']
    assert cells(found, 'Networks beside a') == cells(found, 'Networks beside b')
    assert cells(found, 'Health of b') and found.words.count('So it is.') >= 2
    assert len([a for a in found.all('svg') if 'k-NN' in a.get('aria-label', '')]) == 1
