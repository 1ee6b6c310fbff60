"""How fast a config trains on this machine, by some of its own steps, and the epochs that fit a time."""

import itertools
import os.path as osp
import tempfile
import time
from typing import Any, Iterator, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.runner import Runner
from torch import nn

from ..checkpoint import atomic_write_text
from ..config.check_values import check_values
from ..config.derived import refuse_others
from ..config.load import load_config
from ..config.prepare import set_up_scope, settle, settle_loaders
from ..config.schedule import set_batch_and_lr, what_follows
from ..config.write import Choice
from ..engine.optim.constructors import quiet
from ..registry import MODELS

UNCOUNTED, FEWEST = 2, 3  # steps, or passes of a target
TARGET_IMAGES, TARGET_TIME = 16, 1.0
SECONDS = 8.0
MOST_EPOCHS = 800


def timed_epochs(text: str, images: int, hours: float) -> Choice:
    """The epochs of a config that fit a time, by the speed of some of its steps.

    Args:
        text: The config.
        images: In an epoch.
        hours: Of training, with the features of a target that are computed beforehand.

    Raises:
        TypeError, ValueError: A value that our classes do not take, or too little time.
    """
    cfg = checked_config(text)
    print('timing some steps ...', flush=True)
    speed = time_steps(cfg)
    before = images * speed.target_seconds
    if before >= hours * 3600:
        raise ValueError(
            f'the features of the target alone take {before / 60:.1f} minutes for {images} images, and '
            f'{hours * 60:.1f} were given: more --hours, a smaller target, or model.target.image_size'
        )
    epochs = max(1, round((hours * 3600 - before) * speed.images / images))
    minutes = (before + min(epochs, MOST_EPOCHS) * images / speed.images) / 60
    beforehand = f', {before / 60:.1f} of them for the features of the target' if before else ''
    told = f'{speed.images:.3g} images a second, measured: {minutes:.3g} minutes{beforehand}'
    if epochs > MOST_EPOCHS:
        return Choice(MOST_EPOCHS, f'{told}; more of so few images are soon known by heart')
    return Choice(epochs, f'{told}; --hours or --epochs for another length')


def seconds_a_step(text: str) -> float:
    """Seconds of an optimizer step of a segmentor's or detector's config, by some of its steps.

    Args:
        text: The config.
    """
    cfg = checked_config(text)
    return cfg.total_batch_size / time_steps(cfg).images


def check_builds(text: str) -> None:
    """Build the model of a config and forget it: what it cannot be made of is an error.

    Args:
        text: The config.
    """
    cfg = checked_config(text)
    set_up_scope(cfg)
    MODELS.build(cfg.model)


def check_settings(text: str) -> None:
    """Check a config's values, and that it states none that would be overwritten by what follows from other keys.

    Args:
        text: The config.

    Raises:
        TypeError: A value of another kind than our classes take.
        ValueError: A number out of its bounds, or a value that would be overwritten.
    """
    cfg = checked_config(text)
    refuse_others(cfg, what_follows(cfg))


def checked_config(text: str) -> Config:
    """The config of a text, whose values have been checked as a run does."""
    with tempfile.TemporaryDirectory() as folder:
        config = osp.join(folder, 'pretrain.py')
        atomic_write_text(config, text)
        cfg = load_config(config, work_dir=folder)
    check_values(cfg)
    return cfg


class Speed(NamedTuple):
    """Images a second of training, and seconds that a cached target takes for an image before it."""

    images: float
    target_seconds: float = 0.0


def time_steps(cfg: Config, seconds: float = SECONDS) -> Speed:
    """Train some steps of a config with its own images, model and optimizer, and forget them.

    Args:
        cfg: As :func:`mmmim.config.load.load_config` returns it; it is changed. Its weights are not loaded: they do not
            change the speed.
        seconds: Time of the counted steps; at least three are counted.
    """
    set_up_scope(cfg)
    set_batch_and_lr(cfg, 1)
    settle(cfg)
    settle_loaders(cfg)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model = MODELS.build(cfg.model).to(device)
    model.train()
    with quiet():  # a line for each group
        wrappers = build_optim_wrapper(model, cfg.optim_wrapper)
    for wrapper in [wrappers] if isinstance(wrappers, OptimWrapper) else wrappers.values():
        wrapper.initialize_count_status(model, 0, 10**9)
    batches = _batches(cfg)
    target_seconds = _time_target(model, next(batches))
    for _ in range(UNCOUNTED):
        model.train_step(next(batches), wrappers)
    _wait(device)
    started, steps = time.perf_counter(), 0
    while steps < FEWEST or time.perf_counter() - started < seconds:
        model.train_step(next(batches), wrappers)
        _wait(device)
        steps += 1
    spent = time.perf_counter() - started
    batches.close()
    return Speed(steps * cfg.train_dataloader.batch_size / spent, target_seconds)


@torch.no_grad()
def _time_target(model: nn.Module, batch: Any) -> float:
    """Seconds that a target with a cache needs for a whole image; gives it a row of zeros for the steps to come, and
    another target the images that it has to see."""
    target = getattr(model, 'target', None)
    if target is None or not (target.needs_fit or getattr(target, 'cache', False)):
        return 0.0
    images = model.data_preprocessor(batch, False)['inputs']
    if not getattr(target, 'cache', False):
        target.fit([images])
        return 0.0
    images = images[:TARGET_IMAGES]
    target.rows_of(images)  # the first pass of a shape prepares its kernels: on CPUs four times slower
    _wait(images.device.type)
    started, passes = time.perf_counter(), 0
    while passes < FEWEST or time.perf_counter() - started < TARGET_TIME:
        target.rows_of(images)  # to the host, so that nothing is left to wait for
        passes += 1
    seconds = (time.perf_counter() - started) / (passes * len(images))
    target.use_cache(np.zeros((1, target.row_width), np.float16), _FirstRow())
    target.set_statistics(torch.tensor([0.0, 1.0])[:, None].expand(2, target.out_dim))
    return seconds


class _FirstRow(dict):
    """The place of every image."""

    def get(self, key: Any, default: Any = None) -> int:
        return 0


def _batches(cfg: Config) -> Iterator[Any]:
    """The batches of the training loader, epoch after epoch."""
    loader = dict(cfg.train_dataloader.to_dict(), persistent_workers=False, drop_last=True)
    loader['dataset'] = dict(type='mmmim.SeededDataset', dataset=loader['dataset'])
    built = Runner.build_dataloader(loader, seed=0)
    for epoch in itertools.count():
        built.sampler.set_epoch(epoch)
        yield from built


def _wait(device: str) -> None:
    if device == 'cuda':
        torch.cuda.synchronize()
