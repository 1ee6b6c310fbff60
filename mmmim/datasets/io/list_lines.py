"""Lists of images: a text file in UTF-8 with one image a line, ``path`` or ``path label``.

A path that would not be read back from such a line is a JSON string, in double quotes: one with a space at either end,
with a line break or another character that is not printed, with bytes that are not UTF-8, with a double quote at its
start, or, where there are no labels, with a number behind its last space.
"""

import json
from typing import Iterable, List, Optional, Tuple

_DECODER = json.JSONDecoder()


def list_line(path: str, label: Optional[int] = None) -> str:
    """The line of an image, without its line break."""
    if label is not None:
        return f'{_escaped(path)} {label}'
    return json.dumps(path) if path[-1:].isdecimal() and parse_line(path)[1] is not None else _escaped(path)


def _escaped(path: str) -> str:
    return path if path.isprintable() and path[:1] not in ('', '"', ' ') and path[-1] != ' ' else json.dumps(path)


def list_text(paths: Iterable[str], labels: Optional[Iterable[int]] = None) -> str:
    """All lines of a list."""
    paths = list(paths)
    together = ''.join(paths)
    if not together.isprintable() or '"' in together or ' ' in together:  # else none of a million needs a look
        lines = map(list_line, paths) if labels is None else map(list_line, paths, labels)
    else:
        lines = iter(paths) if labels is None else (f'{path} {label}' for path, label in zip(paths, labels))
    return '\n'.join([*lines, ''])


def parse_line(line: str) -> Tuple[str, Optional[int]]:
    """``'a b.jpg 3'`` is ``('a b.jpg', 3)``, ``'a b.jpg'`` is ``('a b.jpg', None)``."""
    line = line.strip()
    if line[:1] == '"':
        quoted = _quoted(line)
        if quoted is not None:
            return quoted
    path, _, last = line.rpartition(' ')
    return (path.rstrip(), int(last)) if path and last.isdecimal() else (line, None)


def _quoted(line: str) -> Optional[Tuple[str, Optional[int]]]:
    """Path and label of a line that begins with a JSON string; None for a plain name that begins with a quote."""
    try:
        path, end = _DECODER.raw_decode(line)
    except ValueError:
        return None
    rest = line[end:].strip()
    if rest and not rest.isdecimal():
        return None
    return path, int(rest) if rest else None


def read_list(path: str) -> List[Tuple[int, str, Optional[int]]]:
    """``(number from 1, path, label or None)`` of each line that is not empty.

    Bytes that are not UTF-8 belong to names as the system has them.
    """
    # a carriage return may be part of a name, and what stands before a line feed is stripped
    with open(path, encoding='utf-8-sig', errors='surrogateescape', newline='\n') as stream:
        lines = [(number, line.strip()) for number, line in enumerate(stream, 1)]
    return [(number, *parse_line(line)) for number, line in lines if line]
