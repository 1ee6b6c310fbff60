"""Masks that mean what the config says, looked at before training."""

import logging
import os
from typing import Any, Dict, List, Optional, Sequence, Set

import numpy as np
import torch
from mmengine.logging import print_log
from PIL import Image

from ...datasets.image_io import ImageReadError, ImageSource
from ...registry import HOOKS
from .check_data import CheckDataHook, model_of

INDEX_MODES = ('1', 'L', 'P', 'I', 'I;16', 'I;16B')


class MaskError(RuntimeError):
    """Masks that are missing, unreadable, or do not fit their images or the number of classes."""


@HOOKS.register_module()
class CheckMasksHook(CheckDataHook):
    """Stops a segmentation run before it trains, or tests, when its masks are not what the model takes them for.

    Looked at are, in the training and the validation set, or the test set: whether every image has its mask, and in up
    to ``max_masks`` of them, evenly spread, whether the mask is an index image of the image's size, and which values
    occur. Values that are no class are an error that lists them (on a GPU the loss would end in a device assertion,
    and in validation such pixels count as wrong without a word); a last class that never occurs is a warning. Masks
    that were not among those are checked when they come in a batch, at half a millisecond each on the host.

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
        dataset: Of mmseg, or a :class:`~mmmim.datasets.MaskFolder`.
        name: What it is called in messages.
        num_classes: Of the model.
        max_masks: How many masks are read; None: all.
        ignore_index: The label that the loss leaves out.

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
        values |= _read_values(info)
    where = f'{"the" if count == len(infos) else count} {name} masks'
    _check_values(values, read[0], where, num_classes, ignore_index)


def _check_values(values: Set[int], info: dict, where: str, num_classes: int, ignore_index: int) -> None:
    """``values`` are the files'; ``info`` says what the pipeline makes of them."""
    reduced, label_map = bool(info.get('reduce_zero_label')), info.get('label_map') or {}
    labels = {value: label_map.get(label, label) for value in values for label in [_after_loading(value, reduced)]}
    wrong = sorted(value for value, label in labels.items() if label >= num_classes and label != ignore_index)
    valid = set(labels.values()) & set(range(num_classes))
    found = f'in {where} the values {_listed(sorted(values))} occur'
    meaning = (
        f'with reduce_zero_label={reduced} and num_classes={num_classes}, {int(reduced)} to '
        f'{num_classes - 1 + int(reduced)} are classes, 255 {"and 0 are" if reduced else "is"} ignored'
    )
    if wrong:
        raise MaskError(f'{found}; {meaning}. Not so {_listed(wrong)}: {_advice(values, reduced, num_classes)}')
    if not valid:
        raise MaskError(f'{found}; {meaning}: there is nothing to learn')
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
    return f'set num_classes={largest + 1 - int(reduced)}, or mark pixels that are not to be learned with 255'


def _after_loading(value: int, reduced: bool) -> int:
    """The label that mmseg's LoadAnnotations makes of a value."""
    return value if not reduced or value == 255 else 255 if value == 0 else value - 1


def _check_pairs(infos: Sequence[dict], name: str) -> None:
    """Raise MaskError unless all masks exist; folders are listed once, not asked for file by file."""
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


def _read_values(info: dict) -> Set[int]:
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
