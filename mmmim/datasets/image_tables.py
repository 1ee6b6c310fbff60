"""Tables in text files (csv) with a column of image files: whatever delimits them, with and without a header."""

import csv
import io
import os
from collections import defaultdict
from contextlib import suppress
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple

from .io.file_list import list_images
from .io.formats import IMAGE_EXTENSIONS
from .io.tar_files import image_exists, tar_index

FILE_COLUMNS = ('file', 'filename', 'file_name', 'image', 'img', 'path', 'filepath', 'file_path', 'image_path')
FILE_COLUMNS += ('image_file', 'image_id', 'id', 'name', 'photo', 'picture')
LABEL_COLUMNS = ('label', 'labels', 'class', 'class_name', 'category', 'target', 'species', 'kind', 'y')


def read_rows(path: str, least: int = 2) -> List[List[str]]:
    """The rows of a table in a text file, whatever delimits them; all have the same number of columns, at least
    ``least``, which is 1 or 2.

    Raises:
        ValueError: There are none, or they differ.
    """
    try:
        text = _text(path)
    except (UnicodeDecodeError, OSError) as error:
        raise ValueError(f'{path} cannot be read as text in UTF-8 ({error}): labels are a csv of FILE,LABEL') from None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f'{path} is empty: labels are a csv of FILE,LABEL')
    for delimiter in (',', ';', '\t', '|'):
        try:
            # as a stream, since a name in quotes may hold a line break
            blanks = f'{delimiter} "' in text  # before a quote they are no part of a name
            table = csv.reader(io.StringIO(text, newline=''), delimiter=delimiter, skipinitialspace=blanks)
            rows = [row for row in table if any(cell.strip() for cell in row)]
        except csv.Error:  # such as a cell without end
            continue
        if min(map(len, rows)) >= 2 and len(set(map(len, rows))) == 1:
            return rows
    if least == 1:
        return [row for row in csv.reader(io.StringIO(text, newline=''), delimiter='\0') if any(row)]
    rows = [line.strip().rsplit(None, 1) for line in lines]  # file names may hold spaces, labels here not
    if min(map(len, rows)) == 2:
        return rows
    raise ValueError(
        f'{path} is no table: no delimiter (comma, semicolon, tab, |, space) gives every line the same number of '
        f'columns, two or more. Its first line is {lines[0][:80]!r}; a line should be FILE,LABEL'
    )


def _text(path: str) -> str:
    """A text in UTF-8, or in another encoding of names, whose bytes are kept."""
    with open(path, 'rb') as file:
        content = file.read()
    if b'\0' in content:  # no text, or in UTF-16
        return content.decode('utf-8-sig')
    return content.decode('utf-8-sig', errors='surrogateescape')


def _spellings(name: str) -> List[str]:
    """A name in a table as it is, without blanks around it, and with Windows' separators; none for an empty cell."""
    names = dict.fromkeys([name, name.strip()])
    if os.sep == '/':
        names.update(dict.fromkeys(spelling.replace('\\', '/') for spelling in list(names)))
    return [spelling for spelling in names if spelling]


class Finder:
    """Finds the image that a table names: a path, also of a member of a tar, or, where only one fits, a file name or
    stem below the folders, or else in their tars.

    Args:
        roots: Folders, or tars.
    """

    def __init__(self, roots: Sequence[str]) -> None:
        self.roots = roots
        self.indices: List[Dict[str, List[str]]] = []  # of files; of members, once a file was not found

    def __call__(self, name: str) -> Optional[str]:
        """The absolute path; None without one. Raises ValueError if several fit."""
        for spelling in _spellings(name):
            for root in self.roots:
                path = os.path.normpath(os.path.join(root, os.path.expanduser(spelling)))
                if image_exists(path):
                    return path
        found: List[str] = []
        for place, paths in enumerate((self._files, self._members)):
            if place == len(self.indices):
                self.indices.append(_by_names(paths()))
            found = next(filter(None, map(self.indices[place].get, _spellings(name))), [])
            if found:
                break
        if len(found) > 1:
            raise ValueError(f'{name!r} may be {found[0]} or {found[1]}: give the path, with its folder')
        return found[0] if found else None

    def _files(self) -> Iterator[Tuple[str, str]]:
        """Each root with the names of images below it."""
        for root in self.roots:
            if os.path.isdir(root):
                yield from ((root, file) for file in list_images(root))

    def _members(self) -> Iterator[Tuple[str, str]]:
        """Each tar in the roots with the names of images in it."""
        for root in self.roots:
            names = sorted(os.listdir(root)) if os.path.isdir(root) else ['']
            for tar in (os.path.join(root, name).rstrip('/') for name in names if not name.startswith('.')):
                if tar.lower().endswith('.tar') and os.path.isfile(tar):
                    with suppress(OSError, ValueError):  # another's, that cannot be read
                        yield from ((tar, member) for member in tar_index(tar).names.tolist())


def _by_names(files: Iterable[Tuple[str, str]]) -> Dict[str, List[str]]:
    """File names, stems, and paths without suffix, to the paths that have them."""
    index: Dict[str, Set[str]] = defaultdict(set)
    for root, file in files:
        base = os.path.basename(file)
        for key in {base, base.strip(), os.path.splitext(base)[0], os.path.splitext(file)[0], file}:
            index[key].add(os.path.join(root, file))
    return {key: sorted(paths) for key, paths in index.items()}


def label_columns(rows: List[List[str]], find: Finder, path: str) -> Tuple[int, int, int]:
    """The column of file names, that of labels, and how many rows the header has (0 or 1)."""
    first = [cell.strip().lower().lstrip('#').strip() for cell in rows[0]]
    files = [first.index(name) for name in FILE_COLUMNS if name in first]
    labels = [first.index(name) for name in LABEL_COLUMNS if name in first]
    if files and (labels or len(first) == 2):
        return files[0], labels[0] if labels else 1 - files[0], 1
    if len(rows) > 1 and find(rows[0][0].strip()) is None and find(rows[1][0].strip()) is not None:
        suffix = os.path.splitext(first[0])[1].lstrip('.')
        if suffix not in IMAGE_EXTENSIONS:
            return 0, labels[0] if labels else 1, 1
    if len(first) > 2 and find(rows[0][0].strip()) is None:
        raise ValueError(
            f'{path}: which of the columns {rows[0]} is the file and which the label? Name them file and label'
        )
    return 0, 1, 0


def file_columns(rows: List[List[str]], find: Finder, path: str) -> Tuple[int, Optional[int], int]:
    """The column of file names, that of labels or None, and how many rows the header has (0 or 1).

    Raises:
        ValueError: No column has files.
    """
    first = [cell.strip().lower().lstrip('#').strip() for cell in rows[0]]
    files = [first.index(name) for name in FILE_COLUMNS if name in first]
    labels = [first.index(name) for name in LABEL_COLUMNS if name in first]
    if files:
        return files[0], labels[0] if labels else None, 1
    for header in range(min(2, len(rows))):
        for column, cell in enumerate(rows[header]):
            if find(cell) is not None:
                other = 1 - column if len(first) == 2 and not header else None
                return column, labels[0] if labels and header else other, header
    raise ValueError(
        f'{path}: none of its columns has names of images; they are {", ".join(map(repr, rows[0][:10]))}. Name one of '
        f'them {", ".join(FILE_COLUMNS[:6])}; names are relative to its folder, or absolute'
    )
