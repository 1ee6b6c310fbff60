"""What a planned config says of images: their size and statistics, the pipelines, and what is measured on the way."""

import os.path as osp
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import torch
from mmengine.config import Config

from ..config.write import Choice
from ..datasets.io.image_io import ImageReadError, ImageSource
from ..datasets.io.list_lines import list_text
from .folder_split import FolderSplit, write_if_changed
from .label_split import LabelSplit, some

SIZES = (32, 64, 96, 128, 224)
LOOKED_AT = 200  # images whose size and pixels are looked at
CURVE_SHARE = 0.03  # of the run's time, for the curve of k-NN
MEASUREMENTS, PICTURES = 5, 5
FEWEST, MOST = 90, 3000  # images of one measurement


def sample(split: FolderSplit) -> List[str]:
    """Paths of some training images, always the same."""
    files = split.files[0]
    drawn = np.random.default_rng(2).permutation(len(files))[:LOOKED_AT].tolist()
    return [osp.join(split.roots[0], files[i]) for i in drawn]


def image_size_for(split: FolderSplit) -> Choice:
    """The largest size that half of the images have, at most 224 px with a GPU and 96 px without."""
    largest = 224 if torch.cuda.is_available() else 96
    sides, reason, paths = [], '', sample(split)
    for path in paths:
        try:
            sides.append(min(ImageSource(path).size))
        except ImageReadError as error:  # broken files are replaced in training, and ignored here
            reason = str(error)
    if not sides:
        raise ValueError(f'none of {len(paths)} images under {split.roots[0]} can be read ({reason})')
    side = int(np.median(sides))
    size = max([SIZES[0]] + [s for s in SIZES if s <= min(side, largest)])
    why = f'half of the images have a short side of {side} px or more'
    return Choice(
        size, why + ('' if largest == 224 or side <= largest else '; without a GPU larger ones take too long')
    )


def pixel_statistics(
    split: FolderSplit, size: int, channels: int = 3, value_range: Any = None
) -> Tuple[List[float], List[float], str]:
    """Mean and standard deviation of each channel in units of 0..255, and where they are from.

    Over all pixels of some training images, each resized to ``size``, read as in training.
    """
    pixels, reason = [], ''
    for path in sample(split):
        try:
            source = ImageSource(path, channels, value_range)
            pixels.append(source.crop((0, 0, *source.size), (size, size), 'bicubic').reshape(-1, channels))
        except ImageReadError as error:
            reason = str(error)
    if not pixels:
        raise ValueError(f'none of the images under {split.roots[0]} can be read with {channels} channels ({reason})')
    values = np.concatenate(pixels).astype(np.float64)
    # images of one colour have no deviation, and what is divided by it must stay finite
    return values.mean(0).tolist(), np.maximum(values.std(0), 1.0).tolist(), f'of {len(pixels)} of the images'


def choose_data(
    split: FolderSplit,
    out: str,
    size: int,
    epochs: int,
    base: Config,
    labels: Optional[LabelSplit],
    name: Callable[[str], Any],
) -> Dict[str, Choice]:
    """The pipelines at this size, the lists of images, and what is measured while training.

    Args:
        split: The images.
        out: The work dir, which gets the lists.
        size: Pixels.
        epochs: Length of the run.
        base: The config that is inherited.
        labels: Labelled images; None: nothing is classified.
        name: Makes the name of another setting.
    """
    pipelines = {key: [_resized(step, size) for step in base[key]] for key in ('train_pipeline', 'test_pipeline')}
    result: Dict[str, Choice] = {}
    for key, loader, root, path in zip(
        pipelines, ('train_dataloader', 'test_dataloader'), split.roots, split.write_lists(out)
    ):
        result[key] = Choice(pipelines[key], '')
        dataset = dict(data_root=root, ann_file=path, pipeline=name(key))
        result[f'{loader}.dataset'] = Choice(dataset, '')
    hooks = [dict(hook) for hook in base.custom_hooks]
    for hook in filter(lambda hook: 'interval' in hook, hooks):
        hook['interval'] = -(-epochs // (MEASUREMENTS if hook['type'] == 'KNNHook' else PICTURES))
    if labels is None:
        result['feature_eval'] = Choice(None, 'without labelled images there is nothing to classify')
        hooks = [hook for hook in hooks if hook['type'] != 'KNNHook']
    else:
        result['feature_eval'], curve = _measured(labels, out, epochs * len(split.files[0]), name)
        hooks = [
            dict(hook, at_start=True, keep_best=True, **curve) if hook['type'] == 'KNNHook' else hook for hook in hooks
        ]
    result['custom_hooks'] = Choice(hooks, '')
    return result


def _measured(labels: LabelSplit, out: str, views: int, name: Callable[[str], Any]) -> Tuple[Choice, Dict[str, Any]]:
    """The data sets of ``mmmim test``, and those of the curve, which are smaller: they take a share of the time.

    A measurement looks at as many images as a step of training costs for about the same number.
    """
    count = int(min(max(CURVE_SHARE * views / (MEASUREMENTS + 1), FEWEST), MOST))  # and one at the start
    parts = {
        'fit': labels.fit,
        'report': labels.report,
        'curve_fit': some(labels.fit, 2 * count // 3),
        'curve_selection': some(labels.selection, count // 3),
    }
    sets = {}
    for key, rows in parts.items():
        path = osp.join(osp.abspath(out), f'labels_{key}.txt')
        write_if_changed(path, list_text(*zip(*rows)) if rows else '')
        sets[key] = dict(
            type='ImageFolder',
            data_root='/',
            ann_file=path,
            metainfo=dict(classes=labels.classes),
            pipeline=name('test_pipeline'),
        )
    told = f'{len(labels.classes)} classes; {labels.note}' if labels.note else f'{len(labels.classes)} classes'
    return (
        Choice(dict(bank=sets['fit'], query=sets['report']), told),
        dict(bank=sets['curve_fit'], query=sets['curve_selection']),
    )


def _resized(step: dict, size: int) -> dict:
    """A transform's config for another image size; the shift between two views is scaled with it."""
    step, old = dict(step), step.get('size')
    if old is not None:
        step['size'] = size
    if 'max_shift' in step:
        step['max_shift'] = round(step['max_shift'] * size / old)
        step['master_size'] = size + step['max_shift'] + 1
    return step
