"""Labels that predictions are measured by: classes of images, index masks, COCO annotations."""

import json
import os
import os.path as osp
from collections import defaultdict
from typing import Any, Dict, Iterable, List, NamedTuple, Sequence, Set, Tuple

import numpy as np
from mmengine.config import Config

from ...config.classification import name_of
from ...datasets.coco_file import examine
from ...datasets.image_tables import Finder, read_rows
from ...datasets.inputs import read_data
from ...datasets.io.file_list import list_images
from ...datasets.io.image_io import ImageSource
from ...datasets.mask_folder import MASK_EXTENSIONS
from ...registry import TRANSFORMS
from ..several_labels import label_rows

SHOWN = 5


class Truth(NamedTuple):
    """What is known of some of the images.

    Attributes:
        of: By the place of an image: numbers of its classes, the file of its mask, or its id in the annotations.
        notes: Sentences on what is not measured.
    """

    of: Dict[int, Any]
    notes: List[str]


def read_classes(labels: str, root: str, files: Sequence[str], classes: Sequence[str], multi_label: bool) -> Truth:
    """The classes of images by a csv file, class folders or tars.

    Args:
        labels: As :class:`~mmmim.apis.label_split.LabelSplit` takes them; of a multi-label model a cell names several
            classes, with ``;`` or ``|`` between them, a file stands in several rows, or each class has a column of 0
            and 1, by which an image may have none.
        root: Where the files of a csv are looked for first.
        files: Absolute paths of the images that are predicted.
        classes: Names of the model's classes.
        multi_label: Whether an image may have several.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: It has no labels of these images, or an image has two classes.
    """
    labels = osp.abspath(osp.expanduser(labels))
    if not osp.exists(labels):
        raise FileNotFoundError(f'there is no {labels!r}: labels are a csv file (file, label) or class folders')
    table = osp.isfile(labels) and not labels.lower().endswith('.tar')
    named: Dict[str, Set[str]] = defaultdict(set)
    for file, given in _of_table(labels, root, multi_label) if table else _of_folders(labels):
        named[osp.realpath(file)].update(given)
    number = {name: label for label, name in enumerate(classes)}
    found: Dict[int, Any] = {}
    unknown: Dict[str, int] = defaultdict(int)
    for place, file in enumerate(files):
        names = named.get(osp.realpath(file))
        if names is None:
            continue
        if not multi_label and len(names) > 1:
            raise ValueError(f'{labels} gives {file} several labels, {", ".join(sorted(names))}: keep one')
        absent = [name for name in names if name not in number]
        for name in absent:
            unknown[name] += 1
        if not absent:
            found[place] = sorted(number[name] for name in names)
    if not found:
        what = f'the model has not its classes, such as {next(iter(unknown))!r}' if unknown else 'it names none of them'
        raise ValueError(f'{labels} has no labels of the {len(files)} images: {what}')
    return Truth(found, _notes(len(files), found, unknown))


def _notes(count: int, found: Dict[int, Any], unknown: Dict[str, int]) -> List[str]:
    notes = []
    if unknown:
        shown = ', '.join(f'{name} ({images})' for name, images in list(unknown.items())[:SHOWN])
        notes.append(f'images of classes that the model does not have are not measured: {shown}')
    if len(found) < count:
        notes.append(f'{len(found)} of the {count} images have a label')
    return notes


def _of_folders(labels: str) -> Iterable[Tuple[str, List[str]]]:
    found = read_data(labels)
    for part in filter(None, (found.train, found.held_out)):
        if part.classes is None:
            raise ValueError(f'{labels} has no classes: images lie in a folder of their class each')
        for name, label in zip(part.names, part.classes):
            yield osp.join(part.root, name), [label]


def _of_table(labels: str, root: str, multi_label: bool) -> Iterable[Tuple[str, List[str]]]:
    find = Finder([root, osp.dirname(labels)])
    table = label_rows(read_rows(labels), find, labels, multi_label)
    for name, given in table.rows:
        file = find(name)
        if file is not None and (given or table.columns is not None):  # an empty cell says nothing, a row of 0 does
            yield file, given


