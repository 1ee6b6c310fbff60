"""What ``data`` of a call may be, and the images in it.

===========================================  =======================================================================
``data``                                     images
===========================================  =======================================================================
a folder                                     all below it; ``train/`` with ``val/`` or ``test/`` are a split
``photos.tar``, ``'data-{000..009}.tar'``,   members, read in place; labels by folders, ``.cls`` or ``.json``
``'data-*.tar'``, a folder of tars
``list.txt``                                 one a line, relative to the list's folder; a number behind it is a label
``table.csv`` (``.tsv``)                     a column of files and, where there is one, a column of labels
CIFAR's official archives or folders         their images, by way of a tar that is written once
several of these                             all of them
===========================================  =======================================================================
"""

import glob
import os
import re
from itertools import islice
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from .cifar_files import as_tar, official_source
from .folder_roles import (
    TEST,
    TRAIN,
    VALIDATION,
    find_split,
    is_role,
    leave_out_masks,
    part_of,
    split_folders,
    subfolders,
)
from .image_tables import Finder, file_columns, read_rows
from .io.file_list import listing, names_in_words, walk
from .io.formats import IMAGE_EXTENSIONS
from .io.list_lines import read_list
from .io.tar_files import image_exists, missing_images, split_member, tar_index

Data = Union[str, Sequence[str]]


class Files(NamedTuple):
    """Images below a folder.

    Attributes:
        root: The folder.
        names: Relative to it.
        classes: The class of each image; None where they have none.
    """

    root: str
    names: List[str]
    classes: Optional[List[str]]
    numbers: bool = False  # classes that are numbers are in the order of numbers, not of words

    def class_names(self) -> List[str]:
        """Each class once, in the order of labels."""
        return sorted(set(self.classes or ()), key=number_first if self.numbers else None)


class Found(NamedTuple):
    """The images of one source.

    Attributes:
        train: All of them, or those that the source has for training.
        held_out: Those that the source has for other purposes; None where it makes no difference between images.
        note: How the source divides them, in words; empty where it does not.
        said: Sentences on what was left out, and what was taken for what.
    """

    train: Files
    held_out: Optional[Files]
    note: str
    said: List[str]


def number_first(label: str) -> Tuple[bool, int, str]:
    number = label.isdecimal()
    return not number, int(label) if number else 0, label


def read_data(data: Data) -> Found:
    """The images of what a call got as ``data``; see the head of this module.

    Raises:
        FileNotFoundError: Something does not exist, or has no images.
        ValueError: A list, table or tar that cannot be used.
    """
    sources = [os.path.expanduser(source) for source in ([data] if isinstance(data, (str, os.PathLike)) else data)]
    found = [_read_source(source) for source in sources]
    if not found:
        raise ValueError('data names nothing: a folder of images is needed, a list, a table or a tar')
    return found[0] if len(found) == 1 else _together(found, sources)


def all_images(data: Data) -> Tuple[str, List[str], List[str]]:
    """All images of ``data``, whatever they are for: ``(root, names below it, what was left out, in words)``.

    Of a folder the names are those below it, sorted; of a list or table they are in its order.
    """
    data = data[0] if isinstance(data, (list, tuple)) and len(data) == 1 else data
    if isinstance(data, (str, os.PathLike)) and os.path.isdir(os.path.expanduser(data)):
        folder = check_folder(os.path.expanduser(data))
        if _holds_files(folder):  # else they are in tars, or in batches of CIFAR
            said: List[str] = []
            return folder, _listed(folder, said), said
    found = read_data(data)
    parts = [part for part in (found.train, found.held_out) if part is not None]
    root = os.path.commonpath([part.root for part in parts])
    return root, [name for part in parts for name in _relative_to(root, part)], found.said


def named(file: str) -> List[str]:
    """The images that a list, table or tar names; of any other file it is itself."""
    if os.path.splitext(file)[1].lower() not in _READERS:
        return [file]
    part = _read_source(file).train
    return [os.path.join(part.root, name) for name in part.names]


