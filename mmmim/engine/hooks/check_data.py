"""Checks of labels before training: classes, masks, annotations."""

import logging
import os
from typing import Any, Dict, List, Optional, Sequence, Set, Type

import numpy as np
import torch
from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from PIL import Image

from ...datasets.coco_file import AnnotationError, CocoSummary, check_classes, examine
from ...datasets.io.image_io import ImageReadError, ImageSource
from ...registry import HOOKS


class CheckDataHook(Hook):
    """Checks the training and validation set, or the test set, on rank 0, and stops all ranks at the first problem.

    Args:
        limit: How many files of each set are opened; None: all.

    Attributes:
        error: The exception that :meth:`check` raises.
    """

    error: Type[Exception] = RuntimeError

    def __init__(self, limit: Optional[int]) -> None:
        if limit is not None and limit < 1:
            raise ValueError(f'{type(self).__name__}: {limit} files must be at least 1, or None for all')
        self.limit = limit

    def check(self, model: Any, dataset: Any, name: str) -> None:
        """Raise ``error`` unless a data set, called ``name`` in messages, fits the model."""
        raise TypeError(f'{type(self).__name__} has no check')

    def before_train(self, runner) -> None:
        loaders = dict(training=runner.train_dataloader)
        if runner.val_loop is not None:
            loaders['validation'] = runner.val_dataloader
        self._check_all(runner, loaders)
        if not getattr(model_of(runner).backbone, 'init_cfg', None) and not runner.iter:
            print_log(
                'The encoder starts from its random initialisation (pretrained=PATH names a checkpoint).', 'current'
            )

    def before_test(self, runner) -> None:
        self._check_all(runner, dict(test=runner.test_dataloader))

    def _check_all(self, runner, loaders: Dict[str, Any]) -> None:
        problem = [self._first_problem(runner, loaders) if runner.rank == 0 else None]
        broadcast_object_list(problem)
        if problem[0]:
            raise self.error(problem[0])

    def _first_problem(self, runner, loaders: Dict[str, Any]) -> Optional[str]:
        try:
            for name, loader in loaders.items():
                self.check(model_of(runner), loader.dataset, name)
        except self.error as error:
            return str(error)
        return None


def model_of(runner) -> Any:
    """The task's model, without wrappers for distributed training or test-time augmentation."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return getattr(model, 'module', model)


@HOOKS.register_module()
class CheckAnnotationsHook(CheckDataHook):
    """Stops a detection run before it trains, or tests, when its images or annotations do not fit the model.

    Checks in the training and the validation set, or the test set: that the classes are those of the model, in the
    order of the file; that every image exists; and for up to ``max_images`` of them, evenly spread, that the size is
    that in the annotations. Images and boxes that mmdet leaves out (no objects, unusable boxes) are logged. The
    annotation files are checked earlier, in :func:`~mmmim.config.detection.settle_detector`: mmdet would fail on them
    while it builds the data sets.

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
            # validation and test load no outlines: the metric reads them
            learned = name == 'training' and getattr(model.roi_head, 'with_mask', False)
            check_annotations(part, name, num_classes, self.limit, outlines=getattr(part, 'outlines', learned))


def check_annotations(
    dataset: Any, name: str, num_classes: int, max_images: Optional[int] = None, outlines: bool = True
) -> None:
    """Check one data set, as in :class:`CheckAnnotationsHook`.

    Args:
        dataset: mmdet's ``CocoDataset``; others are skipped.
        name: Its name in messages.
        num_classes: The model's.
        max_images: How many images are opened; None: all.
        outlines: Whether objects need a usable outline.

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
    summary = examine(dataset.ann_file, outlines)
    check_classes(summary, classes, getattr(dataset, 'skip_broken', False))
    if summary.remark():
        print_log(f'{name} set: {summary.remark()}', 'current', logging.WARNING)
    _say_what_is_left_out(dataset, name, summary, set(classes))
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    _check_files(infos, name)
    count = len(infos) if max_images is None else min(len(infos), max_images)
    for i in range(count):
        _check_size(infos[i * len(infos) // count], summary)


def _innermost(dataset: Any) -> List[Any]:
    """The data sets inside MMEngine's wrappers."""
    inside = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    return [one for inner in inside for one in _innermost(inner)] if inside[0] is not None else [dataset]


def _say_what_is_left_out(dataset: Any, name: str, summary: CocoSummary, classes: Set[str]) -> None:
    empty = sum(not summary.annotated.get(key, set()) & classes for key in summary.images)
    left_out = len(summary.images) - len(dataset)
    emptied = 0 if dataset.test_mode else len(getattr(dataset, 'emptied', ()))
    if left_out:
        shown = f', but the {emptied} whose objects skip_broken leaves out' * bool(emptied)
        print_log(
            f'{name} set: {left_out} of {len(summary.images)} images are left out; {empty} have no usable '
            f'annotation (dataset.filter_cfg=None keeps them{shown})',
            'current',
        )
    elif empty:
        print_log(f'{name} set: {empty} of {len(summary.images)} images have no usable annotation', 'current')


