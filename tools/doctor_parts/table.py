"""The table, and what to do, on a terminal of any width."""

import os
import shutil
import sys
import textwrap
from typing import Any, List, NamedTuple, TextIO, Tuple

from .machine import Row

MARKS = dict(ok='✓', note='!', broken='✗', absent='–')
ASCII_MARKS = dict(ok='ok', note='!', broken='NO', absent='-')
COLOURS = dict(ok='32', note='33', broken='31', absent='2')
TITLES = dict(machine='This machine', installed='Installed', works='What works')


class Style(NamedTuple):
    """How a stream can be written to."""

    width: int
    unicode: bool
    colour: bool

    @classmethod
    def of(cls, stream: TextIO) -> 'Style':
        encoding = (getattr(stream, 'encoding', None) or 'ascii').lower().replace('-', '')
        colour = stream.isatty() and not os.environ.get('NO_COLOR') and os.environ.get('TERM') != 'dumb'
        return cls(max(70, min(shutil.get_terminal_size((80, 24)).columns, 110)), encoding.startswith('utf8'), colour)

    def mark(self, status: str) -> str:
        mark = f'{(MARKS if self.unicode else ASCII_MARKS)[status]:2s}'
        return f'\033[{COLOURS[status]}m{mark}\033[0m' if self.colour else mark

    def bold(self, text: str) -> str:
        return f'\033[1m{text}\033[0m' if self.colour else text


def write(text: str, stream: TextIO = sys.stdout) -> None:
    """Print what an error message may hold also where the terminal cannot show it."""
    encoding = getattr(stream, 'encoding', None) or 'ascii'
    print(text.encode(encoding, 'replace').decode(encoding), file=stream)


def lines_of(rows: List[Row], style: Style) -> List[str]:
    lines = []
    for group, title in TITLES.items():
        members = [row for row in rows if row.group == group]
        if not members:
            continue
        if group == 'installed':
            title = f'{title:22s}version      tested'
        lines += ['', style.bold(title)]
        for row in members:
            head = f' {row.name:18s}'
            if group == 'installed':
                head += f'{row.installed or "-":12s} {row.tested or "-":11s} '
            indent = len(head) + 3
            wrapped = textwrap.wrap(row.detail, max(20, style.width - indent)) or ['']
            lines.append(f' {style.mark(row.status)}{head}{wrapped[0]}'.rstrip())
            lines += [' ' * indent + line for line in wrapped[1:]]
    meanings = dict(ok='works', note='worth knowing', broken='does not work', absent='not here')
    return [*lines, '', '   '.join(f'{style.mark(status)} {meaning}' for status, meaning in meanings.items())]


def to_do(rows: List[Row], style: Style, items: List[Tuple[str, Tuple[str, ...]]]) -> List[str]:
    """Numbered items with their commands, which are never wrapped, so that they can be copied."""
    if not items:
        return []
    lines = ['', style.bold('What to do')]
    for number, (title, commands) in enumerate(items, 1):
        wrapped = textwrap.wrap(title, style.width - 4)
        lines.append(f'{number:2d}. {wrapped[0]}')
        lines += ['    ' + line for line in wrapped[1:]]
        lines += ['      ' + command for command in commands]
    return lines


def as_json(rows: List[Row], **values: Any) -> str:
    import json

    return json.dumps(dict(values, rows=[dict(row._asdict(), mend=list(row.mend)) for row in rows]), indent=1)
