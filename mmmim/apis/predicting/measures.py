"""How good predictions are, by labels; in percent."""

import contextlib
import io
import logging
import os.path as osp
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from mmengine.logging import MMLogger
from PIL import Image

from ...evaluation.bootstrap import mean_interval
from ...registry import METRICS
from .parts import MASKS, Record
from .truth import Masks


class Measures(NamedTuple):
    """Measured numbers.

    Attributes:
        images: How many images.
        values: Percent by name: ``'accuracy'`` and ``'balanced accuracy'``, ``'mAP'`` of several labels, ``'mIoU'`` and
            ``'pixel accuracy'``, ``'box AP'`` and ``'mask AP'``.
        interval: 95%, of the accuracy, by a bootstrap over images; None of others.
        per_class: A row for each class: ``name``, ``images`` that have it, where that is known, and percents by name.
        notes: Sentences on what was left out.
    """

    images: int
    values: Dict[str, float]
    interval: Optional[Tuple[float, float]]
    per_class: List[Dict[str, Any]]
    notes: List[str]


def _percent(share: float) -> float:
    return round(100 * float(share), 2)


def of_classes(records: Iterable[Tuple[Record, Sequence[int]]], classes: Sequence[str]) -> Measures:
    """Accuracy, balanced accuracy (mean recall of the classes that are there), recall and precision of each class."""
    confusion = np.zeros((len(classes), len(classes)), np.int64)  # [true, predicted]
    for found, (true,) in records:
        confusion[true, found['labels'][0]] += 1
    count, right = int(confusion.sum()), confusion.diagonal()
    if not count:
        return Measures(0, {}, None, [], [])
    images, answers = confusion.sum(1), confusion.sum(0)
    recall = right / np.maximum(images, 1)
    values = dict(accuracy=_percent(right.sum() / count))
    values['balanced accuracy'] = _percent(recall[images > 0].mean())
    each = np.repeat([1.0, 0.0], [right.sum(), count - right.sum()])
    low, high = mean_interval(each)
    rows = [
        dict(
            name=name,
            images=int(images[label]),
            recall=_percent(recall[label]) if images[label] else None,
            precision=_percent(right[label] / answers[label]) if answers[label] else None,
        )
        for label, name in enumerate(classes)
    ]
    return Measures(count, values, (_percent(low), _percent(high)), rows, [])


def of_several(records: Iterable[Tuple[Record, Sequence[int]]], classes: Sequence[str], threshold: float) -> Measures:
    """mAP of a multi-label model, by mmpretrain's metric; recall and precision of each class at the threshold."""
    from mmpretrain.evaluation import AveragePrecision

    scores, targets = [], []
    for found, true in records:
        scores.append(found['scores'])
        targets.append(np.isin(np.arange(len(classes)), true))
    if not scores:
        return Measures(0, {}, None, [], [])
    values, target = torch.tensor(scores), torch.from_numpy(np.stack(targets)).long()
    there = target.sum(0) > 0
    precisions = torch.zeros(len(classes))
    precisions[there] = AveragePrecision.calculate(values[:, there], target[:, there], average=None).float()
    said = values >= threshold
    hits = (said & (target > 0)).sum(0)
    rows = [
        dict(
            name=name,
            images=int(target[:, label].sum()),
            AP=round(float(precisions[label]), 2) if there[label] else None,
            recall=_percent(hits[label] / target[:, label].sum()) if there[label] else None,
            precision=_percent(hits[label] / said[:, label].sum()) if said[:, label].any() else None,
        )
        for label, name in enumerate(classes)
    ]
    mean = round(float(precisions[there].mean()), 2) if there.any() else 0.0
    return Measures(len(scores), dict(mAP=mean), None, rows, [])


