"""Split images into training and held-out images, with labels from its sub-folders."""

import hashlib
import json
import os
from typing import Collection, List, Optional, Sequence

import numpy as np

from ..checkpoint import atomic_write_text
from ..datasets.folder_roles import is_role, part_of
from ..datasets.inputs import Data, Files, read_data
from ..datasets.io.file_list import names_in_words
from ..datasets.io.list_lines import list_text


class FolderSplit:
    """Which images are for training and which are held out.

    ``train/`` with ``val/`` or ``test/``, under any of the usual names (``Training``, ``valid``, ``val2017``,
    ``test_images`` ...), are used as they are; of any other folder a fifth, at most ``most_held_out`` images, is drawn
    by a fixed seed. Sub-folders are classes when every image lies in one and there are at least two. Masks beside
    images and results of runs are left out.

    Args:
        data: A folder, list, table or tars, or several: :mod:`~mmmim.datasets.inputs`.
        most_held_out: See above.

    Attributes:
        folder: The absolute path of ``data``; of several separated by commas.
        roots, files, labels: For the training and for the held-out images; labels are None where there are none.
        classes: Names of the classes, in the order of the labels.
        note: How the split was made, in words.
        said: Sentences on what was taken for what, and what was left out.

    Raises:
        FileNotFoundError: Nothing of that name, or no images in it.
        ValueError: A list, table or tar that cannot be used.
    """

    def __init__(self, data: Data, most_held_out: int = 1000) -> None:
        found = read_data(data)
        sources = [data] if isinstance(data, (str, os.PathLike)) else data
        self.folder = ', '.join(os.path.abspath(os.path.expanduser(source)) for source in sources)
        self.said = list(found.said)
        if found.held_out is None:
            self._hold_out(found.train, most_held_out)
        else:
            self.note = found.note
            self._use(found.train, found.held_out)
        self._cut(1, most_held_out)
        if self.labelled:
            self.said += class_sentences(self.classes, 'classes' if found.train.numbers else 'folders')

    def _use(self, train: Files, held_out: Files) -> None:
        """Take both as they are. Held-out images of a class that is not trained on cannot be measured."""
        self.roots, self.files = [train.root, held_out.root], [train.names, held_out.names]
        self.labels: List[Optional[List[int]]] = [None, None]
        self.classes = train.class_names()
        theirs = held_out.classes or [name.partition('/')[0] if '/' in name else '' for name in held_out.names]
        known = set(self.classes) & set(theirs)
        if not known:
            self._say_without_classes(train, held_out)
            self.classes = []
            return
        name = os.path.basename(held_out.root)
        if absent := [label for label in self.classes if label not in known]:
            self.said.append(f'{name}/ has no images of {names_in_words(absent)}: nothing is measured on these')
        if unknown := sorted(set(theirs) - known):
            kept = [i for i, label in enumerate(theirs) if label in known]
            self.said.append(
                f'{len(theirs) - len(kept)} images of {name}/ are left out, as {os.path.basename(train.root)}/ has no '
                f'folder of their class: {names_in_words(label or "(in no folder)" for label in unknown)}'
            )
            self.files[1], theirs = [held_out.names[i] for i in kept], [theirs[i] for i in kept]
        self._label(train.classes or [], theirs)

    def _say_without_classes(self, train: Files, held_out: Files) -> None:
        if train.classes is not None or held_out.classes is not None:
            names = [os.path.basename(files.root) for files in (train, held_out)]
            seen = [names_in_words(sorted(set(files.classes or ())), 4) or 'none' for files in (train, held_out)]
            self.said.append(
                f'no classes: {names[0]}/ and {names[1]}/ have no class folder in common ({seen[0]}; {seen[1]}), so '
                'nothing is measured by labels'
            )

    def _label(self, *classes: Sequence[str]) -> None:
        place = {name: i for i, name in enumerate(self.classes)}
        self.labels = [[place[name] for name in part] for part in classes]

    def _hold_out(self, found: Files, most: int) -> None:
        files = found.names
        order = np.random.default_rng(0).permutation(len(files)).tolist()
        held_out = min(len(files) // 5, most) if len(files) >= 10 else 0
        parts = [sorted(order[held_out:]), sorted(order[:held_out] or order)]
        self.roots = [found.root, found.root]
        self.files = [[files[i] for i in part] for part in parts]
        self.labels = [None, None]
        self.classes = found.class_names() if held_out else []
        if self.classes:
            classes = found.classes or []
            self._label(*([classes[i] for i in part] for part in parts))
        self.note = (
            f'{held_out} images drawn from it are held out for measuring'
            if held_out
            else 'so few images serve for training and for measuring: nothing is held out'
        )

    def _cut(self, place: int, most: int) -> None:
        """Keep a random draw of ``most`` images of one split."""
        count = len(self.files[place])
        if count > most:
            kept = sorted(np.random.default_rng(1).permutation(count)[:most].tolist())
            self.files[place] = [self.files[place][i] for i in kept]
            self.labels[place] = self.labels[place] and [self.labels[place][i] for i in kept]
            self.note += f'; of {count} held-out images {most} are drawn'

    @property
    def labelled(self) -> bool:
        """Whether k-NN and a linear probe can be measured."""
        return self.labels[0] is not None

    def digest(self) -> str:
        """A hash of the names of all images, and of what they are for."""
        return hashlib.sha256(json.dumps([self.roots, self.files, self.labels]).encode()).hexdigest()

    def leave_out(self, paths: Collection[str]) -> int:
        """Keep these images out of training; returns how many were among them."""
        left_out = {os.path.realpath(path) for path in paths}
        kept = [
            i
            for i, file in enumerate(self.files[0])
            if os.path.realpath(os.path.join(self.roots[0], file)) not in left_out
        ]
        count = len(self.files[0]) - len(kept)
        self.files[0] = [self.files[0][i] for i in kept]
        self.labels[0] = self.labels[0] and [self.labels[0][i] for i in kept]
        if not kept:
            raise ValueError(f'all {count} images to train on are labelled ones that are to be left out: none is left')
        return count

    def write_lists(self, folder: str) -> List[str]:
        """Write ``train.txt`` and ``held_out.txt``, one image a line, and return their paths."""
        paths = []
        for name, files, labels in zip(('train', 'held_out'), self.files, self.labels):
            paths.append(os.path.join(os.path.abspath(folder), f'{name}.txt'))
            write_if_changed(paths[-1], list_text(files, labels))
        return paths


def write_if_changed(path: str, text: str) -> None:
    """Write a file unless it already has this content."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not os.path.exists(path) or open(path, encoding='utf-8').read() != text:
        atomic_write_text(path, text)


def class_sentences(classes: Sequence[str], what: str = 'folders') -> List[str]:
    """What was taken for classes; and which of these folders may be something else."""
    said = [f'classes: {names_in_words(classes)} ({len(classes)} {what})']
    odd = [name for name in classes if what == 'folders' and (part_of(name) or is_role(name))]
    if odd:
        said.append(
            f'WARNING: {names_in_words(odd)} {"is" if len(odd) == 1 else "are"} taken for a class, but named like a '
            'part of a data set. Parts are train/ with val/ or test/; masks/ or annotations/ have the file names of '
            'images/. Where it is none, give the folder of the images alone as data'
        )
    return said
