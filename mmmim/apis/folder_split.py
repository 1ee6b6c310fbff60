"""Split a folder of images into training and held-out images, with labels from its sub-folders."""

import hashlib
import json
import os
from typing import Collection, List, Optional

import numpy as np

from ..checkpoint import atomic_write_text
from ..datasets.io.file_list import list_images

HELD_OUT_NAMES = ('val', 'valid', 'validation', 'test')


class FolderSplit:
    """Which images of a folder are for training and which are held out.

    ``train/`` with ``val/`` (or ``valid/``, ``validation/``, ``test/``) are used as they are; of any other folder a
    fifth, at most ``most_held_out`` images, is drawn by a fixed seed. Sub-folders are classes when every image lies in
    one and there are at least two.

    Attributes:
        roots, files, labels: For the training and for the held-out images; labels are None where there are none.
        classes: Names of the classes, in the order of the labels.
        note: How the split was made, in words.

    Raises:
        FileNotFoundError: No folder, or no images in it.
    """

    def __init__(self, folder: str, most_held_out: int = 1000) -> None:
        if not os.path.isdir(folder):
            what = 'is a file' if os.path.exists(folder) else 'does not exist'
            raise FileNotFoundError(f'{folder!r} {what}; a folder of images is needed')
        if not os.access(folder, os.R_OK | os.X_OK):
            raise FileNotFoundError(f'the folder {folder!r} may not be read by this user')
        self.folder = folder = os.path.abspath(folder)
        self.classes: List[str] = []
        train = os.path.join(folder, 'train')
        held_out = next((name for name in HELD_OUT_NAMES if os.path.isdir(os.path.join(folder, name))), None)
        if os.path.isdir(train) and held_out:
            self._use(train, os.path.join(folder, held_out))
            self.note = f'its train/ and {held_out}/ are used as they are'
        else:
            self._hold_out(train if os.path.isdir(train) else folder, most_held_out)
        self._cut(1, most_held_out)

    def _use(self, *roots: str) -> None:
        self.roots = list(roots)
        self.files = [_images(root) for root in roots]
        self.labels = [_labels(files) for files in self.files]
        classes = [_classes(files) for files in self.files]
        if None in self.labels or classes[0] != classes[1]:
            self.labels = [None, None]
        else:
            self.classes = classes[0]

    def _hold_out(self, root: str, most: int) -> None:
        files = _images(root)
        labels = _labels(files)
        order = np.random.default_rng(0).permutation(len(files)).tolist()
        held_out = min(len(files) // 5, most) if len(files) >= 10 else 0
        parts = [sorted(order[held_out:]), sorted(order[:held_out] or order)]
        self.roots = [root, root]
        self.files = [[files[i] for i in part] for part in parts]
        self.labels = [labels and [labels[i] for i in part] for part in parts] if held_out else [None, None]
        self.classes = _classes(files) if self.labels[0] else []
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
            lines = files if labels is None else [f'{file} {label}' for file, label in zip(files, labels)]
            paths.append(os.path.join(os.path.abspath(folder), f'{name}.txt'))
            write_if_changed(paths[-1], ''.join(f'{line}\n' for line in lines))
        return paths


def write_if_changed(path: str, text: str) -> None:
    """Write a file unless it already has this content."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not os.path.exists(path) or open(path, encoding='utf-8').read() != text:
        atomic_write_text(path, text)


def _images(root: str) -> List[str]:
    files = list_images(root)
    if not files:
        raise FileNotFoundError(f'there are no images under {root} (jpg, png, webp, bmp, gif, tif, ppm, pgm, npy)')
    return files


def _classes(files: List[str]) -> List[str]:
    return sorted({file.partition('/')[0] for file in files if '/' in file})


def _labels(files: List[str]) -> Optional[List[int]]:
    """The index of each image's class folder; None where images have no classes."""
    classes = _classes(files)
    if len(classes) < 2 or any('/' not in file for file in files):
        return None
    place = {name: i for i, name in enumerate(classes)}
    return [place[file.partition('/')[0]] for file in files]