def of_masks(out: str, records: Iterable[Record], masks: Masks, classes: Sequence[str]) -> Measures:
    """mIoU over all pixels, by mmseg's metric; masks are read from the folder of the predictions."""
    from mmseg.evaluation import IoUMetric

    totals, count = np.zeros((4, len(classes))), 0
    for found in records:
        if found['place'] in masks.of:
            with Image.open(osp.join(out, MASKS, found['mask'])) as image:
                predicted = torch.from_numpy(np.asarray(image).astype(np.int64))
            true = torch.from_numpy(masks.read(found['place']).astype(np.int64))
            parts = IoUMetric.intersect_and_union(predicted, true, len(classes), 255)
            totals += np.stack([part.numpy() for part in parts])
            count += 1
    found = IoUMetric.total_area_to_metrics(*(torch.from_numpy(part) for part in totals), metrics=['mIoU'])
    there = totals[3] > 0  # of classes that no mask has, no IoU is known
    ious, recalls = np.asarray(found['IoU']), np.asarray(found['Acc'])
    values = {'mIoU': _percent(ious[there].mean()) if there.any() else 0.0, 'pixel accuracy': _percent(found['aAcc'])}
    rows = [
        dict(
            name=name,
            IoU=_percent(ious[label]) if there[label] else None,
            recall=_percent(recalls[label]) if there[label] else None,
        )
        for label, name in enumerate(classes)
    ]
    return Measures(count, values, None, rows, [])


def of_objects(records: Iterable[Record], ids: Dict[int, Any], labels: str, classes: Sequence[str]) -> Measures:
    """Box AP, and mask AP where masks are predicted and annotated, by mmdet's metric, over the records in ``ids``."""
    with _quiet():
        metric = METRICS.build(dict(type='mmmim.CocoMetric', ann_file=labels, metric=['bbox'], classwise=True))
    content = metric._coco_api.dataset
    # mmdet numbers classes in the order of the annotations
    known = [entry['name'] for entry in content['categories'] if entry['name'] in classes]
    metric.dataset_meta = dict(classes=tuple(known))
    number = {label: known.index(name) for label, name in enumerate(classes) if name in known}
    masks = any(annotation.get('segmentation') for annotation in content['annotations'])
    metric.img_ids = []  # of images that could be read: those that could not miss no objects
    for found in records:
        if found['place'] in ids:
            metric.img_ids.append(ids[found['place']])
            masks = masks and found['masks'] is not None
            metric.process({}, [_sample(found, ids[found['place']], number)])
    any_object = any(len(predicted['labels']) for _, predicted in metric.results)
    values: Dict[str, float] = {}
    rows: List[Dict[str, Any]] = [dict(name=name) for name in known]
    for name, kind in (('box AP', 'bbox'), *((('mask AP', 'segm'),) if masks else ())):
        metric.metrics = [kind]
        with _quiet():
            found = metric.compute_metrics(metric.results) if any_object else {}
        values[name] = _percent(found.get(f'{kind}_mAP', 0.0))
        for row in rows:
            row[name] = _class_value(found, row['name'])
    return Measures(len(metric.results), values, None, rows, [])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the tables that pycocotools prints and mmdet logs."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _class_value(values: Dict[str, Any], name: str) -> Optional[float]:
    value = values.get(f'{name}_precision')
    return None if value is None or np.isnan(float(value)) else _percent(value)


def _sample(found: Record, number: Any, labels: Dict[int, int]) -> Dict[str, Any]:
    """A record as mmdet's metric takes it."""
    kept = [i for i, label in enumerate(found['labels']) if label in labels]
    pred = dict(
        bboxes=torch.tensor([found['boxes'][i] for i in kept]).reshape(-1, 4),
        scores=torch.tensor([found['scores'][i] for i in kept]),
        labels=torch.tensor([labels[found['labels'][i]] for i in kept], dtype=torch.long),
    )
    if found['masks'] is not None:
        pred['masks'] = [found['masks'][i] for i in kept]
    return dict(pred_instances=pred, img_id=number, ori_shape=found['size'])