def _check_files(infos: List[dict], name: str) -> None:
    """Raise AnnotationError unless all images exist; folders are listed once instead of checking each file."""
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
    """Raise AnnotationError unless the image size is that in the annotations; mmdet draws masks at the image's."""
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


INDEX_MODES = ('1', 'L', 'P', 'I', 'I;16', 'I;16B')


class MaskError(RuntimeError):
    """Masks that are missing, unreadable, or do not fit their images or the number of classes."""


@HOOKS.register_module()
class CheckMasksHook(CheckDataHook):
    """Stops a segmentation run before it trains, or tests, when its masks do not fit the model.

    Checks in the training and the validation set, or the test set: that every image has a mask, and for up to
    ``max_masks`` of them, evenly spread, that the mask is an index image of the image's size, and which values occur.
    Values that are no class are an error that lists them (on a GPU the loss would end in a device assertion, and in
    validation such pixels would silently count as wrong); a last class that never occurs is a warning. The other masks
    are checked in the batches, at half a millisecond each on the host.

    Args:
        max_masks: How many masks of each set are read; None: all.
    """

    error = MaskError

    def __init__(self, max_masks: Optional[int] = 500) -> None:
        super().__init__(max_masks)

    def check(self, model: Any, dataset: Any, name: str) -> None:
        head = model.decode_head
        check_masks(dataset, name, head.num_classes, self.limit, head.ignore_index)

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        self._check_batch(model_of(runner).decode_head, data_batch)

    def before_val_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        self._check_batch(model_of(runner).decode_head, data_batch)

    def before_test_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        self._check_batch(model_of(runner).decode_head, data_batch)

    @staticmethod
    def _check_batch(head: Any, data_batch: Any) -> None:
        for sample in data_batch['data_samples']:
            sample = sample[0] if isinstance(sample, (list, tuple)) else sample  # several scales of one image
            mask = sample.gt_sem_seg.data
            wrong = (mask >= head.num_classes) & (mask != head.ignore_index)
            if wrong.any():
                values = torch.unique(mask[wrong]).tolist()
                raise MaskError(
                    f'{sample.seg_map_path} has pixels of the classes {_listed(values)}, but num_classes='
                    f'{head.num_classes}: classes are counted from 0, after reduce_zero_label'
                )