def _read_source(source: str) -> Found:
    cifar = _cifar(source)
    if cifar and not (os.path.isdir(source) and _holds_files(source)):
        if len(cifar) > 1:
            raise ValueError(f'{source!r} holds CIFAR-10 and CIFAR-100: give {" or ".join(map(str, cifar.values()))}')
        ((classes, place),) = cifar.items()
        return read_tars([as_tar(place, classes)])
    if os.path.isdir(source):
        folder = check_folder(source)
        tars = _tars_in(folder)
        return read_tars(tars) if tars else read_folder(source)
    if not os.path.exists(source):
        files = _expanded(source)
        if files and all(os.path.isfile(file) for file in files):
            return read_tars(files)
        raise FileNotFoundError(
            f'{source!r} does not exist; a folder of images is needed, a list (.txt), a table (.csv) or tars (.tar)'
        )
    ending = os.path.splitext(source)[1].lower()
    reader = _READERS.get(ending)
    if reader is None:
        raise FileNotFoundError(f'{source!r} is a file; {_instead(ending)}')
    return reader(os.path.abspath(source))


def _cifar(source: str) -> Dict[int, Path]:
    """CIFAR's official files that a path is or holds, by their number of classes."""
    return {classes: place for classes in (10, 100) if (place := official_source(Path(source), classes))}


def _holds_files(folder: str) -> bool:
    """Whether there are image files below a folder that is no folder of CIFAR's batches."""
    return Path(folder) not in _cifar(folder).values() and len(listing(folder).paths) > 0


def _instead(ending: str) -> str:
    if ending == '.tar':
        return 'give the folder that they are in, or their names, as data'
    if ending in ('.gz', '.tgz', '.xz', '.bz2', '.zst', '.zip', '.7z', '.rar'):
        return 'it is compressed: unpack it, or make a plain .tar of it, which is read in place'
    if ending in ('.parquet', '.arrow', '.h5', '.hdf5', '.lmdb'):
        return 'a data set for it is written in docs/extend/dataset.md'
    return 'a folder of images is needed, a list (.txt), a table (.csv, .tsv) or tars (.tar)'


def _together(found: List[Found], sources: List[str]) -> Found:
    """Several sources as one. Parts of a split stay apart where any source has one."""
    train = [each.train for each in found]
    held_out = [each.held_out for each in found if each.held_out is not None]
    root = os.path.commonpath([part.root for part in (*train, *held_out)])
    said = [sentence for each in found for sentence in each.said]
    note = ''
    if held_out:
        note = f'held out are the parts for it of {len(held_out)} of {len(sources)} sources'
    return Found(_merged(root, train), _merged(root, held_out) if held_out else None, note, said)


def _merged(root: str, parts: List[Files]) -> Files:
    """All images once; classes where every part has some."""
    classes: Dict[str, Optional[str]] = {}
    for part in parts:
        for name, label in zip(_relative_to(root, part), part.classes or [None] * len(part.names)):
            classes.setdefault(name, label)
    labels = [label for label in classes.values() if label is not None]
    labelled = len(labels) == len(classes) and len(set(labels)) > 1
    return Files(root, list(classes), labels if labelled else None, all(part.numbers for part in parts))


def _relative_to(root: str, part: Files) -> List[str]:
    below = os.path.relpath(part.root, root)
    return list(part.names) if below == '.' else [f'{below}/{name}' for name in part.names]


def check_folder(folder: str) -> str:
    """The absolute path. Raises FileNotFoundError, with what is wrong, for what is no folder that can be read."""
    if not os.path.isdir(folder):
        what = 'is a file' if os.path.exists(folder) else 'does not exist'
        raise FileNotFoundError(f'{folder!r} {what}; a folder of images is needed')
    if not os.access(folder, os.R_OK | os.X_OK):
        raise FileNotFoundError(f'the folder {folder!r} may not be read by this user')
    return os.path.abspath(folder)


def read_folder(folder: str) -> Found:
    """The images of a folder; ``train/`` with ``val/`` or ``test/``, under any of their usual names, are its parts.

    Raises:
        FileNotFoundError: No folder, or no images in it.
    """
    folder = check_folder(folder)
    place, parts = folder_parts(folder)
    held_out = parts.get(VALIDATION, parts.get(TEST))
    said: List[str] = []
    if TRAIN not in parts:
        return Found(images_below(folder, said), None, '', said)
    train = _part(os.path.join(place, parts[TRAIN]), said)
    used = [name for name in (parts[TRAIN], held_out) if name]
    below = '' if place == folder else f'{os.path.relpath(place, folder)}/'
    if others := [f'{below}{name}/' for name in subfolders(place) if name not in used]:
        said.append(f'not used: {names_in_words(others)}')
    if held_out is None:
        return Found(train, None, '', said)
    note = f'its {below}{parts[TRAIN]}/ and {below}{held_out}/ are used as they are'
    return Found(train, _part(os.path.join(place, held_out), said), note, said)


