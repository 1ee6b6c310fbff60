"""The COCO files of a data set: which part of a split each is, and where its images are."""

import json
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional

from .coco_file import PARTS, AnnotationError
from .folder_roles import is_role, part_of, subfolders

_DEEP = 3  # levels of folders that are looked through
_LOOKED_AT = 20  # images that are looked for


class CocoFile(NamedTuple):
    """A file of annotations.

    Attributes:
        path: Absolute.
        part: ``'train'``, ``'validation'``, ``'test'``, or None.
        images: The folder that its file names are relative to.
    """

    path: str
    part: Optional[str]
    images: str


def find_coco(data: str, labels: Optional[str] = None) -> List[CocoFile]:
    """The COCO files in a folder, or a file itself.

    Args:
        data: A json; or a folder with one or several, in it or below.
        labels: The json, or its folder, where ``data`` is the folder of the images.

    Raises:
        FileNotFoundError: No such file or folder, no COCO file in it, or its images are nowhere.
        AnnotationError: A file that is no COCO file.
    """
    data, place = (os.path.abspath(os.path.expanduser(path)) for path in (data, labels or data))
    for path in (data, place):
        if not os.path.exists(path):
            raise FileNotFoundError(f'there is no {path!r}: a json of annotations is needed, or a folder with one')
    root = data if os.path.isdir(data) else os.path.dirname(data)
    if os.path.isfile(place):
        return [_found(place, root, None)]
    files = _of_objects([path for path in _jsons(place) if _is_coco(path)])
    if not files:
        raise FileNotFoundError(
            f'{place!r} has no json with lists of {", ".join(PARTS)}: annotations in the COCO format are needed'
        )
    found = [_found(path, root, _part(path, place)) for path in files]
    by_part: Dict[Optional[str], str] = {}
    for file in found:
        other = by_part.setdefault(file.part, file.path)
        if other != file.path:
            raise AnnotationError(
                f'{other} and {file.path} are both annotations of {file.part or "no part"}: which one is meant? Give '
                'it as data, or take away the other'
            )
    return found


def read_coco(path: str) -> Dict[str, Any]:
    """The content of a file, as it is.

    Raises:
        AnnotationError: It is no JSON.
    """
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise AnnotationError(f'{path} cannot be read as JSON: {error}') from error


def _jsons(folder: str, deep: int = _DEEP) -> List[str]:
    paths = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.lower().endswith('.json'))
    for name in subfolders(folder) if deep > 1 else ():
        paths += _jsons(os.path.join(folder, name), deep - 1)
    return [path for path in paths if os.path.isfile(path)]


def _is_coco(path: str) -> bool:
    try:
        content = read_coco(path)
    except AnnotationError:
        return False
    boxes = isinstance(content, dict) and all(isinstance(content.get(part), list) for part in PARTS)
    return boxes and all('bbox' in entry for entry in content['annotations'][:1])


def _of_objects(paths: List[str]) -> List[str]:
    """Of COCO's own files those of objects: key points are annotations of persons alone."""
    objects = [path for path in paths if os.path.basename(path).startswith('instances')]
    return objects or paths


def _part(path: str, root: str) -> Optional[str]:
    """By a word of the file's name, or by its folders below ``root``, the innermost first."""
    words = re.split('[^A-Za-z]+', os.path.splitext(os.path.basename(path))[0])
    folders = os.path.relpath(os.path.dirname(path), root).split(os.sep)[::-1]
    return next((part for name in (*words, *folders) if (part := part_of(name))), None)


def _found(path: str, root: str, part: Optional[str]) -> CocoFile:
    """The file with the folder of its images: the one near it that has the most of some."""
    content = read_coco(path)
    images = content.get('images') if isinstance(content, dict) else None
    names = [entry.get('file_name') for entry in images or () if isinstance(entry, dict)]
    names = [name for name in names if isinstance(name, str)]
    some = names[:: max(1, len(names) // _LOOKED_AT)]
    beside = os.path.dirname(path)
    places = [root, beside, *([os.path.dirname(beside)] if is_role(os.path.basename(beside)) else [])]
    places += [folder for place in dict.fromkeys(places) for folder in _below(place)]
    there = {place: sum(os.path.isfile(os.path.join(place, name)) for name in some) for place in dict.fromkeys(places)}
    best = max(there, key=lambda place: (there[place], part is not None and part_of(os.path.basename(place)) == part))
    if some and not there[best]:
        raise FileNotFoundError(
            f'{path} names {some[0]!r} and {len(names) - 1} other images, which are not in {root!r} nor in a folder '
            'near the file: give the folder of the images as data and the json as labels'
        )
    return CocoFile(path, part, best)


def _below(folder: str, deep: int = 2) -> List[str]:
    found = [os.path.join(folder, name) for name in subfolders(folder)]
    return found + [inner for place in found for inner in _below(place, deep - 1)] if deep > 1 else found
