"""Which task labelled data is for, and whether its toolbox is installed."""

import glob
import importlib.util
import os
import os.path as osp
import re
from typing import List, NamedTuple, Optional, Sequence, TextIO

from ...config.paths import relative_to_here
from ...datasets.folder_roles import TRAIN, find_split, leave_out_masks, split_folders, subfolders
from ...datasets.image_tables import FILE_COLUMNS
from ...datasets.inputs import Data, names_tars
from ...datasets.io.file_list import list_images
from ..trained import CLASSIFICATION, DETECTION, SEGMENTATION

# the toolbox of a task, and the extra of the package that brings it
TOOLBOXES = {
    CLASSIFICATION: ('mmpretrain', 'toolboxes'),
    SEGMENTATION: ('mmseg', 'toolboxes'),
    DETECTION: ('mmdet', 'detection'),
}
_FORMS = (
    'labelled images are class folders or a csv of (file, label) for classification, a folder of images and one of '
    'masks for segmentation, a COCO json for detection'
)
_HEAD = 1 << 16  # bytes of a file that tell what it is
_MOST = 2000  # files of a folder among which masks are looked for
_POINTS = re.compile(r'(landmarks?|key_?points?|x_?\d+|y_?\d+)(_?[xy])?')


class Task(NamedTuple):
    """A task and, in words, what told it."""

    name: str
    reason: str


def find_task(data: Data, labels: Optional[str] = None) -> Task:
    """The task that labelled data is for.

    Args:
        data: As of :func:`mmmim.finetune`.
        labels: Likewise; where given, it alone tells.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: It is of no task, or of facial landmarks.
    """
    sources = [data] if isinstance(data, (str, os.PathLike)) else list(data)
    source = osp.expanduser(str(labels if labels is not None else sources[0]) if labels or sources else '')
    if not source:
        raise ValueError(f'data names nothing: {_FORMS}')
    if not osp.exists(source) and not names_tars(source):
        raise FileNotFoundError(f'there is no {source!r}: {_FORMS}')
    if names_tars(source):
        return Task(CLASSIFICATION, f'{relative_to_here(source)} is tars of labelled images')
    if osp.isdir(source):
        return _of_folder(source, None if labels is None else sources[0] if sources else None)
    return _of_file(source)


def _of_file(path: str) -> Task:
    shown = relative_to_here(path)
    kind = osp.splitext(path)[1].lower()
    with open(path, encoding='utf-8', errors='replace') as file:
        head = file.read(_HEAD)
        coco = kind == '.json' and _is_coco(head, file)
    first = head.partition('\n')[0]
    if kind == '.json':
        if not coco:
            raise ValueError(f'{shown} is no COCO file: it has none of images, annotations, categories. {_FORMS}')
        _refuse_points(shown, '"keypoints"' in head)
        return Task(DETECTION, f'{shown} is a COCO file')
    if kind in ('.csv', '.tsv', '.txt', '.lst', '.list'):
        words = [word.strip().lower() for word in re.split(r'[,;\t|]', first)]
        named = sum(bool(_POINTS.fullmatch(word)) for word in words)
        numbers = [_is_number(word) for word in first.split()]
        _refuse_points(shown, named > 1 and any(w in FILE_COLUMNS for w in words) or sum(numbers) > 20)
        return Task(CLASSIFICATION, f'{shown} is a table of files and labels')
    raise ValueError(f'{shown} is none that is known: {_FORMS}')


def _of_folder(folder: str, images: Optional[str] = None) -> Task:
    """``images``: the folder with the images, where this one has the labels."""
    shown = relative_to_here(folder)
    jsons = coco_files(folder)
    if jsons:
        with open(jsons[0], encoding='utf-8', errors='replace') as file:
            head = file.read(_HEAD)
        _refuse_points(shown, '"keypoints"' in head)
        return Task(DETECTION, f'{relative_to_here(jsons[0])} is a COCO file')
    if any(name.startswith('list_98pt') for name in os.listdir(folder)):
        _refuse_points(shown, True)
    files = list_images(folder)
    found = leave_out_masks(folder, files if len(files) <= _MOST else _some(files))
    if found.said:
        return Task(SEGMENTATION, found.said[0].replace('left out, as masks', 'masks').removeprefix('WARNING: '))
    if not files:
        raise ValueError(f'{shown} has no images: {_FORMS}')
    if len(subfolders(_training_part(folder))) < 2:
        if images is not None and osp.isdir(images) and files:
            return Task(SEGMENTATION, f'{shown} has pictures in no folders of classes: masks of the images in {images}')
        raise ValueError(
            f'{folder!r} has no labels: its images lie in no folders of classes, and there are neither masks nor '
            f'a COCO json. {_FORMS[0].upper()}{_FORMS[1:]}'
        )
    return Task(CLASSIFICATION, f'{shown} has folders of classes')


def _training_part(folder: str) -> str:
    place = find_split(folder)
    return osp.join(place, split_folders(place).get(TRAIN, ''))


def coco_files(folder: str) -> List[str]:
    """The COCO files in a folder, in ``annotations/`` or in the folders of its parts, sorted."""
    root = glob.escape(folder)
    paths = [path for pattern in ('*.json', '*/*.json') for path in glob.glob(osp.join(root, pattern))]
    found = []
    for path in sorted(paths):
        with open(path, encoding='utf-8', errors='replace') as file:
            if _is_coco(file.read(_HEAD), file):
                found.append(path)
    return found


def _is_coco(head: str, rest: TextIO) -> bool:
    """By the first characters; where they have a long list of one kind, by the whole file."""
    return _has_keys(head) or (('"annotations"' in head or '"images"' in head) and _has_keys(head + rest.read()))


def _has_keys(text: str) -> bool:
    return sum(f'"{key}"' in text for key in ('images', 'annotations', 'categories', 'info', 'licenses')) >= 2 or (
        '"images"' in text and '"file_name"' in text
    )


def _refuse_points(shown: str, points: bool) -> None:
    if points:
        raise ValueError(
            f'{shown} has landmarks, which `finetune` does not train: there are configs for them, such as '
            'configs/downstream/landmarks/vit-b_wflw_upernet_crossmae.py (mmmim train)'
        )


def _is_number(word: str) -> bool:
    return re.fullmatch(r'-?\d+(\.\d+)?', word) is not None


def _some(files: Sequence[str]) -> List[str]:
    """Images of all folders: the first of each, and masks with the images that they belong to."""
    by_folder: dict = {}
    for file in files:
        by_folder.setdefault(osp.dirname(file), []).append(file)
    share = max(1, _MOST // len(by_folder))
    return sorted(file for group in by_folder.values() for file in group[:share])


def check_toolbox(task: str) -> None:
    """Raise ModuleNotFoundError, with what to install, where the toolbox of a task is missing."""
    toolbox, extra = TOOLBOXES[task]
    if importlib.util.find_spec(toolbox) is None:
        raise ModuleNotFoundError(
            f'{task} needs {toolbox}, which is not installed: MMCV_WITH_OPS=0 pip install ".[{extra}]" in a clone',
            name=toolbox,
        )
