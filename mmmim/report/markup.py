"""HTML by construction: what is not markup already is escaped when it enters an element."""

import re
from html import escape
from typing import Any, Iterable, List

VOID = {'br', 'img', 'link', 'meta'}


class Markup(str):
    """Text that is HTML or SVG already."""


def el(tag: str, *children: Any, **attributes: Any) -> Markup:
    """An element of HTML or SVG.

    Args:
        tag: Its name.
        *children: Markup, text (escaped), numbers, nested lists of them; None is left out.
        **attributes: ``class_`` stands for ``class``, ``aria_label`` for ``aria-label``; None is left out.
    """
    pairs = ''.join(
        f' {name.rstrip("_").replace("_", "-")}="{clean(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f'<{tag}{pairs}>' if tag in VOID else f'<{tag}{pairs}>{"".join(_flat(children))}</{tag}>')


def clean(value: Any) -> str:
    """Text that is safe between tags and in quotes; bytes that no text can hold become the replacement character."""
    text = str(value).encode('utf-8', 'replace').decode()  # file names may hold lone surrogates
    return escape(re.sub(r'[\x00-\x08\x0b-\x1f\x7f]', '\ufffd', text))


def table(head: Iterable[Any], rows: Iterable[Iterable[Any]], caption: str, class_: Any = None) -> Markup:
    """A table in a region of its own, which scrolls where the screen is narrow; the first column names the rows.

    ``head`` may be empty; ``class_`` is ``'numbers'`` (aligned to the right), ``'runs'`` (a column a run).
    """
    body = [el('tr', el('th', first, scope='row'), [el('td', cell) for cell in rest]) for first, *rest in rows]
    head = [el('th', cell, scope='col') if cell else el('td') for cell in head]
    content = el(
        'table',
        el('caption', caption, class_='unseen'),
        el('thead', el('tr', head)) if head else None,
        el('tbody', body),
        class_=class_,
    )
    return el('div', content, class_='scroll', tabindex=0, role='region', aria_label=caption)


def code(text: str) -> Markup:
    """Lines to copy."""
    return el('pre', el('code', text))


def _flat(children: Iterable[Any]) -> List[str]:
    flat: List[str] = []
    for child in children:
        if isinstance(child, (list, tuple)):
            flat += _flat(child)
        elif child is not None:
            flat.append(child if isinstance(child, Markup) else clean(child))
    return flat
