"""Batch size, learning rate and schedule from total_batch_size, base_lr, max_epochs and warmup_epochs."""

from contextlib import suppress
from typing import Any, Dict, Iterator, List, Optional, Tuple

from mmengine.config import Config

from ..registry import MODELS
from .derived import ABSENT, Derived, names_of, put, settle_derived, stated, take_out

# our backbones of segmentors, detectors and landmark estimators
DENSE_BACKBONES = ('DenseViT', 'DenseRelativeViT', 'DenseConvViT', 'DenseSwin')
ENCODERS = ('MaskedViT', 'RelativeViT', 'ConvViT', 'MaskedSwin')
# models whose configs have keys at the top that are carried further, and with which backbones; None: any
_TASKS: Dict[str, Tuple[str, Optional[Tuple[str, ...]]]] = dict(
    ImageClassifier=('classifier', ENCODERS),
    EncoderDecoder=('segmentor', DENSE_BACKBONES),
    MaskRCNN=('detector', DENSE_BACKBONES),
    CascadeRCNN=('detector', DENSE_BACKBONES),
    LandmarkEstimator=('landmarks', None),
)

# a schedule of one's own beside our keys
_OWN = 'or set warmup_epochs=None, by which the entries of param_scheduler state their own begin, end and T_max'


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


def set_batch_and_lr(cfg: Config, world_size: int) -> List[Derived]:
    """Derive batch size, gradient accumulation and learning rate from ``total_batch_size`` (nothing without that key).

    A model with ``train_steps`` gets all batches of a step from the loop (``train_cfg.batches_per_step``); with others
    MMEngine's optimizer wrapper counts them (``accumulative_counts``).

    Linear rule: ``lr = base_lr * total_batch_size / 256`` where the config has a ``base_lr``; ``lr_base_batch``
    replaces the 256, or is None: the learning rate is ``base_lr``.

    Returns:
        What was derived.

    Raises:
        ValueError: The config states another value for what follows; or a total that cannot be shared.
    """
    derived = list(batch_and_lr(cfg, world_size))
    settle_derived(cfg, derived)
    for name in names_of(cfg.get('optim_wrapper')):
        wrapper = _wrapper(cfg, name)
        if derived:
            wrapper.pop('base_lr', None)
        if derived and gets_all_batches(cfg):
            wrapper.pop('accumulative_counts', None)  # checked, and the loop's
    return derived


def batch_and_lr(cfg: Config, world_size: int) -> Iterator[Derived]:
    """What follows from ``total_batch_size`` and ``base_lr``, see :func:`set_batch_and_lr`; changes nothing.

    Raises:
        ValueError: The total cannot be shared, or a rate that is for a batch which is not stated.
    """
    total = cfg.get('total_batch_size')
    if total is None:
        return
    yield from _batch(cfg, total, world_size)
    for name in names_of(cfg.get('optim_wrapper')):
        yield from _rate(cfg, name, total)


def _batch(cfg: Config, total: int, processes: int) -> Iterator[Derived]:
    batch, accumulation = split_batch(total, processes, cfg.get('max_batch_per_device'))
    total_for = 'total_batch_size={} ({} images in each of {} process{}, {} time{} a step)'

    def for_batch(value: Any) -> str:
        if not isinstance(value, int):
            return 'total_batch_size'
        times = next((n for n in (stated(cfg, key) for key in counts) if isinstance(n, int)), 1)
        words = total_for.format(
            value * processes * times, value, processes, 'es' * (processes > 1), times, 's' * (times > 1)
        )
        smaller = value < total // processes and total // processes % value == 0
        return words + (f', or max_batch_per_device={value} for {total} images a step in smaller passes' * smaller)

    def for_counts(value: Any) -> str:
        share = total // processes
        if not isinstance(value, int) or value < 1:
            return 'max_batch_per_device'
        passes = f'max_batch_per_device={share // value} for {value} passes of the same {total} images'
        other = f'total_batch_size={total * value // accumulation} for a step of as many images'
        return f'{passes}, or {other}' if share % value == 0 else other

    how = f'{total} images a step, {processes} process{"es" * (processes > 1)}'
    together = gets_all_batches(cfg)
    counts = [f'{optimizer_path(name)}.accumulative_counts' for name in names_of(cfg.get('optim_wrapper'))]
    for_step = ['train_cfg.batches_per_step'] if together else counts
    if together:  # 1 says nothing there
        for_step += [key for key in counts if stated(cfg, key) not in (ABSENT, 1)]
        counts = for_step
    yield Derived('train_dataloader.batch_size', batch, 'total_batch_size', how, for_batch, True)
    for key in for_step:
        yield Derived(key, accumulation, 'total_batch_size', how, for_counts, True)
    kind = stated(cfg, 'train_dataloader.sampler.type')
    if kind in ('EpochSampler', 'mmmim.EpochSampler'):
        yield Derived(
            'train_dataloader.sampler.round_to',
            total,
            'total_batch_size',
            'an epoch has whole steps',
            lambda value: f'total_batch_size={value}',
        )


