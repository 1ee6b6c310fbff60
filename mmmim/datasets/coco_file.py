"""Check annotations in COCO's format before mmdet reads them.

mmdet silently drops annotations that it cannot use, numbers classes in the file's order whatever order is requested,
and fails on other errors in the middle of its code. Here each of these is a message of one line.
"""

import functools
import json
import math
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from .coco_outlines import usable_outline

PARTS = dict(
    images=('id', 'file_name', 'width', 'height'),
    categories=('id', 'name'),
    annotations=('id', 'image_id', 'category_id', 'bbox', 'area', 'iscrowd'),
)
SINGULAR = dict(images='image', categories='category', annotations='annotation')


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _identifier(value: Any) -> bool:
    return isinstance(value, str) or (_number(value) and not isinstance(value, bool))


# what values have to be; mmdet and pycocotools compare them without a look at their type
VALUES: Dict[str, Tuple[Callable[[Any], bool], str]] = dict(
    id=(_identifier, 'a number or a text'),
    image_id=(_identifier, 'the id of an image'),
    category_id=(_identifier, 'the id of a category'),
    file_name=(lambda value: isinstance(value, str) and value != '', 'a text'),
    name=(lambda value: isinstance(value, str) and value != '', 'a text'),
    width=(lambda value: _number(value) and value > 0, 'a number of pixels above 0'),
    height=(lambda value: _number(value) and value > 0, 'a number of pixels above 0'),
    area=(_number, 'a number of pixels'),
    iscrowd=(lambda value: isinstance(value, int) and value in (0, 1), '0 or 1'),
    bbox=(
        lambda value: isinstance(value, list) and len(value) == 4 and all(map(_number, value)),
        '[left, top, width, height] in pixels',
    ),
)


class AnnotationError(RuntimeError):
    """Annotations that are missing, unreadable, or do not fit their images, classes or model."""


class Flaw(NamedTuple):
    """An outline that cannot be used, or not in whole."""

    id: Any
    name: str  # of the class
    reason: str


@dataclass
class CocoSummary:
    """Summary of an annotation file.

    Attributes:
        path: Path of the file.
        classes: Names, in the file's order, in which mmdet numbers them.
        images: ``{id: (file name, width, height)}``.
        usable: ``{class name: number of annotations that mmdet trains on}``; crowds are not counted.
        annotated: ``{image id: classes with usable annotations}``, for images that have any.
        crowds: ``{class name: number of annotations}`` with ``iscrowd=1``.
        unusable: ``{reason: [number, ids of some]}`` of annotations that mmdet leaves out.
        broken: Objects and crowds that nothing of whose outline can be used; not counted as usable.
        in_part: Usable ones some of whose polygons cannot be used.
    """

    path: str
    classes: Tuple[str, ...]
    images: Dict[Any, Tuple[str, int, int]]
    usable: Counter = field(default_factory=Counter)
    annotated: Dict[Any, set] = field(default_factory=dict)
    crowds: Counter = field(default_factory=Counter)
    unusable: Dict[str, list] = field(default_factory=dict)
    broken: List[Flaw] = field(default_factory=list)
    in_part: List[Flaw] = field(default_factory=list)

    def count(self, classes: Sequence[str]) -> int:
        """Usable annotations of these classes."""
        return sum(self.usable[name] for name in classes)

    def remark(self) -> Optional[str]:
        """A message about annotations that are left out, if there are any."""
        parts = [_counted(number, reason, ids) for reason, (number, ids) in self.unusable.items()]
        parts += _counted_flaws(self.broken)
        words = [f'annotations that are left out: {"; ".join(parts)}'] if parts else []
        if self.in_part:
            words.append(f'annotations whose other polygons are used: {"; ".join(_counted_flaws(self.in_part))}')
        return f'{self.path}: {". ".join(words)}' if words else None


def _counted(number: int, reason: str, ids: Sequence[Any]) -> str:
    return f'{number} {reason} (id {", ".join(map(str, ids))}{" ..." if number > len(ids) else ""})'


def _counted_flaws(flaws: Iterable[Flaw]) -> List[str]:
    by_reason: Dict[str, List[Any]] = {}
    for flaw in flaws:
        by_reason.setdefault(flaw.reason, []).append(flaw.id)
    return [_counted(len(ids), reason, ids[:5]) for reason, ids in by_reason.items()]


