"""The files of predictions: a table, index masks, overlays, results in COCO's format."""

import csv
import io
import json
import os.path as osp
from collections import Counter
from typing import IO, Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np
import torch
from mmengine.structures import InstanceData
from PIL import Image

from ...checkpoint import atomic_write_bytes
from ...checkpoint.write import atomic_write
from ...visualization.overlay import enlarged, paint_instances, paint_mask
from .parts import MASKS, Record
from .results import Classification, Result, Segmentation

OVERLAY_SIDE = 2048  # longest side of an overlay


class Names:
    """Names of files that belong to images: those of the images, with another ending.

    Args:
        images: Paths below their common folder. Where two differ in their ending alone, both keep it.
    """

    def __init__(self, images: Sequence[str]) -> None:
        self.images = images
        self._stems = Counter(osp.splitext(name)[0] for name in images)

    def of(self, index: int, ending: str) -> str:
        """Such as ``'a/1.png'`` of ``'a/1.jpg'``."""
        stem, _ = osp.splitext(self.images[index])
        return f'{self.images[index] if self._stems[stem] > 1 else stem}{ending}'


def record(result: Result, scores: Optional[List[float]] = None) -> Record:
    """A result as plain values, without a mask of the whole image."""
    if isinstance(result, Classification):
        values: Record = dict(labels=result.labels, probabilities=[round(p, 6) for p in result.probabilities])
        if scores is not None:
            values['scores'] = [round(score, 6) for score in scores]
    elif isinstance(result, Segmentation):
        values = dict(size=list(result.mask.shape), areas=result.areas)
    else:
        values = dict(
            boxes=result.boxes.astype(float).round(2).tolist(),
            scores=result.scores.astype(float).round(5).tolist(),
            labels=result.labels.tolist(),
            masks=None if result.masks is None else [run_lengths(mask) for mask in result.masks],
        )
    return dict(values, confidence=round(result.confidence, 6))


def run_lengths(mask: np.ndarray) -> Dict[str, Any]:
    """A mask ``[H, W]`` as COCO's run lengths."""
    from pycocotools import mask as coco

    found = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(size=list(map(int, found['size'])), counts=found['counts'].decode())


def instances(found: Record, score: float) -> InstanceData:
    """The objects of a record that have at least this score, as :func:`~..paint_instances` draws them."""
    from pycocotools import mask as coco

    kept = [i for i, value in enumerate(found['scores']) if value >= score]
    values = dict(
        bboxes=np.array([found['boxes'][i] for i in kept], np.float32).reshape(-1, 4),
        labels=np.array([found['labels'][i] for i in kept], np.int64),
    )
    if found['masks'] is not None and kept:
        values['masks'] = torch.from_numpy(np.stack([coco.decode(found['masks'][i]) for i in kept]).astype(bool))
    return InstanceData(**values)


def write_mask(mask: np.ndarray, path: str) -> None:
    """An index mask as PNG: grey values are the numbers of the classes."""
    data = io.BytesIO()
    Image.fromarray(mask).save(data, 'PNG')
    atomic_write_bytes(data.getvalue(), path)


