"""Defaults of parts that have changed: what a run or checkpoint of before has to set to be continued or loaded.

A checkpoint states the keys that its config set, and no default. So a default that moves would make another network of
the same config. A line in :data:`CHANGED` makes that an error which names the key and its old value.
"""

import re
from typing import Any, Collection, Iterator, List, NamedTuple, Tuple


class ChangedDefault(NamedTuple):
    """A key of a part's config whose default has changed.

    Attributes:
        types: Registered names of the parts that have the key.
        key: Its name.
        old: The default of before.
        new: Today's.
        of: Regular expression of a parameter's name that such an encoder has with either value.
        added: That of a parameter that it has with the new value only; empty where names do not tell.
        words: What the old default was, where it was no constant.
    """

    types: Tuple[str, ...]
    key: str
    old: Any
    new: Any
    of: str = ''
    added: str = ''
    words: str = ''


# The oldest first; a checkpoint of training says how many there were when it was written.
CHANGED: Tuple[ChangedDefault, ...] = (
    ChangedDefault(
        ('ConvViT', 'DenseConvViT'), 'lean', True, False, r'patch_embed\.stages\.', r'patch_embed\.linear\.'
    ),
    ChangedDefault(('MLPPredictor',), 'hidden_dim', None, None, words='a quarter of the width of the encoder'),
)


def of_another_default(stored: Any, now: Any, known: int = 0, path: str = 'model') -> Iterator[str]:
    """Sentences on keys that a run's config left to a default which is another one today.

    Args:
        stored: The config of the run that wrote a checkpoint, or a part of it.
        now: The same part of the config of this run.
        known: How many entries of :data:`CHANGED` there were then.
        path: Of the part, for messages.
    """
    if isinstance(stored, (list, tuple)) and isinstance(now, (list, tuple)):
        stored, now = dict(enumerate(stored)), dict(enumerate(now))
    if not isinstance(stored, dict) or not isinstance(now, dict):
        return
    kinds = [str(part.get('type')).removeprefix('mmmim.') for part in (stored, now)]
    for one in CHANGED[known:]:
        if set(kinds) <= set(one.types) and one.key not in stored and now.get(one.key, one.new) == one.new:
            name, value = f'{path}.{one.key}', ' to that number' if one.words else f'={one.old}'
            yield f'{name}: the checkpoint was made when {one.words or one.old} was the default; set {name}{value}'
    for key in stored.keys() & now.keys():
        yield from of_another_default(stored[key], now[key], known, f'{path}.{key}')


def advice_on_names(file: Collection[str], own: Collection[str]) -> List[str]:
    """Sentences on keys that a module needs to have the parameters of a file, by names without a prefix."""
    lines = []
    for one in CHANGED:
        if not one.added or not all(any(re.match(one.of, name) for name in names) for names in (file, own)):
            continue
        theirs, ours = (any(re.match(one.added, name) for name in names) for names in (file, own))
        if theirs != ours:
            value, when = (one.new, 'is the default today') if theirs else (one.old, 'was the default before')
            lines.append(f'The backbone needs {one.key}={value}, which {when}.')
    return lines
