"""Check the values of a config against what our classes take, before anything is built.

Every argument of a registered class of ours is annotated. A value of another type would be an error deep inside a
layer or transform, or none at all: a string is true, and a negative width is a slice from the other end.
"""

import functools
import inspect
import os
import types
from collections.abc import Collection, Iterable
from collections.abc import Sequence as AnySequence
from numbers import Integral, Real
from sys import float_info
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np
from mmengine.config import Config
from mmengine.registry import Registry

from .. import registry
from .schedule import our_task, schedulers

F = TypeVar('F', bound=Callable)

# keys that govern others, and those of MMEngine and torch that would be refused without their name, or not at all
KEYS: Dict[str, Any] = {
    'total_batch_size': Optional[int],
    'max_batch_per_device': Optional[int],
    'base_lr': Optional[float],
    'lr_base_batch': Optional[int],
    'max_epochs': Optional[int],
    'warmup_epochs': Optional[float],
    'randomness.seed': Optional[int],
    'optim_wrapper.optimizer.lr': float,
    'optim_wrapper.optimizer.weight_decay': float,
    'optim_wrapper.optimizer.betas': Tuple[float, float],
    'default_hooks.logger.interval': int,
    **{
        f'{loader}_dataloader.{key}': hint
        for loader in ('train', 'val', 'test')
        for key, hint in dict(
            batch_size=int, num_workers=int, prefetch_factor=Optional[int], persistent_workers=bool, pin_memory=bool
        ).items()
    },
    'param_scheduler': Union[dict, Sequence[dict], None],
}
# of each entry of param_scheduler
_OF_SCHEDULERS: Dict[str, Any] = {
    **dict.fromkeys(('begin', 'end', 'T_max', 'eta_min', 'eta_min_ratio', 'start_factor'), Optional[float]),
    **dict.fromkeys(('end_factor', 'factor', 'gamma', 'power'), Optional[float]),
    **dict.fromkeys(('by_epoch', 'convert_to_iter_based'), bool),
    'milestones': Sequence[int],
}
# at the top of the configs of tasks; another toolbox's config may have such a variable, which is not ours to judge
_STARTS: Dict[str, Any] = dict(pretrained=Optional[str], num_classes=Optional[int])
_CLASSES: Dict[str, Any] = dict(classes=Optional[Sequence[str]], scale=Optional[Tuple[int, int]])
OF_TASKS: Dict[str, Dict[str, Any]] = dict(
    classifier=dict(_STARTS, ema_decay=Optional[float]),
    segmentor=dict(
        **_STARTS,
        **_CLASSES,
        reduce_zero_label=Optional[bool],
        label_map=Optional[dict],
        crop_size=Union[int, Tuple[int, int], None],
        max_iters=Optional[int],
        warmup_iters=Optional[int],
        tta=Optional[bool],
        tta_ratios=Sequence[float],
    ),
    detector=dict(
        **_STARTS,
        **_CLASSES,
        **dict.fromkeys(('train_ann', 'val_ann', 'train_images', 'val_images'), Optional[str]),
        skip_broken=Optional[bool],
        image_size=Optional[int],
        milestones=Optional[Sequence[int]],
    ),
    landmarks=dict(pretrained=Optional[str], image_size=Optional[int], ema_decay=Optional[float]),
)

# arguments that are dicts of options: of any encoder, and of the masking strategies
_SIZES, _RATIOS = Union[int, Sequence[int]], Union[float, Sequence[float]]
OPTIONS: Dict[str, Dict[str, Any]] = dict(
    arch=dict(
        **dict.fromkeys(('embed_dim', 'embed_dims', 'depth', 'depths', 'num_heads'), _SIZES),
        **dict.fromkeys(('mlp_ratio', 'mlp_ratios'), _RATIOS),
    ),
    mask_options=dict(unit=int, num_blocks=int, min_block_patches=int),
)


class Bounds(NamedTuple):
    """Values between two numbers, and how that is said."""

    low: float
    high: float
    words: str

    def holds(self, value: Any) -> bool:
        """Whether a number, or each of a list, is within; what is no number has no bounds."""
        if isinstance(value, (list, tuple)):
            return all(self.holds(one) for one in value)
        return isinstance(value, bool) or not isinstance(value, Real) or self.low <= value <= self.high


