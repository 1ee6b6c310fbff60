"""Labelled images in three parts: to fit on, to choose by, to report."""

import hashlib
import json
import os
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, replace
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..checkpoint import atomic_write_text
from ..config.paths import relative_to_here
from ..datasets.folder_roles import TEST, TRAIN, VALIDATION, subfolders
from ..datasets.image_tables import Finder, read_rows
from ..datasets.inputs import folder_parts, names_tars, number_first, read_data
from ..datasets.io.file_list import list_images, names_in_words
from ..datasets.io.tar_files import image_exists
from .folder_split import FolderSplit
from .image_copies import copies
from .several_labels import drawn_by, label_rows, places_of

FILE_NAME = 'labels.json'
LIMIT = 10_000  # images of a part: what 10,000 more would change is less than the intervals are wide
SHARE = 0.2  # of the selection and of the report part
PARTS = ('fit', 'selection', 'report')
HELD_OUT = 'held out:'  # begins the fingerprint of a split that follows pre-training's
FEWEST = 3  # images of a class: one for each part
FEWEST_TO_TRAIN = 150  # images of which parts are drawn to train a model: a fifth is 30, enough for a wide interval
Pair = Tuple[str, int]


class Seen(NamedTuple):
    """Images that measure and that pre-training also sees.

    Attributes:
        measured: Of the labelled images.
        trained: The same images under the names that pre-training knows them by: what to leave out there.
        note: A sentence; empty where there are none.
    """

    measured: List[str]
    trained: List[str]
    note: str


