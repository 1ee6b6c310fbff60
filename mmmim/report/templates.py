"""The page's HTML stands in the templates of this folder; whatever is put into them is escaped."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

FOLDER = Path(__file__).parent
_TEMPLATES = Environment(
    loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


def tenth(value: float) -> float:
    """A filter: a length in a drawing, rounded; a whole number where it is one."""
    value = round(float(value), 1)
    return int(value) if value == int(value) else value


_TEMPLATES.filters['tenth'] = tenth


def render(name: str, **values: Any) -> Markup:
    """A template with its values; characters that no page can hold become the replacement character."""
    page = _TEMPLATES.get_template(name).render(values)
    page = page.encode('utf-8', 'replace').decode()  # file names may hold lone surrogates
    return Markup(re.sub(r'[\x00-\x08\x0b-\x1f\x7f]', '\ufffd', page))
