"""Images and annotations that fit each other and the model, looked at before training."""

import logging
import os
from typing import Any, Dict, List, Optional, Set

from mmengine.logging import print_log

from ...datasets.coco_file import AnnotationError, CocoSummary, check_classes, examine
from ...datasets.image_io import ImageReadError, ImageSource
from ...registry import HOOKS
from .check_data import CheckDataHook


@HOOKS.register_module()
class CheckAnnotationsHook(CheckDataHook):
    """Stops a detection run before it trains, or tests, when its images or annotations are not what the model takes
    them for.

    Looked at are, in the training and the validation set, or the test set, whether the classes are those of the model,
    in the order of the file; whether every image is there; and in up to ``max_images`` of them, evenly spread, whether
    its size is the one that the annotations were made for. What mmdet leaves out (images without objects, boxes that
    cannot be used) is said in the log. The files themselves are examined earlier, in
    :func:`~mmmim.engine.detector.settle_detector`: mmdet would fail on them while it builds the data sets.

    Args:
        max_images: How many images of each set are opened; None: all.
    """

    error = AnnotationError

    def __init__(self, max_images: Optional[int] = 500) -> None:
        super().__init__(max_images)

    def check(self, model: Any, dataset: Any, name: str) -> None:
        head = model.roi_head.bbox_head
        num_classes = (head[0] if hasattr(head, '__len__') else head).num_classes
        for part in _innermost(dataset):
            check_annotations(part, name, num_classes, self.limit)


def check_annotations(dataset: Any, name: str, num_classes: int, max_images: Optional[int] = None) -> None:
    """Check one data set, as in :class:`CheckAnnotationsHook`.

    Args:
        dataset: mmdet's ``CocoDataset``; others are passed over.
        name: What it is called in messages.
        num_classes: Of the model.
        max_images: How many images are opened; None: all.

    Raises:
        AnnotationError: See the hook.
    """
    if not hasattr(dataset, 'cat_ids') or not hasattr(dataset, 'ann_file'):
        return
    classes = dataset.metainfo['classes']
    if len(classes) != num_classes:
        raise AnnotationError(
            f'the {name} set has {len(classes)} classes ({", ".join(classes)}), the model '
            f'{num_classes}: set num_classes={len(classes)}, or None'
        )
    summary = examine(dataset.ann_file)
    check_classes(summary, classes)
    if summary.remark():
        print_log(f'{name} set: {summary.remark()}', 'current', logging.WARNING)
    _say_what_is_left_out(dataset, name, summary, set(classes))
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    _check_files(infos, name)
    count = len(infos) if max_images is None else min(len(infos), max_images)
    for i in range(count):
        _check_size(infos[i * len(infos) // count], summary)


def _innermost(dataset: Any) -> List[Any]:
    """The data sets inside of MMEngine's wrappers."""
    inside = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    return [one for inner in inside for one in _innermost(inner)] if inside[0] is not None else [dataset]


def _say_what_is_left_out(dataset: Any, name: str, summary: CocoSummary, classes: Set[str]) -> None:
    empty = sum(not summary.annotated.get(key, set()) & classes for key in summary.images)
    left_out = len(summary.images) - len(dataset)
    if left_out:
        print_log(
            f'{name} set: {left_out} of {len(summary.images)} images are left out; {empty} have no usable '
            'annotation (dataset.filter_cfg=None keeps them)',
            'current',
        )
    elif empty:
        print_log(f'{name} set: {empty} of {len(summary.images)} images have no usable annotation', 'current')


def _check_files(infos: List[dict], name: str) -> None:
    """Raise AnnotationError unless all images exist; folders are listed once, not asked for file by file."""
    folders: Dict[str, Set[str]] = {}
    missing: List[str] = []
    for info in infos:
        folder, file = os.path.split(info['img_path'])
        if folder not in folders:
            folders[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if file not in folders[folder]:
            missing.append(info['img_path'])
    if missing:
        raise AnnotationError(
            f'{len(missing)} of {len(infos)} {name} images that the annotations name are not there: '
            f'{", ".join(missing[:3])}{" ..." if len(missing) > 3 else ""}. Add them, or set '
            'train_images and val_images to their folders'
        )


def _check_size(info: dict, summary: CocoSummary) -> None:
    """The file's own size is the one in the annotations; mmdet draws masks on the file's."""
    try:
        source = ImageSource(info['img_path'])
        width, height = source.size
    except ImageReadError as error:
        raise AnnotationError(f'{error}, which {summary.path} names') from error
    if (width, height) != (info['width'], info['height']):
        raise AnnotationError(
            f'{info["img_path"]} has {width} x {height} pixels, in {summary.path} it has '
            f'{info["width"]} x {info["height"]}: boxes and masks would not fit it'
        )