def folder_parts(folder: str) -> Tuple[str, Dict[str, str]]:
    """The folder that holds the parts of a split, and their names; none where ``train`` is a class among others, such
    as bus, car and truck: alone of the parts, with images right in it, and at least two other folders with images.
    """
    place = find_split(folder)
    parts = split_folders(place)
    if list(parts) == [TRAIN] and not subfolders(os.path.join(place, parts[TRAIN])):
        others = [name for name in subfolders(place) if not part_of(name) and not is_role(name)]
        classes = (name for name in others if _holds_images(os.path.join(place, name)))
        if _holds_images(os.path.join(place, parts[TRAIN])) and len(list(islice(classes, 2))) == 2:
            return folder, {}
    return place, parts


def _holds_images(folder: str) -> bool:
    endings = tuple(f'.{ending}' for ending in IMAGE_EXTENSIONS)
    return any(name.lower().rstrip().endswith(endings) for name in walk(folder))


def _part(folder: str, said: List[str]) -> Files:
    """The images of a part of a split: those below it, or those in its tars."""
    tars = _tars_in(folder)
    if not tars:
        return images_below(folder, said)
    found = read_tars(tars)
    said += found.said
    return _whole(found)


def _whole(found: Found) -> Files:
    return found.train if found.held_out is None else _merged(found.train.root, [found.train, found.held_out])


def images_below(root: str, said: List[str]) -> Files:
    """All images under a folder but masks and results of runs; appends to ``said`` what was left out.

    Classes are the folders below, or below the one folder that holds everything, where every image lies in one and
    there are at least two.

    Raises:
        FileNotFoundError: There are none.
    """
    names = _listed(root, said)
    top, names_below = _below_one_folder(names)
    if top and folder_classes(names_below):
        root, names = os.path.join(root, top), names_below
    return Files(root, names, folder_classes(names))


def _listed(root: str, said: List[str]) -> List[str]:
    found = listing(root)
    said += [f'{os.path.basename(root)}/: {sentence}' for sentence in found.left_out()]
    if not len(found.paths):
        formats = '(jpg, png, webp, bmp, gif, tif, ppm, jp2, npy ...)'
        known = ('.parquet', '.arrow', '.h5', '.zip', '.gz', '.tar')
        other = next((ending for ending in found.skipped if ending in known), '')
        raise FileNotFoundError(
            f'there are no images under {root} {formats}'
            + (f'; {other[1:]} files are there: {_instead(other)}' if other else '')
        )
    if cifar := _cifar(root):
        places = names_in_words(place.name for place in cifar.values())
        said.append(f'{os.path.basename(root)}/: not used, beside other images: {places}; to use it, give it as data')
    names, masks = leave_out_masks(root, found.paths.tolist())
    said += [f'{os.path.basename(root)}/: {sentence}' for sentence in masks]
    return names


def _below_one_folder(names: List[str]) -> Tuple[str, List[str]]:
    """The folder, such as ``'a/b'``, that holds all images alone, and their names below it."""
    first = names[0].split('/')[:-1]
    last = names[-1].split('/')[:-1]  # sorted: what these two share, all have
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] == last[shared]:
        shared += 1
    top = '/'.join(first[:shared])
    return top, [name[len(top) + 1 :] for name in names] if top else names


def folder_classes(names: Sequence[str]) -> Optional[List[str]]:
    """The first folder of each name, where each has one and there are at least two; else None."""
    classes = [name.partition('/')[0] for name in names if '/' in name]
    return classes if len(classes) == len(names) and len(set(classes)) > 1 else None


# ----------------------------------------------------------------------------------------------- lists, tables and tars


def read_text_list(path: str) -> Found:
    """The images that a list names, see :mod:`~mmmim.datasets.io.list_lines`.

    Raises:
        ValueError: It is empty, or only some lines have a label.
        FileNotFoundError: Images are missing.
    """
    root, lines = os.path.dirname(path), read_list(path)
    if not lines:
        raise ValueError(f'the list {path} is empty: a line is the name of an image, relative to its folder')
    places = [_place(root, name) for _, name, _ in lines]
    _check_all_exist(path, places, [(f'line {number}', name) for number, name, _ in lines], _other_label)
    labels = [str(label) for *_, label in lines if label is not None]
    if labels and len(labels) < len(lines):
        number, name, _ = next(line for line in lines if line[2] is None)
        raise ValueError(
            f'{path}, line {number}: {name!r} has no label, but {len(labels)} of {len(lines)} lines have one: '
            'complete it, or leave all labels out'
        )
    return _of_paths(path, places, labels or None)


