"""Which mask belongs to which image, in the layouts that data sets of segmentation have; and what their classes are.

======================================================  ===============================================================
layout                                                  example
======================================================  ===============================================================
a folder of images and one of masks, parts below        ``images/training/a.jpg``, ``annotations/training/a.png``
the same, parts above                                   ``train/images/a.jpg``, ``train/masks/a.png``
Pascal VOC                                              ``JPEGImages/a.jpg``, ``SegmentationClass/a.png``
masks beside their images                               ``a.jpg``, ``a_mask.png``
Cityscapes                                              ``leftImg8bit/train/x/a_leftImg8bit.png``, ``gtFine/...``
CamVid                                                  ``train/a.png``, ``trainannot/a.png``
======================================================  ===============================================================
"""

import csv
import json
import os
import re
from collections import defaultdict
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from .folder_roles import TEST, TRAIN, VALIDATION, identity_of, masks_by_content, masks_by_name, part_of
from .io.file_list import list_images, names_in_words
from .mask_folder import MASK_EXTENSIONS

# of several masks of an image: class numbers before numbers of objects and before colours
_PREFERRED = ('labeltrainid', 'labelid', 'segmentationclass')
_LAST = re.compile('instance|object|colou?r|trimap')
_VOC_LISTS = {TRAIN: 'train.txt', VALIDATION: 'val.txt', TEST: 'test.txt'}
_NAME_FILES = ('meta.json', 'classes.json', 'classes.txt', 'codes.txt', 'labels.txt', 'class_names.txt', '_classes.csv')


class Pair(NamedTuple):
    """An image and its mask, relative to a common folder, and the part of a split that it is in (None: in none)."""

    image: str
    mask: str
    part: Optional[str]


class Pairs(NamedTuple):
    """Content of a folder.

    Attributes:
        root: The folder that paths are relative to.
        pairs: Sorted by image.
        said: Sentences on what was left out.
    """

    root: str
    pairs: List[Pair]
    said: List[str]


def find_pairs(images: str, masks: Optional[str] = None) -> Pairs:
    """The images with masks in a folder; see the head of this module.

    Args:
        images: The folder.
        masks: The folder of the masks, where it is another one. They have the names of their images.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: There are no masks, an image has several that may be meant, or they are JPEG files.
    """
    images = _folder(images)
    if masks is None:
        root, files = images, list_images(images)
        found, alone = _inside(root, files)
    else:
        masks = _folder(masks)
        root = os.path.commonpath([images, masks])
        files = [_below(root, images, file) for file in list_images(images)]
        found, alone = _of_two(root, images, masks)
    if not found:
        raise ValueError(
            f'{images!r} has no images with masks: a mask has the name of its image, in a folder such as masks/ beside '
            'images/, or with an ending such as _mask'
        )
    lossy = [mask for mask in found.values() if not mask.lower().endswith(MASK_EXTENSIONS)]
    if lossy:
        raise ValueError(f'{lossy[0]} is a mask in a format that changes pixels: class numbers need PNG (or TIFF, BMP)')
    said = []
    taken = {*found, *found.values(), *alone}
    without = [file for file in files if file not in taken]
    if without:
        said.append(f'{len(without):,} images without a mask are left out: {names_in_words(without, 3)}')
    if alone:
        said.append(f'{len(alone):,} masks without an image are left out: {names_in_words(alone, 3)}')
    parts = _voc_parts(root)
    above = os.path.relpath(images, root)  # where the masks are elsewhere; its name says no part: all are in it
    return Pairs(
        root,
        [
            Pair(image, mask, _part(os.path.relpath(image, above)) or parts.get(_stem(image)))
            for image, mask in sorted(found.items())
        ],
        said,
    )


def _folder(path: str) -> str:
    path = os.path.abspath(os.path.expanduser(path))
    if not os.path.isdir(path):
        raise FileNotFoundError(f'there is no folder {path!r}: images and masks are folders')
    return path


def _below(root: str, folder: str, file: str) -> str:
    return os.path.relpath(os.path.join(folder, file), root)


def _stem(file: str) -> str:
    return os.path.splitext(os.path.basename(file))[0]


def _inside(root: str, files: List[str]) -> Tuple[Dict[str, str], List[str]]:
    """``{image: mask}`` of files that lie together, and the masks that have no image."""
    groups = masks_by_name(files)
    candidates: Dict[str, List[str]] = defaultdict(list)
    alone: List[str] = []
    for members in groups.values():
        for mask, image in members.items():
            if image is None:
                alone.append(mask)
            else:
                candidates[image].append(mask)
    if not candidates:
        candidates, alone = _by_content(root, files), []
    return {image: _best(image, masks) for image, masks in candidates.items()}, alone


def _by_content(root: str, files: List[str]) -> Dict[str, List[str]]:
    """Masks that only their pixels tell, each with the image of the same name in the folder that is named most like
    theirs (``trainannot`` and ``train``)."""
    groups = masks_by_content(root, files)
    masks = {file for members in groups.values() for file in members}
    by_name: Dict[str, List[str]] = defaultdict(list)
    for file in files:
        if file not in masks:
            by_name[os.path.splitext(file.partition('/')[2] or file)[0]].append(file)
    found: Dict[str, List[str]] = defaultdict(list)
    for members in groups.values():
        for mask, image in members.items():
            named = [image] if image else by_name[os.path.splitext(mask.partition('/')[2])[0]]
            if named:
                found[max(named, key=lambda file: len(os.path.commonprefix([file, mask])))].append(mask)
    return found