@dataclass
class LabelSplit:
    """Which labelled images are fitted on, which choose (checkpoint, layer, strength) and which are reported.

    Attributes:
        classes: Names of the classes, in the order of the labels.
        fit, selection, report: ``(absolute path, label)`` of each image.
        note: How the split was made, in words.
        source: The csv file or folder that the labels are from.
        fingerprint: Of all names and labels of the source.
        seen: How many images of selection and report pre-training also sees, see :meth:`seen_in`.
        data: Where the files of a csv were looked for first; None: beside the csv.
        several: For labels of which an image may have several: all labels of each image, by its path. The label in a
            part is then the one by which the image was drawn.
    """

    classes: List[str]
    fit: List[Pair]
    selection: List[Pair]
    report: List[Pair]
    note: str
    source: str
    fingerprint: str
    seen: int = 0
    data: Optional[str] = None
    several: Optional[Dict[str, List[int]]] = None

    @classmethod
    def of(
        cls, labels: str, data: Optional[str] = None, test: Optional[str] = None, training: bool = False
    ) -> 'LabelSplit':
        """Split the images of a csv file or of class folders.

        A fifth of each class is for the report and a fifth for the selection, drawn by a hash of the file's name below
        its folder: an image keeps its part when others are added (but in classes so small that a part would be empty).
        A folder's ``test/`` (without it ``val/``) beside ``train/`` is the report part as it is; with both, ``val/`` is
        the selection. Each part has at most 10,000 images. Classes with fewer than three images are left out.

        Args:
            labels: A csv file with a file name and a label a line, in any columns with usual names or in the first two,
                with or without a header, with any usual delimiter; or a folder of class folders; or tars, as
                pre-training takes them.
            data: Where the files of a csv are looked for first; None: beside the csv.
            test: Labels in the same forms, whose images are the report part.
            training: To train on, not to judge by: images may have several labels (``a;b``, ``a|b``, several lines, or
                columns of 0 and 1), the fit part has all images, a class of a single image is an error, and from fewer
                than 150 images no part is taken: all are to fit on, and selection and report are empty.

        Raises:
            FileNotFoundError: No such file or folder; images that do not exist.
            ValueError: What is there cannot be read as labels, has one class, or fewer images than classes.
        """
        labels = os.path.abspath(os.path.expanduser(labels))
        found = _read(labels, data, training)
        if test is not None:
            test = os.path.abspath(os.path.expanduser(test))
            found = _with_test(found, _read(test, data, training), test)
        return replace(_split(found, labels, training), data=None if data is None else os.path.abspath(data))

    @classmethod
    def held_out(cls, split: FolderSplit) -> 'LabelSplit':
        """For class folders that are pre-trained on: fitted on are the training images; selection and report are halves
        of those that are held out, by a hash of their names.

        Args:
            split: With labels.
        """
        rows = [
            [(os.path.join(root, file), label) for file, label in zip(files, labels or ())]
            for root, files, labels in zip(split.roots, split.files, split.labels)
        ]
        order = sorted(rows[1], key=lambda row: place_of(os.path.relpath(row[0], split.roots[1])))
        half = (len(order) + 1) // 2
        note = 'selection and report are halves of the images that are held out of pre-training'
        parts = dict(fit=some(rows[0], LIMIT), selection=sorted(order[:half]), report=sorted(order[half:] or order))
        return cls(split.classes, **parts, note=note, source=split.folder, fingerprint=f'{HELD_OUT} {split.digest()}')

    @classmethod
    def kept(cls, folder: str, labels: str, data: Optional[str] = None) -> 'LabelSplit':
        """The split of a run: the stored one if there is one, else a new one, which is stored.

        Where ``data`` is None and these labels are the stored ones, files are looked for where they were the last time.

        Raises:
            ValueError: The stored one is of other labels.
            FileNotFoundError, ValueError: As in :meth:`of`.
        """
        path = os.path.join(folder, FILE_NAME)
        if os.path.exists(path):
            old = cls.read(folder)
            if old.fingerprint.startswith(HELD_OUT) and old.source == os.path.abspath(os.path.expanduser(labels)):
                return old
        new = cls.of(labels, data or stored_data(folder, labels))
        if not os.path.exists(path):
            new.write(folder)
            return new
        old = cls.read(folder)
        if old.fingerprint == new.fingerprint:
            if not all(image_exists(file) for file, _ in old.images()):  # the same images, moved
                new.seen = old.seen
                new.write(folder)
                return new
            return old
        what = 'has changed since' if old.source == new.source else f'is not {old.source}, of which'
        raise ValueError(
            f'the label source {new.source} {what} the split in {relative_to_here(path)} was made; results of two '
            'splits cannot be compared. Use another folder for the results, or remove that file to split anew'
        )

    @classmethod
    def read(cls, folder: str) -> 'LabelSplit':
        """Read ``labels.json`` of a folder.

        Raises:
            FileNotFoundError: There is none.
            ValueError: It is damaged.
        """
        path = os.path.join(folder, FILE_NAME)
        if not os.path.isfile(path):
            raise FileNotFoundError(f'{folder} has no {FILE_NAME}: give labels (a csv file or class folders)')
        try:
            with open(path, encoding='utf-8') as file:
                values = json.load(file)
            parts = {part: [(str(name), int(label)) for name, label in values[part]] for part in PARTS}
            return cls(**{**values, **parts})
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f'{path} is damaged ({error}): remove it, and the split is made anew') from None

    def write(self, folder: str) -> str:
        """Write ``labels.json`` to a folder; returns its path."""
        path = os.path.join(folder, FILE_NAME)
        atomic_write_text(path, json.dumps(asdict(self), indent=1))
        return path

    def images(self) -> List[Pair]:
        """All images: fit, selection, report."""
        return [*self.fit, *self.selection, *self.report]

    @property
    def counts(self) -> Dict[str, int]:
        """Images of each part, and classes."""
        return {**{part: len(getattr(self, part)) for part in PARTS}, 'classes': len(self.classes)}

    def few(self, count: int, draw: int, part: str = 'fit') -> List[int]:
        """Places in a part of a draw of ``count`` images a class (all of a smaller class), by a hash of the names."""
        pairs = getattr(self, part)
        members: Dict[int, List[Tuple[float, int]]] = defaultdict(list)
        root = os.path.commonpath([os.path.dirname(file) for file, _ in pairs])
        for place, (file, label) in enumerate(pairs):
            members[label].append((place_of(os.path.relpath(file, root), f'few {draw}'), place))
        return sorted(place for group in members.values() for _, place in sorted(group)[:count])

    def seen_in(self, trained: Iterable[str]) -> Seen:
        """Images of selection and report that are also among those of pre-training; ``seen`` is set to their number.

        The same file counts, under whatever name, and a copy with the same content. Images to fit on may be seen: as
        in the usual linear probe, they are the same that pre-training has, without labels.
        """
        trained = [os.path.abspath(file) for file in trained]
        by_place = {os.path.realpath(file): file for file in trained}
        measured = {os.path.realpath(file): file for file, _ in [*self.selection, *self.report]}
        same = {file: by_place[place] for place, file in measured.items() if place in by_place}
        rest = [file for file in measured.values() if file not in same]
        same.update(copies(rest, trained))
        self.seen = len(same)
        names = sorted(same)
        shown = ', '.join(relative_to_here(file) for file in names[:3]) + (', ...' if len(names) > 3 else '')
        note = f'{len(names)} of the {len(measured)} images that measure are also pre-trained on: {shown}'
        return Seen(names, [same[file] for file in names], note if names else '')

    def parts_of(self, files: Iterable[str]) -> Dict[str, str]:
        """The part of each of ``files`` that is an image of the split, under whatever name, or a copy of one."""
        files = list(files)
        own = {file: part for part in PARTS for file, _ in getattr(self, part)}
        by_place = {os.path.realpath(file): part for file, part in own.items()}
        found = {file: by_place[place] for file in files if (place := os.path.realpath(file)) in by_place}
        for file, original in copies([file for file in files if file not in found], list(own)).items():
            found[file] = own[original]
        return found