def read_table(path: str) -> Found:
    """The images in the column of files of a csv; their classes where it has a column of labels.

    Raises:
        ValueError: No column has files.
        FileNotFoundError: Images are missing.
    """
    rows = read_rows(path, least=1)
    find = Finder([os.path.dirname(path)])
    file, label, header = file_columns(rows, find, path)
    found = [find(row[file]) for row in rows[header:]]
    names = [(f'row {number}', row[file]) for number, row in enumerate(rows[header:], 1)]
    places = [place or '' for place in found]
    _check_all_exist(path, places, names)
    labels = [] if label is None else [row[label].strip() for row in rows[header:]]
    why = ''
    if not all(labels):
        why = f'{labels.count("")} rows have no label'
    elif len(set(labels)) == len(labels) > 2:  # such as measurements
        why = f'each row has a label of its own, such as {labels[0]!r}'
    result = _of_paths(path, places, None if why else labels or None)
    if why:
        result.said.append(f'{os.path.basename(path)}: no classes, as {why}')
    return result


def _place(root: str, name: str) -> str:
    return os.path.normpath(os.path.join(root, os.path.expanduser(name)))


def _other_label(place: str) -> str:
    """A sentence where a line is an image and a label of another kind, such as ``a.jpg,cat``; else nothing."""
    match = re.fullmatch(r'(.*[^\s,;])[\s,;]+[^\s,;]+', place, re.DOTALL)
    if match is None or not image_exists(match[1]):
        return ''
    return '; labels in a list (.txt) are numbers from 0 behind a blank: for words make it a table (.csv) of file,label'


def _check_all_exist(
    path: str, places: List[str], names: List[Tuple[str, str]], explain: Optional[Callable[[str], str]] = None
) -> None:
    absent = missing_images(places)
    missing = [names[place] for place in absent]
    if missing:
        first = ''.join(f'\n  {where}: {name!r}' for where, name in missing[:5])
        first += explain(places[absent[0]]) if explain else ''
        raise FileNotFoundError(
            f'{len(missing)} of the {len(names)} images named in {path} do not exist (names are relative to '
            f'{os.path.dirname(path)}, or absolute):{first}'
        )


def _of_paths(source: str, places: List[str], labels: Optional[List[str]]) -> Found:
    """Images of a list by their absolute paths, each once."""
    classes = dict(zip(reversed(places), reversed(labels or places)))  # of several lines the first one counts
    order = list(dict.fromkeys(places))
    said = [f'{os.path.basename(source)}: {len(places) - len(order)} lines repeat an image'] * (
        len(order) < len(places)
    )
    root = os.path.dirname(os.path.commonprefix([f'{os.path.dirname(place)}/' for place in order])) or '/'
    if (member := split_member(f'{root}/_')) is not None:  # all in one tar
        root = os.path.dirname(member[0])
    names = [os.path.relpath(place, root) if root == '/' else place[len(root) + 1 :] for place in order]
    found = [classes[place] for place in order] if labels else None
    return Found(Files(root, names, found if found and len(set(found)) > 1 else None, numbers=True), None, '', said)


def read_tars(paths: Sequence[str]) -> Found:
    """The images of tars. They have classes by WebDataset's labels, or else by the folders in the tars.

    Parts of a split are tars with a word for it in their name, such as ``train-0001.tar`` beside ``val-0000.tar``, or
    else the folders in the tars.

    Raises:
        ValueError: A tar is compressed, damaged or cut.
        FileNotFoundError: There are no images in them.
    """
    paths = [os.path.abspath(path) for path in paths]
    parts = _tars_by_part(paths)
    other = VALIDATION if VALIDATION in parts else TEST
    if TRAIN not in parts or other not in parts:
        return _read_members(paths)
    train, held_out = _read_members(parts[TRAIN]), _read_members(parts[other])
    said = [*train.said, *held_out.said]
    if unused := [os.path.basename(path) for path in paths if path not in {*parts[TRAIN], *parts[other]}]:
        said.append(f'not used: {names_in_words(unused)}')
    note = f'its {TRAIN} and {other} tars are used as they are'
    return Found(_whole(train), _whole(held_out), note, said)


