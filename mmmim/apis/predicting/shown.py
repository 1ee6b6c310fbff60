"""Which predictions a page shows, and their pictures."""

import base64
import heapq
import io
import os.path as osp
from collections import Counter, defaultdict
from itertools import zip_longest
from typing import Any, Dict, Iterable, List, Optional, Sequence, Set, Tuple

import numpy as np
from PIL import Image

from ...datasets.io.image_io import ImageReadError, ImageSource
from ...visualization.overlay import color_of
from ...visualization.predictions import read_picture
from ..trained import CLASSIFICATION, SEGMENTATION
from . import outputs
from .parts import Record
from .predictor import Predictor

MOST, SURELY_WRONG = 300, 40  # pictures of a page; of those that are wrong and surest
SIDE, QUALITY = 192, 80  # longest side of a picture in pixels, of a JPEG
AREA = 0.01  # least share of the pixels of a class that an image is found by


def page(
    records: Iterable[Record],
    predictor: Predictor,
    out: str,
    threshold: float,
    root: str,
    truth: Optional[Dict[int, Sequence[int]]],
) -> Dict[str, Any]:
    """What :func:`~mmmim.report.predictions.write_predictions` shows: ``cards``, ``classes`` and ``legend``.

    Args:
        records: Of all images; read twice.
        predictor: The model.
        out: Folder of the predictions, with the masks.
        threshold: As for the table.
        root: Folder of the images.
        truth: Classes of images by their place; None where none are known.
    """
    places, counts = _chosen(records, predictor, threshold, truth)
    cards = []
    for found in records:
        if found['place'] in places and (picture := _picture(found, predictor, out, threshold)) is not None:
            cards.append(dict(picture, **_said(found, predictor, threshold, root, truth)))
    cards.sort(key=lambda card: card['confidence'])
    there = [label for label, _ in counts.most_common()]
    classes = [dict(label=label, name=predictor.class_name(label), images=counts[label]) for label in there]
    legend = []
    if predictor.task == SEGMENTATION:
        legend = [('#%02x%02x%02x' % color_of(label), predictor.class_name(label)) for label in there[:40]]
    return dict(cards=cards, classes=classes, legend=legend, total=sum('error' not in found for found in records))


def labels_of(found: Record, predictor: Predictor, threshold: float) -> List[int]:
    """The classes that an image is found by, the main one first."""
    if predictor.task == SEGMENTATION:
        number = {name: label for label, name in enumerate(predictor.classes)}
        return [number[name] for name, share in found['areas'].items() if share >= AREA]
    if predictor.task == CLASSIFICATION and not predictor.multi_label:
        return found['labels'][:1]
    pairs = zip(found['labels'], found['scores'])
    if predictor.multi_label:
        pairs = ((label, score) for label, score in enumerate(found['scores']))
    reached = sorted(((score, label) for label, score in pairs if score >= threshold), reverse=True)
    return list(dict.fromkeys(label for _, label in reached))


def _wrong(found: Record, labels: List[int], truth: Optional[Dict[int, Sequence[int]]]) -> bool:
    return truth is not None and found['place'] in truth and sorted(labels) != sorted(truth[found['place']])


def _chosen(
    records: Iterable[Record], predictor: Predictor, threshold: float, truth: Optional[Dict[int, Sequence[int]]]
) -> Tuple[Set[int], Counter]:
    """Places of the least sure images of each class, and of wrong ones that are sure; and images of each class."""
    heaps: Dict[int, List[Tuple[float, int]]] = defaultdict(list)  # (-confidence, place): the surest goes first
    wrong: List[Tuple[float, int]] = []
    counts: Counter = Counter()
    for found in records:
        if 'error' in found:
            continue
        labels = labels_of(found, predictor, threshold)
        counts.update(labels)
        _keep(heaps[labels[0] if labels else -1], (-found['confidence'], found['place']), MOST)
        if _wrong(found, labels, truth):
            _keep(wrong, (found['confidence'], found['place']), SURELY_WRONG)
    # the least sure of every class come before the next of any
    ranks = zip_longest(*(sorted(heap, reverse=True) for heap in heaps.values()))
    order = [entry[1] for rank in ranks for entry in rank if entry is not None]
    sure = [place for _, place in wrong]
    return set(list(dict.fromkeys([*sure, *order]))[:MOST]), counts


def _keep(heap: List[Tuple[float, int]], entry: Tuple[float, int], most: int) -> None:
    if len(heap) < most:
        heapq.heappush(heap, entry)
    else:
        heapq.heappushpop(heap, entry)


def _said(
    found: Record, predictor: Predictor, threshold: float, root: str, truth: Optional[Dict[int, Sequence[int]]]
) -> Dict[str, Any]:
    labels = labels_of(found, predictor, threshold)
    names = [predictor.class_name(label) for label in labels]
    known = truth is not None and found['place'] in truth
    return dict(
        name=osp.relpath(found['file'], root),
        labels=labels,
        said=', '.join(names[:4]) or ('no class' if predictor.task == CLASSIFICATION else 'no object'),
        confidence=found['confidence'],
        truth=', '.join(predictor.class_name(label) for label in truth[found['place']]) if known and truth else '',
        wrong=_wrong(found, labels, truth),
    )


def _picture(found: Record, predictor: Predictor, out: str, threshold: float) -> Optional[Dict[str, Any]]:
    """A small JPEG as a data URL; None where the image, or its mask, cannot be read any more."""
    try:
        image = _drawn(found, predictor, out, threshold)
    except (ImageReadError, OSError):
        return None
    picture = Image.fromarray(image)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    picture.save(data, 'JPEG', quality=QUALITY)
    source = f'data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}'
    return dict(source=source, width=picture.width, height=picture.height)


def _drawn(found: Record, predictor: Predictor, out: str, threshold: float) -> np.ndarray:
    if predictor.task == CLASSIFICATION:
        source = ImageSource(found['file'], predictor.channels, predictor.value_range)
        width, height = source.size
        factor = max(width, height) / SIDE
        size = (max(round(height / factor), 1), max(round(width / factor), 1)) if factor > 1 else (height, width)
        image = source.crop((0, 0, width, height), size)
        return image[..., :3] if image.shape[2] >= 3 else image[..., :1].repeat(3, 2)
    image = read_picture(found['file'], predictor.trained.cfg)
    if predictor.task == SEGMENTATION:
        with Image.open(osp.join(out, outputs.MASKS, found['mask'])) as mask:
            return outputs.overlay(image, np.asarray(mask), predictor.classes, SIDE)
    return outputs.overlay(image, outputs.instances(found, threshold), predictor.classes, 2 * SIDE)
