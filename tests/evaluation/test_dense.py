"""Intersection over union and average precision with intervals, against mmseg's and pycocotools' own numbers."""

import contextlib
import io

import numpy as np
import pytest
import torch

from mmmim.evaluation.dense import ClassCounts, _class_precision, average_precision


def images(count=6, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        true = rng.integers(0, classes - 1, (12, 10))  # the last class occurs nowhere
        predicted = np.where(rng.random((12, 10)) < 0.7, true, rng.integers(0, classes - 1, (12, 10)))
        true[0, :3] = 255
        yield predicted, true


def test_iou_is_mmsegs():
    mmseg = pytest.importorskip('mmseg.evaluation.metrics.iou_metric')
    counts, theirs = ClassCounts(4), []
    for predicted, true in images():
        counts.add(predicted, true)
        theirs.append(mmseg.IoUMetric.intersect_and_union(torch.tensor(predicted), torch.tensor(true), 4, 255))
    areas = [sum(parts) for parts in zip(*theirs)]
    metrics = mmseg.IoUMetric.total_area_to_metrics(*areas, metrics=['mIoU'])
    scored = counts.iou()
    assert scored.value == pytest.approx(100 * np.nanmean(metrics['IoU']), abs=1e-4)
    assert np.isnan(scored.per_class[3])
    np.testing.assert_allclose(scored.per_class[:3], 100 * metrics['IoU'][:3], atol=1e-4)
    assert counts.accuracy() == pytest.approx(100 * metrics['aAcc'], abs=1e-4)
    assert scored.interval[0] < scored.value < scored.interval[1]


def test_an_interval_narrows_with_more_images_and_one_image_has_none():
    few, many, one = ClassCounts(4), ClassCounts(4), ClassCounts(4)
    for counts, number in ((few, 6), (many, 96), (one, 1)):
        for pair in images(number):
            counts.add(*pair)
    low, high = few.iou().interval
    narrower, wider = many.iou().interval
    assert wider - narrower < (high - low) / 2
    assert one.iou().interval is None and one.iou().value is not None


def coco(boxes, detections):
    """COCOeval after ``evaluate()``: ``boxes[image]`` and ``detections[image]`` of (class, box[, score])."""
    coco_module, cocoeval = pytest.importorskip('pycocotools.coco'), pytest.importorskip('pycocotools.cocoeval')
    truth = coco_module.COCO()
    annotations = [
        dict(id=number, image_id=image, category_id=kind, bbox=list(box), area=box[2] * box[3], iscrowd=crowd)
        for number, (image, kind, box, crowd) in enumerate(boxes, 1)
    ]
    ids = sorted({image for image, *_ in boxes} | {image for image, *_ in detections})
    truth.dataset = dict(
        images=[dict(id=image, width=100, height=100) for image in ids],
        annotations=annotations,
        categories=[dict(id=kind, name=str(kind)) for kind in (1, 2, 3)],
        info={},
    )
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found = truth.loadRes(
            [
                dict(image_id=image, category_id=kind, bbox=list(box), score=score)
                for image, kind, box, score in detections
            ]
        )
        evaluated = cocoeval.COCOeval(truth, found, 'bbox')
        evaluated.evaluate()
        evaluated.accumulate()
        evaluated.summarize()
    return evaluated


def drawn(count=12, seed=0):
    rng = np.random.default_rng(seed)
    boxes, detections = [], []
    for image in range(count):
        for _ in range(rng.integers(0, 5)):
            kind, box = int(rng.integers(1, 3)), np.append(rng.uniform(0, 60, 2), rng.uniform(8, 40, 2))
            boxes.append((image, kind, box.tolist(), int(rng.random() < 0.1)))
            if rng.random() < 0.8:
                detections.append((image, kind, (box + rng.normal(0, 2, 4)).clip(1).tolist(), float(rng.random())))
        for _ in range(rng.integers(0, 3)):
            box = np.append(rng.uniform(0, 60, 2), rng.uniform(8, 40, 2)).tolist()
            detections.append((image, int(rng.integers(1, 3)), box, float(rng.random())))
    return boxes, detections


@pytest.mark.parametrize('seed', range(3))
def test_average_precision_is_pycocotools(seed):
    evaluated = coco(*drawn(seed=seed))
    scored = average_precision(evaluated, resamples=50)
    assert scored.value == pytest.approx(100 * evaluated.stats[0], abs=1e-9)
    assert np.isnan(scored.per_class[2])  # no object of this class
    assert scored.interval[0] < scored.value < scored.interval[1]
    assert average_precision(evaluated, resamples=0).interval is None


def test_a_resample_is_the_images_drawn_as_often():
    """Under the weights 2 and 0 the precision is that of the first image twice."""
    boxes, detections = drawn(2, seed=5)
    evaluated = coco(boxes, detections)
    count = len(evaluated.params.imgIds)
    entries = evaluated.evalImgs[:count]
    twice = _class_precision(entries, np.array([[2.0] + [0.0] * (count - 1)]), 100)
    first = coco([row for row in boxes if row[0] == 0], [row for row in detections if row[0] == 0])
    alone = _class_precision(first.evalImgs[:1], np.ones((1, 1)), 100)
    np.testing.assert_allclose(twice, alone)