def check_masks(
    dataset: Any, name: str, num_classes: int, max_masks: Optional[int] = None, ignore_index: int = 255
) -> None:
    """Check one data set, as in :class:`CheckMasksHook`.

    Args:
        dataset: A data set of mmseg, or a :class:`~mmmim.datasets.MaskFolder`.
        name: Its name in messages.
        num_classes: The model's.
        max_masks: How many masks are read; None: all.
        ignore_index: The label that the loss ignores.

    Raises:
        MaskError: See the hook.
    """
    classes = dataset.metainfo.get('classes')
    if classes is not None and len(classes) != num_classes:
        raise MaskError(
            f'the {name} set names {len(classes)} classes, the model has {num_classes}: set '
            f'num_classes={len(classes)}, or take the data set MaskFolder for images of your own'
        )
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    _check_pairs(infos, name)
    count = len(infos) if max_masks is None else min(len(infos), max_masks)
    read = [infos[i * len(infos) // count] for i in range(count)]
    values: Set[int] = set()
    for info in read:
        values |= mask_values(info)
    where = f'{"the" if count == len(infos) else count} {name} masks'
    _check_values(values, read[0], where, num_classes, ignore_index, all_read=count == len(infos))


def _check_values(
    values: Set[int], info: dict, where: str, num_classes: int, ignore_index: int, all_read: bool
) -> None:
    """Check the ``values`` stored in masks; ``info`` says how the pipeline maps them to labels."""
    reduced, label_map = bool(info.get('reduce_zero_label')), info.get('label_map') or {}
    labels = {value: label_map.get(label, label) for value in values for label in [_after_loading(value, reduced)]}
    wrong = sorted(value for value, label in labels.items() if label >= num_classes and label != ignore_index)
    valid = set(labels.values()) & set(range(num_classes))
    found = f'in {where} the values {_listed(sorted(values))} occur'
    meaning = (
        f'with reduce_zero_label={reduced} and num_classes={num_classes}, {int(reduced)} to '
        f'{num_classes - 1 + int(reduced)} are classes, 255 {"and 0 are" if reduced else "is"} ignored'
    ) + (f' (label_map={label_map})' if label_map else '')
    if wrong:
        raise MaskError(f'{found}; {meaning}. Not so {_listed(wrong)}: {_advice(values, reduced, num_classes)}')
    if not valid:
        raise MaskError(f'{found}; {meaning}: there is nothing to learn')
    if len(valid) == 1 and all_read and 'training' in where:
        raise MaskError(
            f'{found}; {meaning}: one class, {valid.pop()}, is all there is to learn. '
            f'{_as_classes(values, num_classes)}Add masks of other classes'
        )
    if num_classes - 1 not in valid:
        hint = ' If 0 is a class of its own, set reduce_zero_label=False.' if reduced and 0 in values else ''
        print_log(
            f'{found}; {meaning}. The highest class is not among them: is num_classes right?{hint}',
            'current',
            level=logging.WARNING,
        )


def _advice(values: Set[int], reduced: bool, num_classes: int) -> str:
    largest = max(values - {255}, default=0)
    if not reduced and largest == num_classes:
        return f'if 0 means unlabelled, set reduce_zero_label=True, otherwise num_classes={largest + 1}'
    return (
        '' if reduced else _as_classes(values, num_classes)
    ) + f'set num_classes={largest + 1 - int(reduced)}, or mark pixels that are not to be learned with 255'


def _as_classes(values: Set[int], num_classes: int) -> str:
    """How to read so many values as the classes, in order; nothing where there are more values than classes."""
    label_map = {value: label for label, value in enumerate(sorted(values)) if value != label}
    if not label_map or len(values) > num_classes:
        return ''
    options = ' '.join(f'label_map.{value}={label}' for value, label in label_map.items())
    return f'If these are the classes in order, set label_map={label_map} ({options} on the command line). '


def _after_loading(value: int, reduced: bool) -> int:
    """The label that mmseg's LoadAnnotations gives to a value."""
    return value if not reduced or value == 255 else 255 if value == 0 else value - 1


def _check_pairs(infos: Sequence[dict], name: str) -> None:
    """Raise MaskError unless all masks exist; folders are listed once instead of checking each file."""
    folders: Dict[str, Set[str]] = {}
    alone: List[str] = []
    for info in infos:
        if not info.get('seg_map_path'):
            raise MaskError(f'the {name} set has no masks: set dataset.data_prefix.seg_map_path')
        folder, file = os.path.split(info['seg_map_path'])
        if folder not in folders:
            folders[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if file not in folders[folder]:
            alone.append(info['seg_map_path'])
    if alone:
        raise MaskError(
            f'{len(alone)} of {len(infos)} {name} images have no mask: {", ".join(alone[:3])}'
            f'{" ..." if len(alone) > 3 else ""}. Add the masks, or take away the images'
        )


def mask_values(info: dict) -> Set[int]:
    """The values in a mask, which has to be an index image of its image's size."""
    path = info['seg_map_path']
    try:
        size = ImageSource(info['img_path']).size
        with Image.open(path) as mask:
            if mask.mode not in INDEX_MODES:
                raise MaskError(
                    f'{path} is a colour image (mode {mask.mode}); each pixel of a mask has to hold its '
                    'class number: one channel, 0 to 255'
                )
            if mask.size != size:
                raise MaskError(
                    f'{path} has {mask.size[0]} x {mask.size[1]} pixels, its image '
                    f'{info["img_path"]} {size[0]} x {size[1]} (upright): they have to agree'
                )
            values = np.unique(np.asarray(mask)).astype(int).tolist()
    except (OSError, SyntaxError, ImageReadError) as error:
        raise MaskError(f'{path} or its image cannot be read: {error}') from error
    if values[0] < 0 or values[-1] > 255:
        raise MaskError(f'{path} holds {_listed(values)}; class numbers lie in 0 to 255')
    return set(values)


def _listed(values: Sequence[int]) -> str:
    """``0 to 3, 7``."""
    runs: List[List[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    words = [
        str(low) if low == high else f'{low}, {high}' if high == low + 1 else f'{low} to {high}' for low, high in runs
    ]
    return ', '.join(words[:20]) + (' ...' if len(words) > 20 else '')


class ClassMismatchError(RuntimeError):
    """The classes of the data are not those of the model, or not the same in training and validation."""


@HOOKS.register_module()
class CheckClassesHook(Hook):
    """Stops a run before it trains when head, training set and validation set have different classes.

    A label is the index of a class folder in alphabetical order: a folder missing in one of two sets shifts all labels
    after it, and the accuracy would be low for no visible reason. Data sets that do not name their classes are not
    checked. Also logs when a classifier starts from a random encoder.
    """

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        train = _classes(runner.train_dataloader)
        num_classes = getattr(getattr(model, 'head', None), 'num_classes', None)
        if train is not None and num_classes is not None and len(train) != num_classes:
            raise ClassMismatchError(
                f'the training images have {len(train)} classes, the head {num_classes}: set num_classes={len(train)}'
            )
        held_out = None if runner.val_loop is None else _classes(runner.val_dataloader)
        if train is not None and held_out is not None and list(train) != list(held_out):
            differ = sorted(set(train) ^ set(held_out))
            raise ClassMismatchError(
                f'training and validation images have different classes ({", ".join(differ[:5]) or "another order"}): '
                'labels would not mean the same. Name them for both, with dataset.metainfo.classes, or complete the '
                'folders'
            )
        if not getattr(getattr(model, 'backbone', None), 'init_cfg', None) and not runner.iter:
            print_log(
                'The encoder starts from its random initialisation (pretrained=PATH names a checkpoint).', 'current'
            )


def _classes(loader: Any) -> Optional[Sequence[str]]:
    return (getattr(loader.dataset, 'metainfo', None) or {}).get('classes')
