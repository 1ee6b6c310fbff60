"""The text of a config file that inherits one of ours, with the reason beside each value."""

from typing import Any, Dict, List, NamedTuple, Sequence, Union

from mmengine.config import Config

from .paths import configs_folder


class Choice(NamedTuple):
    """A value in the config, and the reason for it."""

    value: Any
    reason: str


Bases = Union[str, Sequence[str]]
WIDTH = 118
# settings that the bases leave out
_UNSTATED = ('lr_base_batch', 'max_batch_per_device')


def config_text(choices: Dict[str, Choice], base: Bases, command: str, title: str) -> str:
    """The text of a config that inherits one of ours, or several.

    Args:
        choices: Dotted keys with values and reasons.
        base: Names below ``configs/``, without the ending: ``'quickstart/mae'``.
        command: The command that runs the file, for its docstring.
        title: First line of the docstring.
    """
    named = [f'mmmim::{name}.py' for name in _names(base)]
    inherited = f'_base_ = {source(named[0] if len(named) == 1 else named, 0, 8)}'
    lines = [f'r"""{_in_docstring(title)}', '', f'    {_in_docstring(command)}', '"""', inherited]
    written = set()
    for key in sorted(choices, key=lambda k: not k.endswith('_pipeline')):  # pipelines first: others name them
        first = key.split('.')[0]
        if first in written:
            continue
        written.add(first)
        below = {k: c for k, c in choices.items() if k.split('.')[0] == first}
        lines += _entry(first, below)
    return '\n'.join(lines) + '\n'


def merge_overrides(choices: Dict[str, Choice], overrides: Dict[str, Any], base: Bases) -> Dict[str, Choice]:
    """Add a caller's overrides: dotted keys, or ``__`` for a dot in a keyword; ``base`` as of :func:`config_text`.

    Raises:
        KeyError: The config has no such first key (a typo would pass silently).
    """
    known = {key for name in _names(base) for key in Config.fromfile(str(configs_folder() / f'{name}.py'))}
    merged = dict(choices)
    for key, value in overrides.items():
        key = key.replace('__', '.')
        first = key.split('.')[0]
        if first not in known and first not in merged and first not in _UNSTATED:
            raise KeyError(
                f'there is no setting `{key}`. Settings: {", ".join(sorted(known))}; nested ones are '
                'written with dots, as model.mask_ratio'
            )
        for old in [k for k in merged if k.startswith(f'{key}.')]:
            del merged[old]
        parent = next((k for k in merged if key.startswith(f'{k}.')), None)
        if parent is not None:
            try:
                _set(merged[parent].value, key[len(parent) + 1 :].split('.'), value)
            except (TypeError, ValueError, KeyError, IndexError) as error:
                raise KeyError(f'`{key}` cannot be set: `{parent}` is {merged[parent].value!r}') from error
        else:
            merged[key] = Choice(value, 'as asked for')
    return merged


def _names(base: Bases) -> Sequence[str]:
    return [base] if isinstance(base, str) else base


def _set(node: Any, path: List[str], value: Any) -> None:
    for name in path[:-1]:
        node = node.setdefault(name, {}) if isinstance(node, dict) else node[int(name)]
    node[path[-1] if isinstance(node, dict) else int(path[-1])] = value


def _entry(first: str, choices: Dict[str, Choice]) -> List[str]:
    """``first = value``, each line with its reason."""
    if first in choices:
        choice = choices[first]
        return _with_reason(f'{first} = {source(choice.value, 0, len(first) + 3)}', choice.reason)
    tree: Dict[str, Any] = {}
    for key, choice in choices.items():
        node = tree
        *path, last = key.split('.')[1:]
        for name in path:
            node = node.setdefault(name, {})
        node[last] = choice
    return [f'{first} = dict(', *_branch(tree, 1), ')']


def _branch(tree: Dict[str, Any], depth: int) -> List[str]:
    pad, lines, said = '    ' * depth, [], ''
    for name, node in tree.items():
        if isinstance(node, Choice):
            value = source(node.value, depth, 4 * depth + len(name) + 2)
            lines += _with_reason(f'{pad}{name}={value},', node.reason if node.reason != said else '')
            said = node.reason
        else:
            lines += [f'{pad}{name}=dict(', *_branch(node, depth + 1), f'{pad}),']
    return lines


def _with_reason(code: str, reason: str) -> List[str]:
    """The reason behind the code, or above it where the line would be too long."""
    if not reason:
        return [code]
    reason = '# ' + reason.replace('\n', ' ')
    if '\n' not in code and len(code) + 2 + len(reason) <= WIDTH:
        return [f'{code}  {reason}']
    return [' ' * (len(code) - len(code.lstrip())) + reason, code]


def source(value: Any, depth: int = 0, column: int = 0) -> str:
    """Python source of a config value: ``dict(...)`` where keys allow it, one item a line where a line is too long.

    Args:
        value: What a config can hold.
        depth: Indentation of the line that it begins on, in steps of four.
        column: The column at which it begins.
    """
    if isinstance(value, dict) and all(isinstance(k, str) and k.isidentifier() for k in value):
        opening, closing = 'dict(', ')'
        items = [f'{k}={source(v, depth + 1, 4 * depth + len(k) + 5)}' for k, v in value.items()]
    elif isinstance(value, (list, tuple)) and value:
        opening, closing = '[]' if isinstance(value, list) else '()'
        items = [source(v, depth + 1, 4 * depth + 4) for v in value]
    else:
        return repr(value)
    flat = opening + ', '.join(items) + (',' if isinstance(value, tuple) and len(value) == 1 else '') + closing
    if column + len(flat) < WIDTH and '\n' not in flat:
        return flat
    pad = '    ' * depth
    return f'{opening}\n' + ''.join(f'{pad}    {item},\n' for item in items) + pad + closing


def _in_docstring(text: str) -> str:
    return text.replace('"""', "'''").replace('\n', ' ')