def _tars_by_part(paths: List[str]) -> Dict[str, List[str]]:
    """The tars whose names have one word for a part of a split, by that part."""
    found: Dict[str, List[str]] = {}
    for path in paths:
        words = re.findall('[a-z]+', os.path.splitext(os.path.basename(path))[0].lower())
        parts = {part for part in map(part_of, words) if part}
        if len(parts) == 1:
            found.setdefault(parts.pop(), []).append(path)
    return found


def _read_members(paths: List[str]) -> Found:
    """The images of tars that belong together."""
    root = os.path.dirname(os.path.commonprefix([f'{os.path.dirname(path)}/' for path in paths])) or '/'
    names: List[str] = []
    members: List[str] = []
    labels: List[str] = []
    for path in paths:
        index = tar_index(path)
        below = os.path.relpath(path, root)
        inside = index.names.tolist()
        members += inside
        names += [f'{below}/{name}' for name in inside]
        labels += index.classes.tolist() if index.classes is not None else []
    if not names:
        raise FileNotFoundError(f'there are no images in {names_in_words(map(os.path.basename, paths), 3)}')
    said = [f'{len(paths)} tars, read in place' if len(paths) > 1 else f'{os.path.basename(paths[0])}, read in place']
    kept, masks = leave_out_masks(root, names)
    said += masks
    if len(kept) < len(names):
        chosen = set(kept)
        places = [i for i, name in enumerate(names) if name in chosen]
        names, members = kept, [members[i] for i in places]
        labels = [labels[i] for i in places] if labels else []
    if len(labels) == len(names):
        classes = labels if len(set(labels)) > 1 else None
        return Found(Files(root, names, classes, numbers=True), None, '', said)
    return _by_folders(root, names, members, said)


def _by_folders(root: str, names: List[str], members: List[str], said: List[str]) -> Found:
    """Parts and classes by the folders in tars."""
    shared = os.path.commonprefix([member.rpartition('/')[0] + '/' for member in members]).rpartition('/')[0]
    below = [member[len(shared) + 1 :] if shared else member for member in members]
    parts = [part_of(name.partition('/')[0]) if '/' in name else None for name in below]
    has = set(parts)
    other = VALIDATION if VALIDATION in has else TEST
    if TRAIN not in has or other not in has:
        return Found(Files(root, names, folder_classes(below)), None, '', said)
    files = []
    for part in (TRAIN, other):
        places = [i for i, each in enumerate(parts) if each == part]
        files.append(
            Files(root, [names[i] for i in places], folder_classes([below[i].partition('/')[2] for i in places]))
        )
    if len(has) > 2:
        said.append(f'not used: {parts.count(None) + sum(parts.count(p) for p in has - {TRAIN, other, None})} images')
    return Found(*files, f'its {TRAIN} and {other} folders are used as they are', said)


def names_tars(source: str) -> bool:
    """Whether a source is a tar, a folder of tars, or a pattern of them."""
    if os.path.isdir(source):
        return bool(_tars_in(source))
    return source.lower().endswith('.tar') and (os.path.isfile(source) or '{' in source or '*' in source)


def _tars_in(folder: str) -> List[str]:
    """The tars of a folder that holds no images."""
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith('.tar') and not name.startswith('.'))
    return [] if not names or len(listing(folder).paths) else [os.path.join(folder, name) for name in names]


def _expanded(pattern: str) -> List[str]:
    """The files that ``{000..009}`` or a pattern with ``*`` names.

    Raises:
        FileNotFoundError: Some of a range are missing.
    """
    match = re.search(r'\{(\d+)\.\.(\d+)\}', pattern)
    if match is None:
        return sorted(glob.glob(pattern))
    first, last = int(match[1]), int(match[2])
    width = len(match[1]) if match[1].startswith('0') else 0
    places = [f'{pattern[: match.start()]}{i:0{width}d}{pattern[match.end() :]}' for i in range(first, last + 1)]
    files = [file for place in places for file in (_expanded(place) if '{' in place else [place])]
    missing = [file for file in files if not os.path.isfile(file)]
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of the {len(files)} tars of {pattern!r} are missing: {names_in_words(missing, 5)}'
        )
    return files


_READERS: Dict[str, Callable[[str], Found]] = {
    **dict.fromkeys(('.txt', '.lst', '.list'), read_text_list),
    **dict.fromkeys(('.csv', '.tsv'), read_table),
    '.tar': lambda path: read_tars([path]),
}
