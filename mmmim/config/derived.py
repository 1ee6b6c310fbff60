"""Keys of a config that follow from others: a stated one is an error unless it is the value that follows."""

import math
from contextlib import suppress
from typing import Any, Callable, Iterable, Iterator, List, NamedTuple, Optional

from mmengine.config import Config

ABSENT = object()
_HEADING = 'What follows from it with '  # begins a written config
# given in optimizer steps, and brought to batches
_CONVERTED = ('train_cfg.val_interval', 'default_hooks.checkpoint.interval')
# what a key at the top is called by the parts that get it
_GOVERNING = {
    'num_classes': ('num_classes', 'classes'),
    'classes': ('classes',),
    'checkpoint': ('pretrained',),
    'img_size': ('crop_size', 'image_size'),
    'size': ('crop_size', 'image_size'),
    'crop_size': ('crop_size', 'image_size'),
    'stride': ('crop_size',),
    'pad_size_divisor': ('image_size',),
    'reduce_zero_label': ('reduce_zero_label',),
    'label_map': ('label_map',),
    'worker_init_fn': ('randomness.seed',),
}


class Derived(NamedTuple):
    """A key, and the value that follows for it.

    Attributes:
        key: Dotted; a number stands for a place in a list.
        value: What follows.
        governing: The key at the top of the config from which it follows.
        how: The reason or rule, for the comment in a written config.
        instead: What to set for another value, which it gets; it goes on after "Set".
        by_processes: Whether it is another one with another number of processes.
    """

    key: str
    value: Any
    governing: str
    how: str
    instead: Callable[[Any], str]
    by_processes: bool = False


def stated(cfg: Any, key: str) -> Any:
    """The value of a dotted key; :data:`ABSENT` where it is not stated, or None."""
    node = cfg
    for name in key.split('.'):
        try:
            node = node[int(name)] if isinstance(node, (list, tuple)) else node[name]
        except (KeyError, IndexError, ValueError, TypeError):
            return ABSENT
    return ABSENT if node is None else node


def put(cfg: Any, key: str, value: Any) -> None:
    """Set a dotted key, whose parents are there."""
    parent, _, name = key.rpartition('.')
    node = stated(cfg, parent) if parent else cfg
    node[int(name) if isinstance(node, (list, tuple)) else name] = value


def take_out(cfg: Any, key: str) -> None:
    """Remove a dotted key, if it is there."""
    parent, _, name = key.rpartition('.')
    node = stated(cfg, parent) if parent else cfg
    if isinstance(node, dict):
        node.pop(name, None)


def same(one: Any, other: Any) -> bool:
    """Whether two values of a config are equal; numbers up to rounding."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) or isinstance(other, float):
        with suppress(TypeError):
            return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)


def refuse_others(cfg: Config, derived: Iterable[Derived]) -> None:
    """Check that the config states no value that would be overwritten by another one.

    Raises:
        ValueError: It does. The message names the governing key, and the value for it that gives the stated one.
    """
    wrong = []
    for one in derived:
        value = stated(cfg, one.key)
        if value is not ABSENT and not same(value, one.value):
            wrong.append(
                f'{one.key}={value!r}: {one.governing} governs it, by which it is {one.value!r} ({one.how}). '
                f'Set {one.instead(value)}, or leave {one.key} out'
            )
    if wrong:
        raise ValueError('\n'.join(wrong))


def settle_derived(cfg: Config, derived: Iterable[Derived]) -> None:
    """Set the values that follow; stated others are refused, see :func:`refuse_others`."""
    derived = list(derived)
    refuse_others(cfg, derived)
    for one in derived:
        put(cfg, one.key, one.value)


def check_given(cfg: Config) -> None:
    """Check that what the command line gave is what the run has: another key may have overwritten it.

    Args:
        cfg: The config of the run, complete.

    Raises:
        ValueError: It has. The message names the key, and that which governs it.
    """
    for key, value in cfg.__dict__.get('given', {}).items():
        now, names = stated(cfg, key), key.split('.')
        if len(names) == 1 or names[0] == 'randomness' or key in _CONVERTED or any(map(str.isdigit, names)):
            continue  # keys at the top govern; places in a list may have moved
        if isinstance(value, dict) or value is None or now is ABSENT or same(now, value):
            continue
        governing = [name for name in _GOVERNING.get(names[-1], ()) if stated(cfg, name) is not ABSENT]
        which = f'{" or ".join(governing)}, which governs it: set that' if governing else 'other keys of the config'
        raise ValueError(f'--cfg-options {key}={value!r} has no effect: {now!r} follows from {which}')


def leave_out_overlaid(cfg: Config, path: str, derived: Iterable[Derived]) -> None:
    """Take out what a base states without the key that governs it here: the config put that key over it.

    Such bases are those of other toolboxes. What a config states beside a governing key stays, and is checked when the
    run starts.

    Args:
        cfg: The whole config, which is changed.
        path: Its file.
        derived: What follows in it.
    """
    found = [one for one in derived if stated(cfg, one.key) is not ABSENT]
    for base in _bases_below(path) if found else ():
        for one in found:
            if base.get(one.governing) is None and same(stated(base, one.key), stated(cfg, one.key)):
                take_out(cfg, one.key)


def _bases_below(path: str) -> Iterator[Config]:
    for name in Config._get_base_files(path):
        base = Config._get_cfg_path(name, path)[0]
        yield Config.fromfile(base)
        yield from _bases_below(base)


def leave_out_equal(cfg: Config, derived: Iterable[Derived]) -> None:
    """Take out what equals what follows with any number of processes: it says nothing, and follows where the governing
    key is overridden."""
    for one in derived:
        if not one.by_processes and same(stated(cfg, one.key), one.value):
            take_out(cfg, one.key)


def comments(derived: Iterable[Derived], processes: int) -> str:
    """Lines for the head of a written config: what follows in this run."""
    lines = [f'{one.key} = {one.value!r}  ({one.how})' for one in derived]
    if not lines:
        return ''
    head = f'{_HEADING}{processes} process{"es" * (processes > 1)}, and is not to be set here:'
    return ''.join(f'# {line}\n' for line in [head, *(f'    {line}' for line in lines)])


def has_comments(path: str) -> bool:
    """Whether a config file begins with :func:`comments`: it states nothing that follows, unless somebody edited it."""
    with open(path, encoding='utf-8', errors='replace') as file:
        return file.readline().startswith(f'# {_HEADING}')


def names_of(part: Any) -> List[Optional[str]]:
    """The names of the optimizers of an ``optim_wrapper``; None stands for the only one."""
    part = part or {}
    if 'optimizer' in part:
        return [None]
    return [name for name, wrapper in part.items() if isinstance(wrapper, dict) and 'optimizer' in wrapper]