def stored_data(folder: str, labels: str) -> Optional[str]:
    """Where the files of these labels were looked for when the split in ``folder`` was made; None without one."""
    if not os.path.isfile(os.path.join(folder, FILE_NAME)):
        return None
    split = LabelSplit.read(folder)
    return split.data if split.source == os.path.abspath(os.path.expanduser(labels)) else None


def some(images: Sequence[Pair], most: Optional[int]) -> List[Pair]:
    """At most so many of the images, drawn by a fixed seed; None: all."""
    drawn = np.random.default_rng(3).permutation(len(images))[:most]
    return [images[i] for i in sorted(drawn.tolist())]


# --------------------------------------------------------------------------------------------------------- the sources


class _Found(NamedTuple):
    """Labelled images of a source. Names are what the draw depends on; they do not change when a folder moves."""

    names: Dict[str, str]  # path -> name
    labels: Dict[str, str]  # path -> class
    classes: List[str]
    parts: Dict[str, List[str]]  # part -> paths; an empty list: to be drawn of `fit`
    notes: List[str]
    several: Optional[Dict[str, List[str]]] = None  # path -> classes, where there may be several


def _read(source: str, data: Optional[str], several: bool) -> _Found:
    if names_tars(source):
        return _read_tars(source)
    if os.path.isdir(source):
        return _read_folder(source)
    if os.path.isfile(source):
        return _read_csv(source, data, several)
    raise FileNotFoundError(f'there is no {source!r}: labels are a csv file (file, label) or class folders')


def _with_test(found: _Found, other: _Found, test: str) -> _Found:
    """With the images of another source as the report part; copies of them are no longer fitted on.

    Raises:
        ValueError: It has other classes.
    """
    unknown = sorted(set(other.classes) - set(found.classes))
    if unknown:
        raise ValueError(
            f'test={test!r} has classes that the others do not: {", ".join(unknown[:5])}. They are '
            f'{", ".join(found.classes[:10])}'
        )
    if (found.several is None) != (other.several is None):  # one label each, by chance
        found, other = _as_lists(found), _as_lists(other)
    reported = sorted(other.labels)
    ours = [path for part in PARTS for path in found.parts[part]]
    same = {*copies([path for path in ours if path not in other.labels], reported), *(set(ours) & set(reported))}
    parts = {part: [path for path in found.parts[part] if path not in same] for part in PARTS}
    own = [note for note in found.notes if not note.endswith(' is the report part')]
    notes = [f'{relative_to_here(test)} is the report part', *own]
    if parts['report'] and not parts['selection']:
        parts['selection'] = parts['report']
        notes.append('what the data itself has for a report chooses')
    elif parts['report']:
        notes.append(f'{len(parts["report"])} images that the data itself has for a report are not used')
    if same:
        notes.append(f'{len(same)} images that are in {relative_to_here(test)}, too, are left out of the others')
    used = {path for part in ('fit', 'selection') for path in parts[part]}
    several = None if found.several is None else {**found.several, **(other.several or {})}
    return _Found(
        {**{path: name for path, name in found.names.items() if path in used}, **other.names},
        {**{path: label for path, label in found.labels.items() if path in used}, **other.labels},
        found.classes,
        dict(parts, report=reported),
        notes,
        several,
    )


def _as_lists(found: _Found) -> _Found:
    """With a list of labels for each image."""
    several = {path: [label] for path, label in found.labels.items()}
    return found._replace(several=several) if found.several is None else found


def _read_folder(folder: str) -> _Found:
    roots = _part_folders(folder)
    names, labels, parts, loose = {}, {}, {part: [] for part in PARTS}, 0
    for part, root in roots.items():
        for name in list_images(root):
            label, slash, _ = name.partition('/')
            path = os.path.join(root, name)
            if slash:
                names[path], labels[path] = name, label
                parts[part].append(path)
            loose += not slash
    classes = subfolders(roots['fit'])
    if not labels:
        raise ValueError(f'{folder} has no class folders with images: images lie in a folder of their class each')
    unknown = sorted({labels[path] for part in PARTS[1:] for path in parts[part]} - set(classes))
    if unknown:
        raise ValueError(f'{folder}: the classes {unknown[:5]} have no folder in {roots["fit"]}, so nothing to fit on')
    notes = [f'its {os.path.basename(roots[part])}/ is the {part} part' for part in PARTS[1:] if parts[part]]
    notes += [f'{loose} images in no class folder are left out'] if loose else []
    return _Found(names, labels, classes, parts, notes)


