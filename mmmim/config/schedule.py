"""Batch size, learning rate and schedule from total_batch_size, base_lr, max_epochs and warmup_epochs."""

from typing import List, Optional

from mmengine.config import Config

from ..registry import MODELS


def split_batch(total: int, world_size: int, limit: Optional[int] = None) -> List[int]:
    """Split the effective batch size: ``[batch per process, accumulated batches]``, with as few of these as possible.

    Raises:
        ValueError: The total cannot be split evenly.
    """
    if total % world_size:
        fitting = [str(number) for number in range(1, total + 1) if total % number == 0]
        shown = ', '.join(fitting if len(fitting) < 9 else [*fitting[:8], '...'])
        raise ValueError(
            f'total_batch_size={total} cannot be shared by {world_size} processes: it must be a multiple. By these '
            f'numbers it can: {shown}'
        )
    share = total // world_size
    for accumulation in range(1, share + 1):
        if share % accumulation == 0 and (limit is None or share // accumulation <= limit):
            return [share // accumulation, accumulation]
    raise ValueError(f'max_batch_per_device={limit} must be at least 1')


def set_batch_and_lr(cfg: Config, world_size: int) -> None:
    """Derive batch size, gradient accumulation and learning rate from ``total_batch_size`` (nothing without that key).

    A model with ``train_steps`` gets all batches of a step from the loop (``train_cfg.batches_per_step``); with others
    MMEngine's optimizer wrapper counts them (``accumulative_counts``).

    Linear rule: ``lr = base_lr * total_batch_size / 256`` where the config has a ``base_lr``; ``lr_base_batch``
    replaces the 256, or is None: the learning rate is ``base_lr``.
    """
    total = cfg.get('total_batch_size')
    if total is None:
        return
    batch, accumulation = split_batch(total, world_size, cfg.get('max_batch_per_device'))
    cfg.train_dataloader.batch_size = batch
    sampler = cfg.train_dataloader.sampler
    if 'round_to' not in sampler and sampler.type in ('EpochSampler', 'mmmim.EpochSampler'):
        sampler.round_to = total
    wrappers = cfg.optim_wrapper
    together = gets_all_batches(cfg)
    if together:
        cfg.train_cfg.batches_per_step = accumulation
    for wrapper in (
        [wrappers]
        if 'optimizer' in wrappers
        else [w for w in wrappers.values() if isinstance(w, dict) and 'optimizer' in w]
    ):
        if not together:
            wrapper.accumulative_counts = accumulation
        elif wrapper.get('accumulative_counts') == accumulation:  # the work dir's copy of a config of version 0.2
            wrapper.pop('accumulative_counts')
        base_lr = wrapper.pop('base_lr', cfg.get('base_lr'))
        if base_lr is not None:
            base_batch = cfg.get('lr_base_batch', 256)
            wrapper.optimizer.lr = base_lr * total / base_batch if base_batch else base_lr


def gets_all_batches(cfg: Config) -> bool:
    """Whether the model takes all batches of an optimizer step at once, and the loop gives them."""
    model = cfg.get('model') or {}
    kind = MODELS.get(model['type']) if isinstance(model.get('type'), str) else model.get('type')
    loop = (cfg.get('train_cfg') or {}).get('type')
    name = getattr(loop, '__name__', str(loop)).removeprefix('mmmim.')
    return hasattr(kind, 'train_steps') and name == 'ResumableEpochLoop'


def batches_per_step(cfg: Config) -> int:
    """Batches of a process that one optimizer step is made of, as :func:`set_batch_and_lr` has derived them."""
    first = cfg.optim_wrapper
    if 'optimizer' not in first:
        first = next((w for w in first.values() if isinstance(w, dict) and 'optimizer' in w), {})
    return (cfg.get('train_cfg') or {}).get('batches_per_step') or first.get('accumulative_counts', 1)


def set_schedule(cfg: Config) -> None:
    """Let ``max_epochs`` and ``warmup_epochs`` at the top of a config govern the loop and the schedulers.

    The scheduler that begins at epoch 0 and precedes others is the warm-up; it may last a fraction of an epoch.

    Raises:
        ValueError: A warm-up as long as training, which would leave the learning rate near zero silently.
    """
    if 'max_epochs' not in cfg:
        return
    cfg.train_cfg.max_epochs = cfg.max_epochs
    if 'warmup_epochs' not in cfg:
        return
    warmup = cfg.warmup_epochs
    if warmup is None:
        raise ValueError('warmup_epochs=None: set it to 0 for a schedule without a warm-up')
    if warmup >= cfg.max_epochs:
        raise ValueError(f'warmup_epochs={warmup} must be below max_epochs={cfg.max_epochs}: set both')
    *first, last = cfg.param_scheduler
    if warmup and not first:
        raise ValueError(f'warmup_epochs={warmup}, but param_scheduler has one entry and no warm-up before it')
    rest = [*first[1:], last]
    if first:
        first[0].end = warmup
    for scheduler in rest:
        scheduler.update(begin=warmup, end=cfg.max_epochs)
        if 'T_max' in scheduler or 'CosineAnnealing' in str(scheduler.type):
            scheduler.T_max = cfg.max_epochs - warmup
    cfg.param_scheduler = cfg.param_scheduler if warmup else rest