def _of_two(root: str, images: str, masks: str) -> Tuple[Dict[str, str], List[str]]:
    """The same of two folders."""
    by_identity = {identity_of(file, whole=True): _below(root, images, file) for file in list_images(images)}
    candidates: Dict[str, List[str]] = defaultdict(list)
    alone: List[str] = []
    for file in list_images(masks):
        image = by_identity.get(identity_of(file, whole=True)) or by_identity.get(identity_of(file))
        mask = _below(root, masks, file)
        if image is None:
            alone.append(mask)
        elif image != mask:
            candidates[image].append(mask)
    return {image: _best(image, found) for image, found in candidates.items()}, alone


def _best(image: str, masks: List[str]) -> str:
    ranked = sorted(masks, key=_rank)
    if len(ranked) > 1 and _rank(ranked[0]) == _rank(ranked[1]):
        raise ValueError(
            f'{image} has several masks: {names_in_words(ranked, 4)}. Which one is meant? Give the folder of the masks '
            'as labels, or take away the others'
        )
    return ranked[0]


def _rank(mask: str) -> int:
    name = mask.lower()
    for place, word in enumerate(_PREFERRED):
        if word in name:
            return place
    return 9 if _LAST.search(name) else 5


def _part(image: str) -> Optional[str]:
    """Of the first folder that is named like a part."""
    return next((part for name in image.split('/')[:-1] if (part := part_of(name))), None)


def _voc_parts(root: str) -> Dict[str, str]:
    """By the stem of an image, from the lists of Pascal VOC."""
    parts: Dict[str, str] = {}
    for part, name in _VOC_LISTS.items():
        path = os.path.join(root, 'ImageSets', 'Segmentation', name)
        if os.path.isfile(path):
            with open(path, encoding='utf-8') as lines:
                parts.update({line.strip(): part for line in lines if line.strip()})
    return parts


# ------------------------------------------------------------------------------------------------------------- classes


def class_names(folder: str) -> Optional[Tuple[str, List[str]]]:
    """The file with the names of classes in a folder, and the names in their order; None where there is none.

    Known are a json with ``classes`` (or a list, or names by number), a text with a name a line, and the table
    ``_classes.csv`` of (number, name).

    Raises:
        ValueError: The file cannot be read as names.
    """
    for name in _NAME_FILES:
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            continue
        try:
            with open(path, encoding='utf-8-sig', newline='') as file:
                names = _read_names(name, file)
        except (OSError, ValueError, TypeError, IndexError) as error:
            raise ValueError(f'{path} cannot be read as names of classes: {error}') from None
        if names:
            return path, names
    return None


def _read_names(name: str, file: Any) -> Optional[List[str]]:
    if name.endswith('.json'):
        content = json.load(file)
        content = content.get('classes') if isinstance(content, dict) and 'classes' in content else content
        if isinstance(content, dict) and all(key.isdecimal() for key in content):
            content = [content[key] for key in sorted(content, key=int)]
        if not isinstance(content, list):
            return None
        return [str(entry['name'] if isinstance(entry, dict) else entry) for entry in content]
    if name.endswith('.csv'):
        rows = [row for row in csv.reader(file) if len(row) > 1 and row[0].strip().isdecimal()]
        return [row[1].strip() for row in sorted(rows, key=lambda row: int(row[0]))]
    return [line.strip() for line in file if line.strip()]


class Classes(NamedTuple):
    """How values of masks are read.

    Attributes:
        names: Of the classes, in the order of their numbers.
        reduce_zero_label, label_map: See :class:`~mmmim.datasets.MaskFolder`.
        reason: In words.
    """

    names: List[str]
    reduce_zero_label: bool
    label_map: Dict[int, int]
    reason: str


def classes_of(values: List[int], names: Optional[List[str]] = None, source: str = '') -> Classes:
    """The classes that the values of all masks stand for; 255 is none unless there is but one other value.

    Fewer than two values become two classes: the check of masks says what is missing.

    Args:
        values: All that occur, sorted.
        names: Of the classes, where a file has them.
        source: That file.
    """
    inner = [value for value in values if value != 255]
    if names and not (len(names) == 2 and len(inner) == 1 and 255 in values):
        reduced = bool(inner) and max(inner) == len(names)  # 0 unlabelled, class k stored as k + 1
        how = f'names of {os.path.basename(source)}' + ('; 0 is unlabelled' if reduced else f'; 0 is {names[0]}')
        return Classes(names, reduced, {}, how)
    if len(inner) == 1 and 255 in values:
        return Classes(
            names or [str(inner[0]), '255'],
            False,
            {value: label for label, value in enumerate([*inner, 255]) if value != label},
            '255 is the other class',
        )
    count = len(inner)
    ignored = '; 255 is ignored' * (255 in values)
    if count < 2:
        alone = [str(value) for value in inner]
        return Classes([*alone, *map(str, range(count, 2))], False, {value: 0 for value in inner if value}, 'of masks')
    if inner == list(range(count)):
        return Classes([str(value) for value in inner], False, {}, f'values 0 to {count - 1} of the masks{ignored}')
    if inner == list(range(1, count + 1)):
        return Classes(
            [str(value) for value in inner], True, {}, f'values 1 to {count} of the masks, none of which is 0{ignored}'
        )
    mapping = {value: label for label, value in enumerate(inner) if value != label}
    return Classes([str(value) for value in inner], False, mapping, f'the {count} values that masks have{ignored}')