def _rate(cfg: Config, name: Optional[str], total: int) -> Iterator[Derived]:
    own = _wrapper(cfg, name).get('base_lr')
    base_lr, base_batch = (cfg.get('base_lr') if own is None else own), cfg.get('lr_base_batch', 256)
    if base_lr is None:
        return
    if stated(cfg, 'auto_scale_lr.enable') is True:
        raise ValueError(
            f'auto_scale_lr.enable=True would scale the learning rate again, which follows from base_lr={base_lr}: '
            'leave it out'
        )
    key = 'base_lr' if own is None and name is None else f'{optimizer_path(name)}.base_lr'
    value = base_lr * total / base_batch if base_batch else base_lr

    def instead(rate: Any) -> str:
        if not isinstance(rate, (int, float)) or not base_batch:
            return f'{key}={rate}'
        scaled = f'{key}={rate * base_batch / total:.6g} (times {total} / {base_batch})'
        return f'{scaled}, or lr_base_batch=None and {key}={rate}'

    how = f'base_lr * {total} / {base_batch}' if base_batch else 'base_lr, which lr_base_batch=None does not scale'
    yield Derived(f'{optimizer_path(name)}.optimizer.lr', value, 'base_lr', how, instead)


def optimizer_path(name: Optional[str]) -> str:
    """The key of an optimizer's wrapper; None stands for the only one."""
    return 'optim_wrapper' if name is None else f'optim_wrapper.{name}'


def _wrapper(cfg: Config, name: Optional[str]) -> Any:
    return cfg.optim_wrapper if name is None else cfg.optim_wrapper[name]


def gets_all_batches(cfg: Config) -> bool:
    """Whether the model takes all batches of an optimizer step at once, and the loop gives them."""
    model = cfg.get('model') or {}
    kind = MODELS.get(model['type']) if isinstance(model.get('type'), str) else model.get('type')
    loop = (cfg.get('train_cfg') or {}).get('type')
    name = getattr(loop, '__name__', str(loop)).removeprefix('mmmim.')
    return hasattr(kind, 'train_steps') and name == 'ResumableEpochLoop'


def batches_per_step(cfg: Config) -> int:
    """Batches of a process that one optimizer step is made of, as :func:`set_batch_and_lr` has derived them."""
    wrapper = cfg.get('optim_wrapper') or {}
    name = next(iter(names_of(wrapper)), None)
    first = wrapper if name is None else wrapper[name]
    return (cfg.get('train_cfg') or {}).get('batches_per_step') or first.get('accumulative_counts', 1)


def set_schedule(cfg: Config) -> List[Derived]:
    """Let ``max_epochs`` and ``warmup_epochs`` at the top of a config govern the loop and the schedulers.

    The scheduler that begins at epoch 0 and precedes others is the warm-up; it may last a fraction of an epoch. With
    ``warmup_epochs=None`` the schedulers state their own begin and end.

    Returns:
        What was derived.

    Raises:
        ValueError: The config states another value for what follows; a warm-up as long as training, which would leave
            the learning rate near zero silently; schedulers that count iterations.
    """
    derived = list(schedule(cfg))
    settle_derived(cfg, derived)
    if derived and cfg.get('warmup_epochs') == 0:
        drop_warmup(cfg)
    return derived


def drop_warmup(cfg: Config) -> None:
    """Take out the first of several schedulers."""
    for key, entries in schedulers(cfg):
        if len(entries) > 1:
            put(cfg, key, list(entries.values())[1:])


