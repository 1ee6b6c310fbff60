"""Check annotations in COCO's format before mmdet reads them.

mmdet silently drops annotations that it cannot use, numbers classes in the file's order whatever order is requested,
and fails on other errors in the middle of its code. Here each of these is a message of one line.
"""

import functools
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence, Tuple

PARTS = dict(
    images=('id', 'file_name', 'width', 'height'),
    categories=('id', 'name'),
    annotations=('id', 'image_id', 'category_id', 'bbox', 'area', 'iscrowd', 'segmentation'),
)


class AnnotationError(RuntimeError):
    """Annotations that are missing, unreadable, or do not fit their images, classes or model."""


@dataclass
class CocoSummary:
    """Summary of an annotation file.

    Attributes:
        path: Path of the file.
        classes: Names, in the file's order, in which mmdet numbers them.
        images: ``{id: (file name, width, height)}``.
        usable: ``{class name: number of annotations that mmdet trains on}``; crowds are not counted.
        annotated: ``{image id: classes with usable annotations}``, for images that have any.
        unusable: ``{reason: [number, ids of some]}`` of annotations that mmdet leaves out.
    """

    path: str
    classes: Tuple[str, ...]
    images: Dict[Any, Tuple[str, int, int]]
    usable: Counter = field(default_factory=Counter)
    annotated: Dict[Any, set] = field(default_factory=dict)
    unusable: Dict[str, list] = field(default_factory=dict)

    def count(self, classes: Sequence[str]) -> int:
        """Usable annotations of these classes."""
        return sum(self.usable[name] for name in classes)

    def remark(self) -> Optional[str]:
        """A message about annotations that mmdet leaves out, if there are any."""
        if not self.unusable:
            return None
        parts = [
            f'{number} {reason} (id {", ".join(map(str, ids))}{" ..." if number > len(ids) else ""})'
            for reason, (number, ids) in self.unusable.items()
        ]
        return f'{self.path}: annotations that are left out: {"; ".join(parts)}'


def examine(path: str) -> CocoSummary:
    """Read an annotation file; cached until the file changes.

    Raises:
        AnnotationError: There is no such file, it is no JSON, or not in COCO's format.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise AnnotationError(
            f'there is no file of annotations {path!r}: set data_root, or train_ann and val_ann '
            'where it has another name'
        ) from error
    return _examine(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=8)
def _examine(path: str, *version: int) -> CocoSummary:
    content = _read(path)
    for part, keys in PARTS.items():
        _check_entries(path, part, content[part], keys)
    names = [category['name'] for category in content['categories']]
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise AnnotationError(f'{path} has several categories named {twice[0]!r}: classes are told apart by their name')
    summary = CocoSummary(
        path,
        tuple(names),
        {image['id']: (image['file_name'], image['width'], image['height']) for image in content['images']},
    )
    by_id = {category['id']: category['name'] for category in content['categories']}
    for annotation in content['annotations']:
        _count(summary, annotation, by_id)
    return summary


def _read(path: str) -> dict:
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise AnnotationError(f'{path} cannot be read as JSON: {error}') from error
    missing = [part for part in PARTS if not isinstance(content, dict) or not isinstance(content.get(part), list)]
    if missing:
        raise AnnotationError(
            f"{path} has no list of {', '.join(missing)}: it has to be in COCO's format, an object "
            f'with lists of {", ".join(PARTS)}'
        )
    for part in ('images', 'categories'):
        if not content[part]:
            raise AnnotationError(f'{path} has no {part}: its list of them is empty')
    return content


def _check_entries(path: str, part: str, entries: List[Any], keys: Sequence[str]) -> None:
    """Check that all keys are present and ids unique (mmdet asserts it for annotations, and mixes up images)."""
    for number, entry in enumerate(entries):
        missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
        if missing == ['segmentation']:
            raise AnnotationError(
                f'{path}: annotation {entry["id"]} has no `segmentation`: the mask head needs the '
                'outline (polygons or run lengths) of every object'
            )
        if missing:
            raise AnnotationError(
                f"{path}: number {number} of its {part} has no {', '.join(missing)}; COCO's format "
                f'has {", ".join(keys)}'
            )
    ids = Counter(entry['id'] for entry in entries)
    twice = [key for key, number in ids.items() if number > 1]
    if twice:
        raise AnnotationError(f'{path}: {len(twice)} ids of {part} are there twice: {_some(twice)}. Each needs its own')


def _count(summary: CocoSummary, annotation: dict, names: Dict[Any, str]) -> None:
    """Add an annotation to the summary, by mmdet's rules for leaving it out (``CocoDataset.parse_data_info``)."""
    box, key = annotation['bbox'], annotation['id']
    if not (isinstance(box, list) and len(box) == 4 and all(isinstance(value, (int, float)) for value in box)):
        raise AnnotationError(
            f'{summary.path}: the bbox of annotation {key} is {box!r}: it has to be [left, top, '
            'width, height] in pixels'
        )
    if annotation['category_id'] not in names:
        raise AnnotationError(
            f'{summary.path}: annotation {key} has the category_id {annotation["category_id"]}, '
            f'which is none of the categories: {_some(names)}'
        )
    reason = _why_unusable(summary, annotation)
    if reason:
        entry = summary.unusable.setdefault(reason, [0, []])
        entry[0] += 1
        entry[1] += [key] if len(entry[1]) < 3 else []
    elif not annotation['iscrowd']:
        name = names[annotation['category_id']]
        summary.usable[name] += 1
        summary.annotated.setdefault(annotation['image_id'], set()).add(name)


def _why_unusable(summary: CocoSummary, annotation: dict) -> Optional[str]:
    if annotation['image_id'] not in summary.images:
        return 'of images that the file does not list'
    if annotation.get('ignore'):
        return 'marked `ignore`'
    left, top, width, height = annotation['bbox']
    if width < 1 or height < 1:
        return 'with a box of less than one pixel'
    _, image_width, image_height = summary.images[annotation['image_id']]
    if min(left + width, image_width) <= max(left, 0) or min(top + height, image_height) <= max(top, 0):
        return 'with a box outside of the image'
    return 'with an area of 0' if annotation['area'] <= 0 else None


def _some(values: Any) -> str:
    values = list(values)
    return f'{", ".join(map(str, values[:5]))}{" ..." if len(values) > 5 else ""}'


def check_classes(summary: CocoSummary, classes: Sequence[str]) -> None:
    """Raise AnnotationError unless a file has all these classes, in this order, with usable annotations."""
    classes = list(classes)
    missing = [name for name in classes if name not in summary.classes]
    if missing:
        raise AnnotationError(
            f'{summary.path} has no class {", ".join(map(repr, missing))}. Classes asked for: '
            f'{", ".join(classes)}. In the file: {", ".join(summary.classes)}'
        )
    in_order = [name for name in summary.classes if name in classes]
    if in_order != classes:
        raise AnnotationError(
            f'mmdet counts classes in the order of the file, {summary.path}: {", ".join(in_order)}; '
            f'asked for are {", ".join(classes)}: name them in the same order, in all files'
        )
    if not summary.count(classes):
        found = sum(number for number, _ in summary.unusable.values())
        small = summary.unusable.get('with a box of less than one pixel', [0])[0]
        raise AnnotationError(
            f'{summary.path} has no annotation of the {len(classes)} classes that can be used'
            + (f' ({summary.remark().partition(": ")[2]})' if found else f': {len(summary.images)} images, no objects')
            + (". Boxes in COCO's format are in pixels, not shares of the image" if small == found > 0 else '')
        )
