"""Checks before training whether the range that images are read with leaves something to see."""

import copy
import logging
from typing import Any, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.logging import print_log

from ...datasets.io.image_io import ImageReadError, ImageSource
from ...datasets.io.pixel_sample import ENOUGH, PixelSample, count_levels, take_sample
from ...datasets.io.value_range import default_range, shown
from ...datasets.transforms import LoadImage
from ...registry import HOOKS

CLIPPED = 0.02  # share of values outside of the range, from which it is said


class PixelRangeError(RuntimeError):
    """Images that are almost black, white or plain after reading, as their values do not fill the range."""


@HOOKS.register_module()
class CheckPixelsHook(Hook):
    """Stops a run before it trains where 16-bit or float images would be mapped to too few levels of 0..255.

    A few images of the training set are read. If those of more than 8 bits, taken together, keep fewer than 32 levels
    though a range that fits them keeps more, this is an error that names the key to set and the range that was found;
    a warning where the config states a range. For 8-bit images it is a warning. A large share of clipped values is a
    warning, too. Data sets without :class:`.LoadImage` are not checked.

    Args:
        max_images: How many images are read.
    """

    def __init__(self, max_images: int = 16) -> None:
        if max_images < 1:
            raise ValueError(f'CheckPixelsHook: max_images={max_images} must be at least 1')
        self.max_images = max_images

    def before_train(self, runner) -> None:
        problem = [self._problem(runner) if runner.rank == 0 else None]
        broadcast_object_list(problem)
        if problem[0]:
            raise PixelRangeError(problem[0])

    def _problem(self, runner) -> Optional[str]:
        """What makes training pointless, in words; logs what is only worth a warning."""
        cfg = runner.cfg.train_dataloader.dataset
        parts = list(_innermost(runner.train_dataloader.dataset, cfg, 'train_dataloader.dataset'))
        for dataset, key in parts:
            steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', [])
            places = [i for i, step in enumerate(steps) if isinstance(step, LoadImage)]
            if places:
                load, before = steps[places[0]], steps[: places[0]]
                sample = take_sample(sources(dataset, load, max(self.max_images // len(parts), 1), before))
                problem = judge(sample, load.value_range, f'{key}.pipeline.{places[0]}.value_range')
                if problem:
                    return problem
        return None


def _innermost(dataset: Any, cfg: Any, key: str) -> Iterator[Tuple[Any, str]]:
    """The data sets inside wrappers, each with the key of its config."""
    many = getattr(dataset, 'datasets', None)
    if many is not None:
        for i, one in enumerate(many):
            inner = cfg['datasets'][i] if 'datasets' in cfg else {}
            yield from _innermost(one, inner, f'{key}.datasets.{i}')
    elif getattr(dataset, 'dataset', None) is not None:
        inside = 'dataset' in cfg  # some wrappers are added to what the config says
        yield from _innermost(dataset.dataset, cfg['dataset'] if inside else cfg, f'{key}.dataset' if inside else key)
    else:
        yield dataset, key


def sources(dataset: Any, load: LoadImage, count: int, before: Sequence[Any] = ()) -> Iterator[ImageSource]:
    """Images of a data set, evenly spread, as the transform opens them behind those ``before`` it, which may read."""
    load = copy.copy(load)
    count = min(count, len(dataset))
    for i in range(count):
        try:
            results = dict(dataset.get_data_info(i * len(dataset) // count), sample_idx=i, seed=0, replaced=[])
            for step in before:
                results = step(results)
            yield load.open(results)
        except (ImageReadError, OSError):  # found and counted in training
            continue


def judge(sample: PixelSample, value_range: Any, key: str) -> Optional[str]:
    """The error for a sample that is read with a range (None: that of the type) which ``key`` sets; logs warnings."""
    if sample.mapped:
        levels = count_levels(np.concatenate(sample.mapped))
        if levels < ENOUGH:
            _warn(f'the training images (8 bits, {len(sample.mapped)} looked at) use {levels} of 256 levels')
    if not sample.deep:
        return None
    kinds: List[str] = sorted({str(dtype) for dtype in sample.dtypes})
    used = value_range or default_range(sample.dtypes[0])
    levels, found = count_levels(sample.as_read(value_range)), sample.find_range()
    told = (
        f'the training images are {" and ".join(kinds)} and read with the range {shown(used)}, which leaves {levels} '
        f'of 256 levels ({len(sample.deep)} images, taken together)'
    )
    if levels < ENOUGH and found and count_levels(sample.as_read(found.value_range)) > levels:
        advice = (
            f'{told}. Set {key}={found.value_range} ({found.reason}), or the range of the weights that it goes on from'
        )
        if value_range is None:
            return f'{advice}; {key}={shown(used)} keeps it as it is'
        _warn(advice)
    elif levels < ENOUGH:
        _warn(told)
    clipped = sample.clipped(value_range)
    if clipped > CLIPPED:
        better = f'; {key}={found.value_range} would hold {found.reason}' if found else ''
        _warn(f'{100 * clipped:.0f}% of the values of the training images lie outside of {shown(used)}{better}')
    return None


def _warn(text: str) -> None:
    print_log(text, 'current', logging.WARNING)