# what a name means is the same in all our classes
_NAMES_WITH_BOUNDS = {
    Bounds(1, float('inf'), 'at least 1'): """
    total_batch_size max_batch_per_device lr_base_batch max_epochs max_iters batch_size batches_per_step milestones
    ns_steps
    prefetch_factor repeat_crops round_to samples_per_epoch num_images num_classes num_folders severities
    img_size image_size patch_size master_size grid_size window_size cell_size heatmap_size reference_size
    crop_size in_chans embed_dim embed_dims num_heads num_class_tokens in_dim out_dim out_dims hidden_dim noise_dim
    noise_shape channels out_channels num_outs num_components num_bins unit min_block_patches
    """,
    Bounds(0, float('inf'), 'not negative'): """
    base_lr lr weight_decay warmup_epochs warmup_iters begin adv_start adv_ramp gan_ramp val_begin seed num_workers
    cache_from keep_last depth depths num_blocks trainable_blocks num_register_tokens num_prefix_tokens mlp_ratio
    mlp_ratios layer_scale eps max_shift padding window reach noise_scale sigma std
    """,
    Bounds(0, 1, 'from 0 to 1'): """
    mask_ratio target_mask_ratio momentum ema_momentum prob flip_prob blur_prob gray_prob drop_path_rate
    drop_rate unchanged_ratio max_share ema_decay
    """,
    Bounds(float_info.min, float('inf'), 'above 0'): 'size temperature tta_ratios T_max',
}
BOUNDS: Dict[str, Bounds] = {name: bounds for bounds, names in _NAMES_WITH_BOUNDS.items() for name in names.split()}


def check_values(cfg: Config) -> None:
    """Check :data:`KEYS`, and every dict whose ``type`` is a class or function of ours.

    Args:
        cfg: The config, as it was read. Names without a scope are ours where its ``default_scope`` is ``mmmim``.

    Raises:
        TypeError: A value of another type than the argument's annotation; the message names the key, what it takes
            and what came.
        ValueError: A number out of the bounds of its name.
    """
    for key, hint in KEYS.items():
        node, name = cfg._cfg_dict, key
        while isinstance(node, dict) and '.' in name:
            first, _, name = name.partition('.')
            node = node.get(first)
        if isinstance(node, dict) and name in node:
            _check(key, node[name], hint)
    _check_keys_of_task(cfg)
    ours = _registered()
    plain = cfg.get('default_scope', 'mmmim') == 'mmmim'
    for path, node in _typed(cfg._cfg_dict):
        kind = node['type']
        if isinstance(kind, str):
            name = kind.removeprefix('mmmim.')
            kind = ours.get(name) if plain or name != kind else None
        if not callable(kind) or not kind.__module__.startswith('mmmim.'):
            continue
        for key, hint in hints_of(kind).items():
            if key in node:
                name = f'{path}.{key}' if path else key
                _check(name, node[key], hint)
                if key in OPTIONS and isinstance(node[key], dict):
                    _check_options(name, node[key])


def _check_keys_of_task(cfg: Config) -> None:
    for key, hint in OF_TASKS.get(our_task(cfg) or '', {}).items():
        if key in cfg:
            _check(key, cfg[key], hint)
            if key == 'scale' and cfg[key] is not None and min(cfg[key]) < 1:
                raise ValueError(f'scale={cfg[key]!r}: it takes {in_words(hint)}, at least 1')
    for _, entries in schedulers(cfg):
        for path, entry in entries.items():
            for key, hint in _OF_SCHEDULERS.items():
                if isinstance(entry, dict) and key in entry:
                    _check(f'{path}.{key}', entry[key], hint)


def _check_options(path: str, options: Dict[str, Any]) -> None:
    hints = OPTIONS[path.rpartition('.')[2]]
    for key, value in options.items():
        if key == '_delete_':
            continue
        if key not in hints:
            raise TypeError(f'{path} has no key `{key}`. Its keys: {", ".join(sorted(hints))}')
        _check(f'{path}.{key}', value, hints[key])