def schedulers(cfg: Config) -> Iterator[Tuple[str, Dict[str, Any]]]:
    """Each list of schedulers: its key, and its entries by their keys. One list, or one for each optimizer."""
    value = cfg.get('param_scheduler') or []
    named = isinstance(value, dict) and 'type' not in value
    for key, entries in (
        [(f'param_scheduler.{name}', entry) for name, entry in value.items()] if named else [('param_scheduler', value)]
    ):
        yield key, {key: entries} if isinstance(entries, dict) else {f'{key}.{i}': e for i, e in enumerate(entries)}


def schedule(cfg: Config) -> Iterator[Derived]:
    """What follows from ``max_epochs`` and ``warmup_epochs``, see :func:`set_schedule`; changes nothing.

    Raises:
        ValueError: As there.
    """
    epochs = cfg.get('max_epochs')
    if epochs is None:
        return
    if stated(cfg, 'train_cfg.by_epoch') is False:
        raise ValueError(
            f'train_cfg.by_epoch=False counts iterations, and max_epochs={epochs} epochs: leave out by_epoch, or set '
            'max_epochs=None and train_cfg.max_iters'
        )
    yield Derived(
        'train_cfg.max_epochs', epochs, 'max_epochs', 'length of training', lambda value: f'max_epochs={value}'
    )
    if 'warmup_epochs' not in cfg:
        return
    if cfg.warmup_epochs is None:
        _check_own_lengths(cfg)
        return
    if cfg.warmup_epochs >= epochs:
        raise ValueError(f'warmup_epochs={cfg.warmup_epochs} must be below max_epochs={epochs}: set both')
    for key, entries in schedulers(cfg):
        if cfg.warmup_epochs and len(entries) == 1:
            raise ValueError(
                f'warmup_epochs={cfg.warmup_epochs}, but {key} has one entry and no warm-up before it: set 0'
            )
        for place, (path, entry) in enumerate(entries.items()):
            warms_up = place == 0 and len(entries) > 1
            yield from _entry(path, entry, cfg, warms_up)


def _check_own_lengths(cfg: Config) -> None:
    """Check that each of several schedulers says where it begins and ends, as far as MMEngine would not know."""
    for _, entries in schedulers(cfg):
        paths = list(entries)
        needed = [(path, 'begin') for path in paths[1:]] + [(path, 'end') for path in paths[:-1]]
        missing = sorted(f'{path}.{key}' for path, key in needed if entries[path].get(key) is None)
        if missing:
            raise ValueError(
                'warmup_epochs=None leaves begin and end to the entries of param_scheduler: state '
                f'{", ".join(missing)}; or set warmup_epochs=0 for a schedule without a warm-up'
            )


def _entry(path: str, entry: Any, cfg: Config, warms_up: bool) -> Iterator[Derived]:
    warmup, epochs = cfg.warmup_epochs, cfg.max_epochs
    if entry.get('by_epoch') is False:
        raise ValueError(
            f'{path}.by_epoch=False counts iterations, and max_epochs and warmup_epochs are epochs: set by_epoch=True '
            f'and convert_to_iter_based=True, with which the rate moves at every iteration, {_OWN}'
        )
    if warms_up:
        if warmup:
            yield _length(f'{path}.end', warmup, 'end of the warm-up', 'warmup_epochs')
        return
    kind, steps = str(entry.get('type')), cfg.get('milestones')
    if steps is not None and kind.endswith('MultiStepLR'):
        steps = list(steps)
        yield _length(f'{path}.begin', 0, 'from where milestones are counted', 'milestones')
        yield Derived(f'{path}.milestones', steps, 'milestones', 'the same', lambda value: f'milestones={value}')
    else:
        yield _length(f'{path}.begin', warmup, 'after the warm-up', 'warmup_epochs')
    yield _length(f'{path}.end', epochs, 'end of training', 'max_epochs')
    if 'T_max' in entry or 'CosineAnnealing' in kind:
        yield _length(f'{path}.T_max', epochs - warmup, 'max_epochs - warmup_epochs', 'max_epochs', warmup)


