"""Predictions of a detector: results in COCO's form, their ids, and how they are measured."""

import json
import shutil

import pytest
from det_harness import make_coco, read
from predict_harness import make_detector, run, table

import mmmim
from mmmim.apis.predicting import measures
from mmmim.apis.predicting.outputs import run_lengths


@pytest.fixture(scope='module')
def detected(tmp_path_factory):
    """Drawings, a detector, and the folder of its predictions with measures."""
    root = tmp_path_factory.mktemp('detector')
    data = make_coco(root / 'data', train=1, val=3)
    model = make_detector(root / 'model', data)
    labels = root / 'labels.json'
    content = read(data, 'val2017')
    content['categories'] = content['categories'][::-1]  # another order than the model's
    for image in content['images']:
        image['id'] = f'image {image["id"]}'
    for annotation in content['annotations']:
        annotation['image_id'] = f'image {annotation["image_id"]}'
    labels.write_text(json.dumps(content))
    found = run(model, data / 'val2017', root / 'out', labels=str(labels), threshold=0.1)
    return data, model, root / 'out', found


def test_objects_are_written_in_cocos_form(detected):
    data, model, out, found = detected
    objects, images = json.loads((out / 'detections.json').read_text()), json.loads((out / 'images.json').read_text())
    assert [image['id'] for image in images['images']] == ['image 1', 'image 2', 'image 3']
    assert {entry['name']: entry['id'] for entry in images['categories']} == dict(disc=3, square=7)
    one = mmmim.load(model).predict(data / 'val2017/001.png', threshold=0.0)
    mine = [entry for entry in objects if entry['image_id'] == 'image 2']
    assert len(mine) == len(one.boxes) and {entry['category_id'] for entry in objects} <= {3, 7}
    for entry, box, score, name, mask in zip(mine, one.boxes, one.scores, one.names, one.masks):
        left, top, right, bottom = box
        assert entry['bbox'] == pytest.approx([left, top, right - left, bottom - top], abs=0.1)
        assert entry['score'] == pytest.approx(score, abs=1e-3)
        assert entry['category_id'] == dict(disc=3, square=7)[name]
        assert entry['segmentation'] == run_lengths(mask)
    assert found.rows == 3 and table(out)[0]['objects'].isdigit()
    assert len(list((out / 'overlays').iterdir())) == 3


def test_objects_are_measured_by_their_class_whatever_the_order_of_the_annotations(detected):
    """The truth, put in the place of the predictions, is perfect; with exchanged classes it is worth nothing."""
    data, _, out, found = detected
    assert set(found.measures.values) == {'box AP', 'mask AP'} and found.measures.images == 3
    labels = out.parent / 'labels.json'
    content = json.loads(labels.read_text())
    ids = {place: image['id'] for place, image in enumerate(content['images'])}
    number = {3: 0, 7: 1}  # of the model: disc, square

    def records(exchanged):
        for place, image in ids.items():
            mine = [entry for entry in content['annotations'] if entry['image_id'] == image]
            boxes = [[x, y, x + w, y + h] for x, y, w, h in (entry['bbox'] for entry in mine)]
            kinds = [number[entry['category_id']] for entry in mine]
            kinds = [1 - kind for kind in kinds] if exchanged else kinds
            yield dict(place=place, boxes=boxes, scores=[0.9] * len(mine), labels=kinds, masks=None, size=[48, 48])

    for exchanged, expected in ((False, 100.0), (True, 0.0)):
        measured = measures.of_objects(records(exchanged), ids, str(labels), ['disc', 'square'])
        assert measured.values == {'box AP': expected}
        assert {row['name']: row['box AP'] for row in measured.per_class} == dict(disc=expected, square=expected)
    readable = (found for found in records(False) if found['place'])  # what cannot be read misses nothing
    some = measures.of_objects(readable, ids, str(labels), ['disc', 'square'])
    assert some.images == 2 and some.values == {'box AP': 100.0}


def test_category_ids_are_those_of_training_where_there_are_no_labels(detected, tmp_path):
    data, model, _, _ = detected
    run(model, data / 'val2017', tmp_path / 'out', overlays=False)
    content = json.loads((tmp_path / 'out/images.json').read_text())
    assert [entry['id'] for entry in content['categories']] == [3, 7]
    assert [image['id'] for image in content['images']] == [1, 2, 3]
    hidden = data / 'annotations/hidden'
    hidden.mkdir()
    for path in list((data / 'annotations').glob('*.json')):
        shutil.move(path, hidden)
    found = run(model, data / 'val2017', tmp_path / 'other', overlays=False)
    for path in list(hidden.iterdir()):
        shutil.move(path, data / 'annotations')
    content = json.loads((tmp_path / 'other/images.json').read_text())
    assert [entry['id'] for entry in content['categories']] == [1, 2] and 'numbered from 1' in found.notes[-1]
