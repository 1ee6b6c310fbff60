"""Building the parts of an algorithm from their configs."""

import difflib
import inspect
from contextvars import ContextVar
from typing import Any, Optional, Sequence, Union

from torch import nn

from ..registry import MODELS

# Keys of an encoder's config that say where its weights come from and how it is run, and not what it is.
NOT_ARCHITECTURE = ('init_cfg', 'compiled', 'activation_checkpointing')

_part: ContextVar[str] = ContextVar('part', default='')  # the part that is being built


def build_part(cfg: Union[dict, nn.Module, None], name: str, **context: Any) -> Any:
    """Build one part of a model, filling in values that follow from the rest of the model.

    Args:
        cfg: The part's config (``type`` and its keys), a built module, or None.
        name: The part's name in the algorithm's config, for messages.
        **context: Values that are filled in where the part's class takes them and the config leaves them out, such as
            ``grid_size``, which follows from the backbone.

    Returns:
        A module of the config's class (the caller annotates it); None for None.

    Raises:
        KeyError: The config has no ``type``, or the type is not registered.
        TypeError: A key that the part does not have; the message names the keys it has.
    """
    if cfg is None or isinstance(cfg, nn.Module):
        return cfg
    cfg = dict(cfg)
    if 'type' not in cfg:
        raise KeyError(f'model.{name} needs a `type`; it has {sorted(cfg)}')
    cls = MODELS.get(cfg['type']) if isinstance(cfg['type'], str) else cfg['type']
    if cls is None:
        raise KeyError(
            f"model.{name}.type='{cfg['type']}' is not registered. Known here: "
            f'{", ".join(sorted(MODELS.module_dict))}; a part of another toolbox needs its scope, as in '
            "'mmpretrain.X', and that toolbox installed"
        )
    known = _keys_of(cls)
    if known is not None:
        _check_keys(cfg, known, name, cls.__name__)
        for key, value in context.items():
            if key in known:
                cfg.setdefault(key, value)
    token = _part.set(name)
    try:
        return MODELS.build(cfg)
    finally:
        _part.reset(token)


def key_of(option: str, part: str) -> str:
    """The key of a config that sets an option of the part that is being built, for a message: ``model.target.weights``,
    or ``model.target.targets.0.weights`` inside another part; outside of a model that of ``part``."""
    return f'model.{_part.get() or part}.{option}'


def check_model(cfg: dict) -> None:
    """Check the keys of a whole model's config, where it is one of ours, before it is built.

    Raises:
        TypeError: A key that the algorithm does not have; the message names the keys it has.
    """
    cls = MODELS.get(cfg['type']) if isinstance(cfg.get('type'), str) else None
    if cls is not None and cls.__module__.startswith('mmmim.'):
        known = _keys_of(cls)
        if known is not None:
            _check_keys(cfg, known, '', cls.__name__)


def _keys_of(cls: type) -> Optional[set]:
    """Names of the constructor's arguments, with those of the parents that get ``**kwargs`` in classes of ours.

    None if another toolbox's class takes ``**kwargs``: its keys are unknown.
    """
    known: set = set()
    for parent in cls.__mro__:
        if '__init__' not in vars(parent):
            continue
        parameters = inspect.signature(vars(parent)['__init__']).parameters.values()
        known |= {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return known - {'self'}
        if not parent.__module__.startswith('mmmim.'):
            break
    return None


def _check_keys(cfg: dict, known: set, name: str, cls_name: str) -> None:
    unknown = sorted(set(cfg) - known - {'type', '_scope_'})
    if unknown:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f' (did you mean `{close[0]}`?)' if close else ''
        raise TypeError(
            f'model{"." if name else ""}{name}: {cls_name} has no key `{unknown[0]}`{hint}. Its keys: '
            f'{", ".join(sorted(known))}'
        )


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raises ValueError when the value of a config's key is none of the choices."""
    if value not in choices:
        *others, last = map(repr, choices)
        known = f'{", ".join(others)} or {last}' if others else last
        raise ValueError(f'{name}={value!r} is not known; use {known}')