def iterations(cfg: Config, accumulation: Optional[int] = None) -> Iterator[Derived]:
    """What follows from a segmentor's ``max_iters`` and ``warmup_iters``, which are optimizer steps; changes nothing.

    Args:
        cfg: The config; others than segmentors with our backbones have nothing of the kind.
        accumulation: Batches of a step, which MMEngine's loop counts; None: as derived.

    Raises:
        ValueError: Keys that contradict each other.
    """
    if cfg.get('max_iters') is None or not cfg.get('train_cfg') or our_task(cfg) != 'segmentor':
        return
    steps, warmup = cfg.max_iters, cfg.get('warmup_iters') or 0
    times = batches_per_step(cfg) if accumulation is None else accumulation
    if warmup >= steps:
        raise ValueError(f'warmup_iters={warmup} must be below max_iters={steps}: set both')
    if warmup * times == 1:
        raise ValueError(
            'warmup_iters=1: MMEngine would keep the whole run at the start of such a warm-up; set it to '
            '0 or to 2 and more'
        )

    def length(key: str, value: int, how: str, governing: str) -> Derived:
        how += f' in batches, {times} a step' * (times > 1)
        return Derived(
            key, value * times, governing, how,
            lambda other: f'{governing}={-(-other // times) if isinstance(other, int) else other}', True,
        )  # fmt: skip

    yield length('train_cfg.max_iters', steps, 'length of training', 'max_iters')
    for key, entries in schedulers(cfg):
        if warmup and len(entries) == 1:
            raise ValueError(f'warmup_iters={warmup}, but {key} has one entry and no warm-up before it')
        *first, last = entries
        if first and warmup:
            yield length(f'{first[0]}.end', warmup, 'end of the warm-up', 'warmup_iters')
        yield length(f'{last}.begin', warmup, 'after the warm-up', 'warmup_iters')
        yield length(f'{last}.end', steps, 'end of training', 'max_iters')


def our_task(cfg: Config) -> Optional[str]:
    """``'classifier'``, ``'segmentor'``, ``'detector'`` or ``'landmarks'``: whose keys at the top are carried further.

    None for other models: another toolbox may have such names, too, as variables of its configs.
    """
    model = cfg.get('model') or {}
    kinds = [str(part.get('type')).rpartition('.')[2] for part in (model, model.get('backbone') or {})]
    task, backbones = _TASKS.get(kinds[0], (None, None))
    return task if backbones is None or kinds[1] in backbones else None


def _length(key: str, value: Any, how: str, governing: str, plus: float = 0) -> Derived:
    def instead(other: Any) -> str:
        shown = other + plus if isinstance(other, (int, float)) else other
        if isinstance(shown, (int, float)) and shown < (governing == 'max_epochs'):
            return f'{governing}, {_OWN}'  # no length at all
        return f'{governing}={shown}, {_OWN}'

    return Derived(key, value, governing, how, instead)


def what_follows(cfg: Config, world_size: int = 1) -> List[Derived]:
    """All that follows from the keys at the top of a config for its batches, rates and lengths in epochs.

    Raises:
        ValueError: Keys that contradict each other.
    """
    accumulation = (cfg.get('settled') or {}).get('batches_per_step', 1)  # in the file of an earlier version's run
    return [*batch_and_lr(cfg, world_size), *schedule(cfg), *iterations(cfg, accumulation)]


def leave_out_shares(cfg: Config) -> None:
    """Take out batch and accumulation as another number of processes had them, by the same total and limit.

    Runs of earlier versions wrote them to their config.
    """
    if cfg.get('total_batch_size') is None:
        return
    keys = [one.key for one in what_follows(cfg) if one.by_processes]
    found = {key: stated(cfg, key) for key in keys if stated(cfg, key) is not ABSENT}
    if not found or not all(isinstance(value, int) and value > 0 for value in found.values()):
        return
    for processes in range(1, cfg.total_batch_size + 1):
        if cfg.total_batch_size % processes == 0:
            then = {one.key: one.value for one in what_follows(cfg, processes) if one.by_processes}
            if found.items() <= then.items():
                for key in found:
                    take_out(cfg, key)
                return


def without_derived(cfg: Config) -> Config:
    """A copy of a config without the values that follow from others."""
    cfg = Config(cfg.to_dict())
    with suppress(ValueError, TypeError, KeyError, AttributeError):  # of a checkpoint of before, anything
        for one in what_follows(cfg):
            take_out(cfg, one.key)
    return cfg
