"""The page of predictions: which pictures it shows, in which order, and what it may load."""

import base64
import hashlib
import re

import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from mmmim.apis.predicting import shown
from mmmim.report.predictions import write_predictions


class _Model:
    """As much of a predictor as the page needs."""

    task, multi_label, channels, value_range = 'classification', False, 3, None

    def __init__(self, classes):
        self.classes = classes

    def class_name(self, label):
        return self.classes[label]


@pytest.fixture
def records(tmp_path):
    """40 images of class 0, one of class 1, one that cannot be read and one that is gone."""
    found = []
    for place in range(42):
        path = tmp_path / f'{place:02d}.png'
        Image.fromarray(np.full((6, 9, 3), place, np.uint8)).save(path)
        label = int(place == 20)
        confidence = 0.99 if label else round(0.5 + place / 100, 2)
        found.append(
            dict(place=place, file=str(path), labels=[label], probabilities=[confidence], confidence=confidence)
        )
    found[7] = dict(place=7, file=str(tmp_path / '07.png'), error='broken')
    (tmp_path / '09.png').unlink()
    return found


def page(records, tmp_path, truth=None, classes=('a', 'b<i>'), **result):
    of_page = shown.page(records, _Model(list(classes)), str(tmp_path), 0.5, str(tmp_path), truth)
    values = dict(measures=None, notes=['a note'], rows=3, out=str(tmp_path), **result)
    write_predictions(str(tmp_path / 'x.html'), **of_page, result=values, model='runs/b/model.pth')
    return of_page, (tmp_path / 'x.html').read_text(encoding='utf-8')


def test_all_are_shown_where_there_are_few_the_least_sure_first(records, tmp_path):
    of_page, text = page(records, tmp_path)
    confidences = [card['confidence'] for card in of_page['cards']]
    assert len(confidences) == 40 and confidences == sorted(confidences) and of_page['total'] == 41
    assert [(kind['name'], kind['images']) for kind in of_page['classes']] == [('a', 40), ('b<i>', 1)]
    assert text.count('class="card"') == 40 and 'data-wrong' not in text.partition('<script>')[0]
    assert str(escape('b<i>')) in text and 'b<i>' not in text


def test_of_many_each_class_has_its_least_sure_and_sure_mistakes_are_there(records, tmp_path, monkeypatch):
    monkeypatch.setattr(shown, 'MOST', 6)
    monkeypatch.setattr(shown, 'SURELY_WRONG', 2)
    truth = {place: [0] for place in (0, 20, 41)} | {40: [1], 39: [1], 38: [1]}
    cards = page(records, tmp_path, truth)[0]['cards']
    assert {card['name'] for card in cards} == {'20.png', '40.png', '00.png', '01.png', '02.png', '03.png'}
    assert [card['name'] for card in cards if card['wrong']] == ['40.png', '20.png']
    assert {card['name']: card['truth'] for card in cards}['00.png'] == 'a'


def test_only_its_own_script_may_run_and_nothing_is_fetched(records, tmp_path):
    _, text = page(records, tmp_path, {0: [1]})
    script = re.search(r'<script>(.*)</script>', text, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text and "default-src 'none'" in text
    assert not re.search(r'(src|href)="(?!data:)', text) and text.count('<script') == 1
    assert 'id="wrong"' in text and text.count('data-wrong') == 1


def test_without_any_prediction_there_is_a_page(tmp_path):
    of_page, text = page([dict(place=0, file='x.png', error='broken')], tmp_path)
    assert of_page['cards'] == [] and 'a note' in text