def _read_tars(source: str) -> _Found:
    """Members of tars, with the labels and parts that :func:`~mmmim.datasets.inputs.read_tars` finds."""
    found = read_data(source)
    names, labels = {}, {}
    parts: Dict[str, List[str]] = {part: [] for part in PARTS}
    for part, files in (('fit', found.train), ('report', found.held_out)):
        if files is not None and files.classes is None:
            raise ValueError(
                f'{source} has no labels: neither files such as 1.cls beside 1.jpg, nor folders of classes'
            )
        for name, label in zip(files.names, files.classes or ()) if files else ():
            path = os.path.join(files.root, name)
            names[path], labels[path] = name, label
            parts[part].append(path)
    return _Found(names, labels, sorted(set(labels.values()), key=number_first), parts, [])


def _part_folders(folder: str) -> Dict[str, str]:
    """Part to folder. Only ``train/`` with another of the usual names beside it is a split."""
    place, names = folder_parts(folder)
    found = {name: os.path.join(place, path) for name, path in names.items()}
    if TRAIN not in found:
        return dict(fit=folder)
    parts = dict(fit=found[TRAIN])
    if len(found) > 1:
        parts['report'] = found[TEST] if TEST in found else found[VALIDATION]
    if len(found) > 2:
        parts['selection'] = found[VALIDATION]
    return parts


def _read_csv(path: str, data: Optional[str], several: bool = False) -> _Found:
    rows = read_rows(path)
    if data is not None and not os.path.isdir(data) and not (os.path.isfile(data) and names_tars(data)):
        raise FileNotFoundError(f'there is no folder {data!r}, where the images of {path} are looked for')
    roots = [os.path.abspath(root) for root in (data, os.path.dirname(path)) if root]
    find = Finder(roots)
    table = label_rows(rows, find, path, several)
    names, labels, missing, unlabelled = {}, {}, [], 0  # type: ignore[var-annotated]
    for name, given in table.rows:
        image = find(name) if name.strip() else None
        if image is None:
            missing.append(name)
        elif not given and table.columns is None:
            unlabelled += 1
        elif not several and labels.setdefault(image, given) != given:
            raise ValueError(f'{path} gives {name!r} two labels, {labels[image][0]!r} and {given[0]!r}: keep one')
        else:
            names[image] = _name_below(image, roots)
            labels[image] = list(dict.fromkeys([*labels.get(image, ()), *given]))
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of the {len(table.rows)} images named in {path} do not exist under '
            f'{" or ".join(roots)}: {", ".join(missing[:5])}{", ..." * (len(missing) > 5)}. Names are relative to the '
            "csv's folder or to the data folder, or absolute"
        )
    if not any(labels.values()):
        raise ValueError(f'{path} names no image with a label: a line is FILE,LABEL')
    notes = [f'{unlabelled} images without a label are left out'] if unlabelled else []
    parts = dict(fit=sorted(labels), selection=[], report=[])
    classes = sorted({label for found in labels.values() for label in found}, key=number_first)
    most = max(map(len, labels.values()))
    if table.columns is None and most < 2:
        return _Found(names, {image: found[0] for image, found in labels.items()}, classes, parts, notes)
    many = sum(len(found) > 1 for found in labels.values())
    notes.append(f'{many} of {len(labels)} images have several labels')
    return _Found(names, drawn_by(labels, FEWEST), classes, parts, notes, labels)


def _name_below(path: str, roots: Sequence[str]) -> str:
    """Relative to the first folder that it lies in."""
    for root in roots:
        relative = os.path.relpath(path, root)
        if not relative.startswith(os.pardir):
            return relative.replace(os.sep, '/')
    return path


# ------------------------------------------------------------------------------------------------------------ the draw