class Masks:
    """Index masks with the names of images, read as the model's data set reads them.

    Args:
        folder: Of the masks; a mask has the path of its image below ``root``, or its name alone where only one has it.
        root: Folder of the images.
        names: Of the images, relative to ``root``.
        cfg: Config of the model: ``label_map`` and ``reduce_zero_label`` are its test data set's.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: No image has a mask, or one is of another size than its image.
    """

    def __init__(self, folder: str, root: str, names: Sequence[str], cfg: Config) -> None:
        folder = osp.abspath(osp.expanduser(folder))
        if not osp.isdir(folder):
            raise FileNotFoundError(f'there is no folder {folder!r}: labels of a segmentor are a folder of masks')
        by_path: Dict[str, str] = {}
        by_name: Dict[str, List[str]] = defaultdict(list)
        for file in list_images(folder, MASK_EXTENSIONS):
            stem = osp.splitext(file)[0]
            by_path[stem] = osp.join(folder, file)
            by_name[osp.basename(stem)].append(osp.join(folder, file))
        self.of: Dict[int, str] = {}
        for place, name in enumerate(names):
            stem = osp.splitext(name)[0]
            alone = by_name.get(osp.basename(stem), [])
            mask = by_path.get(stem) or (alone[0] if len(alone) == 1 else None)
            if mask is not None and osp.realpath(mask) != osp.realpath(osp.join(root, name)):
                self.of[place] = mask
        if not self.of:
            first = f'{osp.splitext(names[0])[0]}.png'
            raise ValueError(f'{folder} has no mask of the {len(names)} images, such as {first}')
        self._check_sizes(root, names)
        dataset = cfg.test_dataloader.dataset
        stored = cfg.get('label_map') or dataset.get('label_map') or {}
        self._keys: Dict[str, Any] = dict(
            label_map={int(value): int(label) for value, label in stored.items()} or None,
            reduce_zero_label=bool(cfg.get('reduce_zero_label') or dataset.get('reduce_zero_label')),
        )
        self._load = TRANSFORMS.build(dict(type='mmseg.LoadAnnotations'))
        self.notes = [] if len(self.of) == len(names) else [f'{len(self.of)} of the {len(names)} images have a mask']

    def _check_sizes(self, root: str, names: Sequence[str]) -> None:
        for place, mask in self.of.items():
            try:
                image = ImageSource(osp.join(root, names[place])).size
            except OSError:  # one that cannot be read is listed by itself
                continue
            size = ImageSource(mask).size
            if size != image:
                raise ValueError(
                    f'the mask {mask} has {size[0]} x {size[1]} pixels, and its image {names[place]} '
                    f'{image[0]} x {image[1]}: masks are those of the whole upright images'
                )

    def read(self, place: int) -> np.ndarray:
        """``[H, W]`` numbers of classes; 255 is ignored."""
        return self._load(dict(seg_map_path=self.of[place], seg_fields=[], **self._keys))['gt_seg_map']


def read_coco(labels: str, root: str, files: Sequence[str], classes: Sequence[str]) -> Truth:
    """The ids of images in COCO annotations, whose file names are relative to ``root``, or unique by themselves.

    Raises:
        AnnotationError: There is no such file, or it is none of COCO's.
        ValueError: It names none of the images, or has none of the classes.
    """
    summary = examine(labels, False)
    absent = [name for name in classes if name not in summary.classes]
    if len(absent) == len(classes):
        raise ValueError(
            f'{labels} has none of the classes of the model ({", ".join(classes[:SHOWN])}); it has '
            f'{", ".join(summary.classes[:SHOWN])}'
        )
    by_path = {osp.realpath(osp.join(root, name)): number for number, (name, *_) in summary.images.items()}
    by_name: Dict[str, List[Any]] = defaultdict(list)
    for number, (name, *_) in summary.images.items():
        by_name[osp.basename(name)].append(number)
    found: Dict[int, Any] = {}
    for place, file in enumerate(files):
        alone = by_name.get(osp.basename(file), [])
        number = by_path.get(osp.realpath(file), alone[0] if len(alone) == 1 else None)
        if number is not None:
            found[place] = number
    if not found:
        raise ValueError(f'{labels} names none of the {len(files)} images, such as {os.path.basename(files[0])}')
    notes = [f'{len(found)} of the {len(files)} images have annotations'] if len(found) < len(files) else []
    if absent:
        notes.append(f'classes without annotations are not measured: {", ".join(absent[:SHOWN])}')
    return Truth(found, notes)


def categories(cfg: Config, classes: Sequence[str], labels: str = '') -> Tuple[List[dict], str]:
    """``id`` and ``name`` of each class as the annotations number them, and a sentence where none are on this machine.

    Args:
        cfg: Config of a detector, settled.
        classes: Names, in the order of the model's outputs.
        labels: Annotations that are measured by, which come first.
    """
    paths = [labels] if labels else []
    for loader in ('train_dataloader', 'test_dataloader', 'val_dataloader'):
        dataset = (cfg.get(loader) or {}).get('dataset') or {}
        if name_of(dataset) == 'CocoDataset' and dataset.get('ann_file'):
            paths.append(osp.join(dataset.get('data_root') or '', dataset.ann_file))
    for path in paths:
        ids = _category_ids(path) if osp.isfile(path) else {}
        if all(name in ids for name in classes):
            return [dict(id=ids[name], name=name) for name in classes], ''
    note = 'the annotations of training are not on this machine: classes are numbered from 1 in the order of the model'
    return [dict(id=number, name=name) for number, name in enumerate(classes, 1)], note


def _category_ids(path: str) -> Dict[str, Any]:
    with open(path, encoding='utf-8') as file:
        content = json.load(file)
    return {str(entry['name']): entry['id'] for entry in content.get('categories', ())}
