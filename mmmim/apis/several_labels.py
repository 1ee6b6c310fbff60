"""Labels in the rows of a table: one for an image, or several."""

import re
from collections import Counter
from typing import Dict, List, NamedTuple, Optional, Sequence

from ..datasets.image_tables import FILE_COLUMNS, LABEL_COLUMNS, Finder, label_columns

_YES, _NO = ('1', '1.0', 'true', 'yes'), ('0', '0.0', 'false', 'no', '')
_BETWEEN = re.compile(r'[;|]')  # labels in one cell


class Row(NamedTuple):
    """A line of a table: the file that it names, and its labels."""

    name: str
    labels: List[str]


class Rows(NamedTuple):
    """The lines of a table.

    Attributes:
        rows: Without the header.
        columns: Names of the classes where each has a column of 0 and 1; None for a column of labels.
    """

    rows: List[Row]
    columns: Optional[List[str]]


def label_rows(rows: List[List[str]], find: Finder, path: str, several: bool = False) -> Rows:
    """The files and labels of a table.

    Args:
        rows: As :func:`~mmmim.datasets.image_tables.read_rows` gives them.
        find: Of the images.
        path: Of the table, for messages.
        several: Whether an image may have several labels: in a cell (``a;b`` or ``a|b``), or a column of 0 and 1 for
            each class.
    """
    classes = _columns_of_classes(rows) if several else None
    if classes is not None:
        file = next(i for i, cell in enumerate(_header(rows)) if cell in FILE_COLUMNS)
        names = [rows[0][i].strip() for i in classes]
        found = [
            Row(row[file], [name for i, name in zip(classes, names) if row[i].strip().lower() in _YES])
            for row in rows[1:]
        ]
        return Rows(found, names)
    file, label, header = label_columns(rows, find, path)
    cells = [(row[file], row[label].strip()) for row in rows[header:]]
    if not several:
        return Rows([Row(name, [cell] if cell else []) for name, cell in cells], None)
    split = [(name, [one.strip() for one in _BETWEEN.split(cell) if one.strip()]) for name, cell in cells]
    return Rows([Row(name, labels) for name, labels in split], None)


def _header(rows: List[List[str]]) -> List[str]:
    return [cell.strip().lower().lstrip('#').strip() for cell in rows[0]]


def _columns_of_classes(rows: List[List[str]]) -> Optional[List[int]]:
    """Places of the columns of 0 and 1; None unless there are at least two, and a column of files."""
    header = _header(rows)
    if not any(cell in FILE_COLUMNS for cell in header) or any(cell in LABEL_COLUMNS for cell in header):
        return None
    places = [i for i, cell in enumerate(header) if cell not in FILE_COLUMNS]
    fits = all(row[i].strip().lower() in (*_YES, *_NO) for row in rows[1:] for i in places)
    return places if len(places) > 1 and len(rows) > 1 and fits else None


def drawn_by(labels: Dict[str, List[str]], least: int) -> Dict[str, str]:
    """For each image the label by which its part is drawn: the rarest of its labels that ``least`` images have.

    Args:
        labels: Of each image; none at all is possible.
        least: Images of a group; what would be in a smaller one goes to the most common label.
    """
    counts = Counter(label for found in labels.values() for label in found)
    common = counts.most_common(1)[0][0]
    chosen = {name: min(found, key=lambda one: (counts[one], one), default=common) for name, found in labels.items()}
    groups = Counter(chosen.values())
    return {name: label if groups[label] >= least else common for name, label in chosen.items()}


def places_of(labels: Dict[str, List[str]], classes: Sequence[str]) -> Dict[str, List[int]]:
    """The labels of each image as places in ``classes``; others are left out."""
    place = {name: i for i, name in enumerate(classes)}
    return {name: sorted(place[one] for one in set(found) if one in place) for name, found in labels.items()}