def _split(found: _Found, source: str, training: bool = False) -> LabelSplit:
    """Draw the parts."""
    several = found.several
    counts = Counter(found.labels.values() if several is None else (c for cs in several.values() for c in cs))
    if len(found.labels) <= len(found.classes) > 1:
        raise ValueError(
            f'{source} has {len(found.labels)} labelled images of {len(found.classes)} classes; each class needs at '
            f'least {FEWEST}. Is it the right column, and are these the right folders?'
        )
    given = [part for part in PARTS[1:] if found.parts[part]]
    fitted = found.parts['fit']
    in_fit = Counter(c for path in fitted for c in ([found.labels[path]] if several is None else several[path]))
    together = training and not given and len(fitted) < FEWEST_TO_TRAIN
    needed = 2 if together else FEWEST - len(given)
    if training:
        _check_alone(found.classes, in_fit, source)
    small = [name for name in found.classes if in_fit[name] < needed]
    classes = [name for name in found.classes if name not in set(small)]
    if len(classes) < 2:
        shown = ', '.join(f'{name}: {counts[name]}' for name in found.classes[:5])
        raise ValueError(
            f'{source} has {len(classes)} {"class" if len(classes) == 1 else "classes"} with at least {needed} images '
            f'to split ({shown}); at least two are needed, or there is nothing to tell apart'
        )
    parts = {part: [path for path in found.parts[part] if found.labels[path] in set(classes)] for part in PARTS}
    notes = list(found.notes)
    if together:
        notes.append(f'{len(parts["fit"])} images are too few for parts that select and report: all are fitted on')
    else:
        parts.update(_draw(parts['fit'], found, given))
    if small:
        lost = sum(counts[name] for name in small)
        notes.append(
            f'{len(small)} classes with fewer than {needed} images to split are left out, {lost} images: '
            f'{", ".join(small[:5])}{", ..." * (len(small) > 5)}'
        )
    notes += [note for part in PARTS[training:] if (note := _limit(parts, part, found))]
    place = {name: i for i, name in enumerate(classes)}
    pairs = {part: sorted((path, place[found.labels[path]]) for path in paths) for part, paths in parts.items()}
    drawn = [] if together else [part for part in PARTS[1:] if part not in given]
    if drawn:
        of, shares = ' of the rest' if given else '', ' and a fifth '.join(f'the {part} part' for part in drawn)
        notes.insert(len(given), f'a fifth of each class{of} is {shares}, drawn by a hash of the name')
    told = found.labels if several is None else {path: '\t'.join(several[path]) for path in found.labels}
    rows = sorted(f'{found.names[path]}\t{label}' for path, label in told.items())
    fingerprint = hashlib.sha256('\n'.join(rows).encode(errors='surrogatepass')).hexdigest()[:32]
    split = LabelSplit(classes, **pairs, note='; '.join(notes), source=source, fingerprint=fingerprint)
    return split if several is None else replace(split, several=places_of(several, classes))


def _check_alone(classes: Sequence[str], in_fit: 'Counter[str]', source: str) -> None:
    """Raises ValueError for classes of which nothing would be left to measure by."""
    alone = [name for name in classes if in_fit[name] < 2]
    if alone and len(classes) > 1:
        raise ValueError(
            f'{source}: fewer than two images to train on have {names_in_words(alone, 5)}, so that nothing would be '
            'left to measure by: add images, or leave these classes out'
        )


def place_of(name: str, stream: str = '') -> float:
    """A number in [0, 1) that depends on a name alone."""
    digest = hashlib.sha256(f'{stream}\0{name}'.encode(errors='surrogatepass')).digest()
    return int.from_bytes(digest[:7], 'big') / 2**56


def _draw(paths: List[str], found: _Found, given: Sequence[str]) -> Dict[str, List[str]]:
    """Draw the parts that are not given; each class keeps an image in every one."""
    members: Dict[str, List[str]] = defaultdict(list)
    for path in paths:
        members[found.labels[path]].append(path)
    drawn: Dict[str, List[str]] = {part: [] for part in PARTS if part not in given}
    for group in members.values():
        places = sorted((place_of(found.names[path]), path) for path in group)
        taken = 0
        open_parts = [part for part in ('report', 'selection') if part not in given]
        for step, part in enumerate(open_parts, 1):
            end = sum(place < SHARE * step for place, _ in places)
            end = min(max(end, taken + 1), len(places) - (len(open_parts) - step) - 1)
            drawn[part] += [path for _, path in places[taken:end]]
            taken = end
        drawn['fit'] += [path for _, path in places[taken:]]
    return drawn


def _limit(parts: Dict[str, List[str]], part: str, found: _Found) -> str:
    """Keep a draw of at most LIMIT images of a part, one of each class at least; returns the note."""
    paths = parts[part]
    if len(paths) <= LIMIT:
        return ''
    order = sorted(paths, key=lambda path: place_of(found.names[path], 'limit'))
    first = {found.labels[path]: path for path in reversed(order)}
    kept = set(first.values())
    kept.update([path for path in order if path not in kept][: max(0, LIMIT - len(kept))])
    parts[part] = sorted(kept)
    return f'of {len(paths):,} images of the {part} part {len(kept):,} are drawn'