def examine(path: str, outlines: bool = True) -> CocoSummary:
    """Read an annotation file; cached until the file changes.

    Args:
        path: Of the file.
        outlines: Whether masks are learned or measured, so that objects need a usable outline.

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
    return _examine(path, outlines, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=8)
def _examine(path: str, outlines: bool, *version: int) -> CocoSummary:
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
        _count(summary, annotation, by_id, outlines)
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
    """Check keys, kinds of values, and that ids are unique (mmdet asserts it for annotations, and mixes up images)."""
    checks = [(key, *VALUES[key]) for key in keys]
    for number, entry in enumerate(entries):
        missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise AnnotationError(
                f"{path}: number {number} of its {part} has no {', '.join(missing)}; COCO's format "
                f'has {", ".join(keys)}'
            )
        for key, fits, kind in checks:
            if not fits(entry[key]):
                which = f'number {number} of its {part}' if key == 'id' else f'{SINGULAR[part]} {entry["id"]}'
                raise AnnotationError(f'{path}: the {key} of {which} is {entry[key]!r}: it has to be {kind}')
    ids = Counter(entry['id'] for entry in entries)
    twice = [key for key, number in ids.items() if number > 1]
    if twice:
        raise AnnotationError(f'{path}: {len(twice)} ids of {part} are there twice: {_some(twice)}. Each needs its own')


def _count(summary: CocoSummary, annotation: dict, names: Dict[Any, str], outlines: bool) -> None:
    """Add an annotation to the summary, by mmdet's rules for leaving it out (``CocoDataset.parse_data_info``)."""
    key = annotation['id']
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
        return
    name = names[annotation['category_id']]
    if outlines:
        size = summary.images[annotation['image_id']][1:]
        outline, flaw = usable_outline(annotation.get('segmentation'), size)
        if flaw:
            (summary.in_part if outline else summary.broken).append(Flaw(key, name, flaw))
        if outline is None:
            return
    if annotation['iscrowd']:
        summary.crowds[name] += 1
        return
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


def check_classes(summary: CocoSummary, classes: Sequence[str], skip_broken: bool = False) -> None:
    """Check that a file has all these classes, in this order, with usable annotations.

    Args:
        summary: Of the file, by :func:`examine`.
        classes: Names.
        skip_broken: Whether the data set leaves out objects whose outline cannot be used.

    Raises:
        AnnotationError: It has not, or, without ``skip_broken``, has outlines of these classes that cannot be used.
    """
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
    broken = [flaw for flaw in summary.broken if flaw.name in classes]
    if broken and not skip_broken:
        raise AnnotationError(
            f'{summary.path}: {len(broken)} annotations have no usable outline: {"; ".join(_counted_flaws(broken))}. '
            'An outline is a list of polygons of at least three points, or run lengths of the size of the image. Mend '
            'them, or set skip_broken=True: they are then left out, in training and in what is measured'
        )
    if not summary.count(classes):
        raise AnnotationError(_why_none(summary, classes))


def _why_none(summary: CocoSummary, classes: Sequence[str]) -> str:
    found = sum(number for number, _ in summary.unusable.values()) + len(summary.broken)
    small = summary.unusable.get('with a box of less than one pixel', [0])[0]
    crowds = sum(summary.crowds[name] for name in classes)
    words = [f'{summary.path} has no annotation of the {len(classes)} classes that can be used']
    if crowds:
        words.append(
            f': {crowds} are crowds (iscrowd=1), regions of many objects that are neither learned nor measured. An '
            'object that is learned has iscrowd=0'
        )
    if found:
        words.append(f' ({(summary.remark() or "").partition(": ")[2]})')
    elif not crowds:
        words.append(f': {len(summary.images)} images, no objects')
    if small == found > 0:
        words.append(". Boxes in COCO's format are in pixels, not shares of the image")
    return ''.join(words)


def with_usable_outlines(annotations: Iterable[dict], sizes: Dict[Any, Tuple[int, int]]) -> Iterator[dict]:
    """Annotations without the outlines, or the polygons of an outline, that cannot be used.

    Args:
        annotations: As in the file.
        sizes: Width and height of images by their id; annotations of other images are left out.
    """
    for annotation in annotations:
        if annotation['image_id'] not in sizes:
            continue
        outline, flaw = usable_outline(annotation.get('segmentation'), sizes[annotation['image_id']])
        if outline is not None:
            yield dict(annotation, segmentation=outline) if flaw else annotation
