"""Reads the config inside a checkpoint without executing it.

MMEngine stores a run's config as Python text and reads it by executing it. A checkpoint may come from a stranger: here
the text is only parsed, and only literals and ``dict(...)`` pass. That alone is not enough: a registry imports and
calls whatever a ``type`` names, also ``'os.system'``. :func:`check_types` lets only this project's own parts through.
"""

import ast
from typing import Any, Dict, Optional, Tuple, Union

from mmengine.registry import Registry

from ..positions import Grid, grid_size

MOST_CHARACTERS = 1_000_000  # Python's parser is not safe for hostile texts of any length


class ConfigTextError(ValueError):
    """The text is more than a config of plain values, or names parts that are not ours."""


def parse_config_text(text: str) -> Dict[str, Any]:
    """``name = value`` lines, as MMEngine's ``Config.pretty_text`` writes them, to a dict.

    Args:
        text: Values are numbers, strings, booleans, None, lists, tuples, dicts and ``dict(name=value, ...)``.

    Raises:
        ConfigTextError: Anything else, with the line.
    """
    if len(text) > MOST_CHARACTERS:
        raise ConfigTextError(f'a config of {len(text)} characters is not read: {MOST_CHARACTERS} are the most')
    try:
        statements = ast.parse(text).body
        return dict(_assignment(statement) for statement in statements if not _is_comment(statement))
    except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
        if isinstance(error, ConfigTextError):
            raise
        raise ConfigTextError(f'not a config: {type(error).__name__}: {error}') from None


def _is_comment(statement: ast.stmt) -> bool:
    """A docstring."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _assignment(statement: ast.stmt) -> Tuple[str, Any]:
    if not (
        isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name)
    ):
        raise _refusal(statement)
    return statement.targets[0].id, _value(statement.value)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, (bool, int, float, str))):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        number = node.operand.value
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            return -number
    if isinstance(node, (ast.List, ast.Tuple)):
        values = [_value(element) for element in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    if isinstance(node, ast.Dict):
        items = [(key, value) for key, value in zip(node.keys, node.values) if key is not None]
        if len(items) == len(node.keys):  # None stands for **other
            return {_key(key): _value(value) for key, value in items}
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == 'dict'
        and all(keyword.arg for keyword in node.keywords)
    ):
        if not node.args:
            return {keyword.arg: _value(keyword.value) for keyword in node.keywords}
        if not node.keywords and len(node.args) == 1 and isinstance(node.args[0], ast.Dict):
            return _value(node.args[0])  # MMEngine writes keys that are not identifiers so
    raise _refusal(node)


def _key(node: ast.expr) -> Any:
    if not isinstance(node, ast.Constant):
        raise _refusal(node)
    return node.value


def _refusal(node: Union[ast.stmt, ast.expr]) -> ConfigTextError:
    return ConfigTextError(f'line {node.lineno} has more than plain values: {ast.unparse(node)[:80]!r}')


def check_types(cfg: Any, *registries: Registry) -> None:
    """Check that building from ``cfg`` calls only classes that these registries themselves hold.

    Args:
        cfg: A config of any depth.
        *registries: Their own entries count, not those of parents and siblings.

    Raises:
        ConfigTextError: Another ``type``, or a ``_scope_``, which would redirect the look-up.
    """
    if isinstance(cfg, dict):
        if '_scope_' in cfg:
            raise ConfigTextError(f'_scope_={cfg["_scope_"]!r} is not accepted from inside a checkpoint')
        if 'type' in cfg:
            _check_type(cfg['type'], registries)
        cfg = list(cfg.values())
    if isinstance(cfg, (list, tuple)):
        for value in cfg:
            check_types(value, *registries)


def _check_type(name: Any, registries: tuple) -> None:
    for registry in registries:
        registry.import_from_location()
    if not isinstance(name, str) or not any(name.removeprefix('mmmim.') in r.module_dict for r in registries):
        raise ConfigTextError(f'the config inside the checkpoint names the type {name!r}, which is no part of mmmim')


def stated_grid(checkpoint: Any, prefix: str = 'backbone.') -> Optional[Grid]:
    """The patch grid from the image and patch size in a checkpoint's config; None if it states none.

    Args:
        checkpoint: As :func:`mmmim.checkpoint.read.load_file` returned it. The config is a text (a training checkpoint) that
            is parsed and never executed, or a dict (an exported encoder).
        prefix: Prefix of the encoder's names: the key of its config in the model's, else ``backbone``.
    """
    model = _stated_model(checkpoint)
    cfg = model.get((prefix or '').split('.')[0])
    cfg = cfg if isinstance(cfg, dict) else model.get('backbone')
    if not isinstance(cfg, dict) or 'img_size' not in cfg:
        return None
    try:
        return grid_size(cfg['img_size'], cfg.get('patch_size', 16))  # the default of our ViTs and of mmpretrain's
    except (TypeError, ValueError, OverflowError):
        return None


def _stated_model(checkpoint: Any) -> Dict[str, Any]:
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if not isinstance(meta, dict):
        return {}
    exported, text = meta.get('config'), meta.get('cfg_text', meta.get('cfg'))
    if isinstance(exported, dict):
        return dict(backbone=exported.get('backbone', exported))
    try:
        model = parse_config_text(text).get('model') if isinstance(text, str) else None
    except ConfigTextError:  # more than plain values: counts as absent
        model = None
    return model if isinstance(model, dict) else {}