def checked(function: F) -> F:
    """A function whose arguments are checked by their annotations.

    Raises (as the result does):
        TypeError: A value of another type; the message names the argument, what it takes and what came.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def check_and_call(*args: Any, **kwargs: Any) -> Any:
        hints = get_type_hints(function)  # here, where classes that they name are defined
        for name, value in signature.bind_partial(*args, **kwargs).arguments.items():
            if signature.parameters[name].kind is not inspect.Parameter.VAR_KEYWORD and not fits(value, hints[name]):
                raise TypeError(_refusal(name, value, hints[name]))
        return function(*args, **kwargs)

    return check_and_call  # type: ignore[return-value]


def hints_of(kind: Any) -> Dict[str, Any]:
    """The annotations of the arguments of a function or class, with those of parents of ours that get ``**kwargs``."""
    hints: Dict[str, Any] = {}
    owners = [c for c in kind.__mro__ if '__init__' in vars(c)] if inspect.isclass(kind) else [kind]
    for owner in owners:
        if not owner.__module__.startswith('mmmim.'):
            break
        function = vars(owner)['__init__'] if inspect.isclass(owner) else owner
        hints = {**get_type_hints(function), **hints}
        if not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values()):
            break
    hints.pop('return', None)
    return hints


def fits(value: Any, hint: Any) -> bool:
    """Whether a value of a config can be an argument with this annotation.

    As a config has it: a list for a tuple, a whole number for a float, a dict or a built object for a part.
    """
    origin, inside = get_origin(hint), get_args(hint)
    if hint in (Any, inspect.Parameter.empty):
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in inside)
    if hint in (None, type(None)):
        return value is None
    if hint in (bool, int, float):
        kind = {bool: bool, int: Integral, float: Real}[hint]
        return isinstance(value, kind) and (hint is bool) == isinstance(value, bool)
    if hint is str:
        return isinstance(value, str) or hasattr(value, '__fspath__')
    if hint is dict or origin is dict:
        return not (value is None or isinstance(value, (str, Real, list, tuple))) and (
            not isinstance(value, dict) or not inside or all(fits(one, inside[1]) for one in value.values())
        )
    if inside and isinstance(origin, type) and issubclass(origin, (tuple, Collection, Iterable)):
        if not isinstance(value, (list, tuple, np.ndarray)):
            return False
        exact = origin is tuple and inside[-1] is not Ellipsis
        return (
            not exact
            and all(fits(one, inside[0]) for one in value)
            or (exact and len(value) == len(inside) and all(map(fits, value, inside)))
        )
    kind = origin or hint
    return isinstance(value, dict) or not isinstance(kind, type) or isinstance(value, kind)


_NAMES = {
    bool: ('True or False',) * 2,
    int: ('a whole number', 'whole numbers'),
    float: ('a number', 'numbers'),
    str: ('a string', 'strings'),
    dict: ('a dict', 'dicts'),
    type(None): ('None', 'None'),
}


def in_words(hint: Any, several: bool = False) -> str:
    """What an annotation takes: ``'a whole number, a list of 2 whole numbers or None'``."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        found = list(dict.fromkeys(in_words(one, several) for one in inside))
        return f'{", ".join(found[:-1])} or {found[-1]}' if len(found) > 1 else found[0]
    if (origin or hint) in _NAMES and not inside:
        return _NAMES[origin or hint][several]
    if origin is AnySequence and not inside:
        return 'lists' if several else 'a list'
    if origin is os.PathLike:
        return 'paths' if several else 'a path'
    if origin is dict and inside:
        return f'a dict of {in_words(inside[1], True)}'
    if inside:
        count = f'{len(inside)} ' if origin is tuple and inside[-1] is not Ellipsis else ''
        return f'{"lists" if several else "a list"} of {count}{in_words(inside[0], True)}'
    return getattr(hint, '__name__', str(hint))


def _check(path: str, value: Any, hint: Any) -> None:
    if not fits(value, hint):
        raise TypeError(_refusal(path, value, hint))
    bounds = BOUNDS.get(path.rpartition('.')[2])
    if bounds and not bounds.holds(value):
        raise ValueError(f'{path}={value!r}: it takes {in_words(hint)}, {bounds.words}')


def _refusal(name: str, value: Any, hint: Any) -> str:
    came = '' if value is None or isinstance(value, bool) else f', and this is {_came(value)}'
    return f'{name}={value!r}: it takes {in_words(hint)}{came}'


def _came(value: Any) -> str:
    name = _NAMES.get(type(value))
    return name[0] if name else f'a {type(value).__name__.replace("ConfigDict", "dict")}'


def _registered() -> Dict[str, Any]:
    """Our registered classes and functions by name; their modules are imported."""
    found: Dict[str, Any] = {}
    for one in vars(registry).values():
        if isinstance(one, Registry) and one.scope == 'mmmim':
            one.import_from_location()
            for name, kind in one.module_dict.items():
                found.setdefault(name, kind)
    return found


def _typed(node: Any, path: str = '') -> Iterator[Tuple[str, Dict[str, Any]]]:
    """Every dict with a ``type`` below a config, and its dotted key. Lists at the top are named again below it."""
    if isinstance(node, dict) and 'type' in node:
        yield path, node
    below: List[Tuple[Any, Any]] = list(node.items() if isinstance(node, dict) else enumerate(node))
    for key, value in below:
        if isinstance(value, dict) or (isinstance(value, (list, tuple)) and (path or key == 'custom_hooks')):
            yield from _typed(value, f'{path}.{key}' if path else str(key))