def overlay(image: np.ndarray, result: Any, classes: Sequence[str], most: int = OVERLAY_SIDE) -> np.ndarray:
    """``[h, w, 3]`` uint8: a prediction over its image, which is brought to at most so many pixels a side first.

    Args:
        image: ``[H, W, 3]`` uint8.
        result: An index mask ``[H, W]``, or instances in pixels of the image.
        classes: Names for the instances.
        most: Longest side of the result.
    """
    factor = max(image.shape[:2]) / most
    if factor > 1:
        size = (max(round(image.shape[1] / factor), 1), max(round(image.shape[0] / factor), 1))
        small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        rows = (np.arange(size[1]) * image.shape[0] // size[1])[:, None]
        columns = np.arange(size[0]) * image.shape[1] // size[0]
        if isinstance(result, np.ndarray):
            return paint_mask(small, result[rows, columns], -1)
        values = dict(bboxes=result.bboxes / factor, labels=result.labels)
        if 'masks' in result:
            values['masks'] = torch.from_numpy(result.masks.numpy()[:, rows, columns])
        return paint_instances(small, InstanceData(**values), classes)
    tile, times = enlarged(image)
    if isinstance(result, np.ndarray):
        return paint_mask(tile, result, -1, times)
    return paint_instances(tile, result, classes, times)


def write_overlay(picture: np.ndarray, path: str) -> None:
    """As JPEG."""
    data = io.BytesIO()
    Image.fromarray(picture).save(data, 'JPEG', quality=88)
    atomic_write_bytes(data.getvalue(), path)


# ------------------------------------------------------------------------------------------------------------ the table


class Column(NamedTuple):
    """A column of ``predictions.csv``: its title, and its value for a record."""

    title: str
    value: Callable[[Record], Any]


def separator(classes: Sequence[str]) -> str:
    """What stands between several classes in a cell: none of them has it."""
    return next((mark for mark in (';', '|') if not any(mark in name for name in classes)), ';')


def columns(task: str, classes: Sequence[str], multi_label: bool, threshold: float) -> List[Column]:
    """Of a task; the first is the file, and the second what the model says."""
    mark = separator(classes)
    file = Column('file', lambda found: found['file'])
    sure = Column('confidence', lambda found: f'{found["confidence"]:.4f}')
    if task == 'classification' and not multi_label:
        best = Column('class', lambda found: classes[found['labels'][0]])
        return [file, best, Column('probability', lambda found: f'{found["probabilities"][0]:.4f}')]
    if task == 'classification':
        several = Column('labels', lambda found: mark.join(classes[i] for i in _reached(found['scores'], threshold)))
        values = Column(
            'probabilities',
            lambda found: mark.join(f'{found["scores"][i]:.4f}' for i in _reached(found['scores'], threshold)),
        )
        return [file, several, values, sure]
    if task == 'segmentation':
        shares = Column('areas', lambda found: mark.join(f'{name}:{p:.4f}' for name, p in found['areas'].items()))
        return [file, Column('mask', lambda found: f'{MASKS}/{found["mask"]}'), shares, sure]
    counted = Column('objects', lambda found: sum(score >= threshold for score in found['scores']))
    kinds = Column('classes', lambda found: mark.join(_counts(found, classes, threshold)))
    return [file, counted, kinds, sure]


def _reached(scores: Sequence[float], threshold: float) -> List[int]:
    return sorted((i for i, score in enumerate(scores) if score >= threshold), key=lambda i: -scores[i])


def _counts(found: Record, classes: Sequence[str], threshold: float) -> Iterator[str]:
    seen = [label for label, score in zip(found['labels'], found['scores']) if score >= threshold]
    for label, count in Counter(seen).most_common():
        yield f'{classes[label]}:{count}'


def write_table(path: str, of: Sequence[Column], records: Iterable[Record]) -> int:
    """Write a csv, row by row; returns the number of its rows."""
    count = 0

    def write(stream: IO[bytes]) -> None:
        nonlocal count
        text = io.TextIOWrapper(stream, 'utf-8', 'surrogateescape', newline='')  # names that are not UTF-8
        table = csv.writer(text, lineterminator='\n')
        table.writerow([column.title for column in of])
        for found in records:
            table.writerow([column.value(found) for column in of])
            count += 1
        text.flush()
        text.detach()

    atomic_write(path, write)
    return count


# ---------------------------------------------------------------------------------------------------------- COCO's form


def write_coco(path: str, records: Iterable[Record], image_ids: Callable[[Record], Any], categories: List[dict]) -> int:
    """Write results in COCO's format, object by object; returns their number.

    Args:
        path: The file.
        records: Of a detector.
        image_ids: The id of the image of a record.
        categories: ``id`` and ``name`` of each class, in the order of the model's outputs.
    """

    def objects() -> Iterator[Dict[str, Any]]:
        for found in records:
            for i, (box, score, label) in enumerate(zip(found['boxes'], found['scores'], found['labels'])):
                left, top, right, bottom = box
                values = dict(
                    image_id=image_ids(found),
                    category_id=categories[label]['id'],
                    bbox=[left, top, round(right - left, 2), round(bottom - top, 2)],
                    score=score,
                )
                yield dict(values, segmentation=found['masks'][i]) if found['masks'] is not None else values

    return _write_list(path, objects(), '[', ']')


def write_coco_images(
    path: str, records: Iterable[Record], image_ids: Callable[[Record], Any], root: str, categories: List[dict]
) -> int:
    """Write the images of the results, as COCO's annotations list them: file names are relative to ``root``."""
    images = (
        dict(
            id=image_ids(found),
            file_name=osp.relpath(found['file'], root),
            width=found['size'][1],
            height=found['size'][0],
        )
        for found in records
    )
    head = json.dumps(dict(info=dict(root=root), categories=categories))[:-1]
    return _write_list(path, images, f'{head}, "images": [', ']}')


def _write_list(path: str, items: Iterable[Any], head: str, tail: str) -> int:
    count = 0

    def write(stream: IO[bytes]) -> None:
        nonlocal count
        stream.write(head.encode())
        for item in items:
            stream.write((',\n' if count else '\n').encode() + json.dumps(item).encode())
            count += 1
        stream.write(f'\n{tail}\n'.encode())

    atomic_write(path, write)
    return count
