"""Reads the config inside a checkpoint without executing it.

MMEngine stores a run's config as Python text and reads it by executing it. A checkpoint may come from a stranger: here
the text is only parsed, and only literals and ``dict(...)`` pass. That alone is not enough: a registry imports and
calls whatever a ``type`` names, also ``'os.system'``. :func:`check_types` lets only this project's own parts through.
"""

import ast
from typing import Any, Dict, Optional, Tuple

from mmengine.registry import Registry

from ..positions import Grid, grid_size

MOST_CHARACTERS = 1_000_000  # Python's parser is not safe for hostile texts of any length


class ConfigTextError(ValueError):
    """The text is more than a config of plain values, or names parts that are not ours."""


def parse_config_text(text: str) -> Dict[str, Any]:
    """``name = value`` lines, as MMEngine's ``Config.pretty_text`` writes them, to a dict.

    Args:
        text: Values are literals of Python (numbers, strings, booleans, None, lists, tuples, dicts) and
            ``dict(name=value, ...)``.

    Raises:
        ConfigTextError: Anything else, with the line.
    """
    if len(text) > MOST_CHARACTERS:
        raise ConfigTextError(f'a config of {len(text)} characters is not read: {MOST_CHARACTERS} are the most')
    values = {}
    try:
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                continue  # a docstring
            if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
                raise _refusal(statement)
            values[statement.targets[0].id] = ast.literal_eval(_PlainValues().visit(statement.value))
    except (SyntaxError, RecursionError, MemoryError, TypeError, ValueError) as error:
        if isinstance(error, ConfigTextError):
            raise
        raise ConfigTextError(f'not a config: {type(error).__name__}: {error}') from None
    return values


class _PlainValues(ast.NodeTransformer):
    """Lets literals pass, and makes displays of ``dict(a=1)`` and ``dict({'a b': 1})``, as MMEngine writes them."""

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
            names = [keyword.arg for keyword in node.keywords]
            if not node.args and None not in names:  # None stands for **other
                node = ast.Dict([ast.Constant(name) for name in names], [keyword.value for keyword in node.keywords])
            elif not names and len(node.args) == 1 and isinstance(node.args[0], ast.Dict):
                node = node.args[0]
        known = isinstance(node, (ast.List, ast.Tuple, ast.Dict, ast.UnaryOp, ast.USub, ast.Load)) or (
            isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float, str, type(None)))
        )
        if not known or (isinstance(node, ast.Dict) and None in node.keys):
            raise _refusal(node)
        return self.generic_visit(node)


def _refusal(node: ast.AST) -> ConfigTextError:
    return ConfigTextError(
        f'line {getattr(node, "lineno", "?")} has more than plain values: {ast.unparse(node)[:80]!r}'
    )


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


def _check_type(name: Any, registries: Tuple[Registry, ...]) -> None:
    for registry in registries:
        registry.import_from_location()
    if not isinstance(name, str) or not any(name.removeprefix('mmmim.') in r.module_dict for r in registries):
        raise ConfigTextError(f'the config inside the checkpoint names the type {name!r}, which is no part of mmmim')


def stored_config(checkpoint: Any) -> Dict[str, Any]:
    """The config in a checkpoint, with at least ``model.backbone``; empty if there is none.

    Args:
        checkpoint: As :func:`mmmim.checkpoint.read.load_file` returned it. The config is a text (a training checkpoint)
            that is parsed and never executed, or a dict (an exported encoder).

    Raises:
        ConfigTextError: The text is more than plain values.
    """
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    meta = meta if isinstance(meta, dict) else {}
    exported, text = meta.get('config'), meta.get('cfg_text', meta.get('cfg'))
    if isinstance(exported, dict):
        statistics = {key: exported[key] for key in ('mean', 'std') if key in exported}
        cfg = dict(model=dict(backbone=exported.get('backbone', exported), data_preprocessor=statistics))
        cfg.update({key: exported[key] for key in ('start', 'teacher', 'layer') if key in exported})
        if isinstance(exported.get('pipeline'), list):  # of evaluation: another crop gives other features
            cfg['test_dataloader'] = dict(dataset=dict(pipeline=exported['pipeline']))
    else:
        cfg = parse_config_text(text) if isinstance(text, str) else {}
    model = cfg.get('model')
    return cfg if isinstance(model, dict) and isinstance(model.get('backbone'), dict) else {}


def stated_grid(model: Dict[str, Any], part: str = 'backbone') -> Optional[Grid]:
    """The patch grid from the image and patch size of a part of a model's config; None if it states none."""
    cfg = model.get(part)
    cfg = cfg if isinstance(cfg, dict) else model.get('backbone')
    if not isinstance(cfg, dict) or 'img_size' not in cfg:
        return None
    try:
        return grid_size(cfg['img_size'], cfg.get('patch_size', 16))  # the default of our ViTs and of mmpretrain's
    except (TypeError, ValueError, OverflowError):
        return None
