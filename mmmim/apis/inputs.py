"""What ``data`` of a call may be, and the images in it: folders, lists."""

import os
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

from ..datasets.io.file_list import listing, names_in_words
from .folder_roles import TEST, TRAIN, VALIDATION, find_split, leave_out_masks, split_folders, subfolders

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

    def class_names(self) -> List[str]:
        """Each class once, in the order of labels."""
        return sorted(set(self.classes or ()))


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
    place = find_split(folder)
    parts = split_folders(place)
    held_out = parts.get(VALIDATION, parts.get(TEST))
    said: List[str] = []
    if TRAIN not in parts:
        return Found(images_below(folder, said), None, '', said)
    train = images_below(os.path.join(place, parts[TRAIN]), said)
    used = [name for name in (parts[TRAIN], held_out) if name]
    below = '' if place == folder else f'{os.path.relpath(place, folder)}/'
    if others := [f'{below}{name}/' for name in subfolders(place) if name not in used]:
        said.append(f'not used: {names_in_words(others)}')
    if held_out is None:
        return Found(train, None, '', said)
    note = f'its {below}{parts[TRAIN]}/ and {below}{held_out}/ are used as they are'
    return Found(train, images_below(os.path.join(place, held_out), said), note, said)


def images_below(root: str, said: List[str]) -> Files:
    """All images under a folder but masks and results of runs; appends to ``said`` what was left out.

    Classes are the folders below, or below the one folder that holds everything, where every image lies in one and
    there are at least two.

    Raises:
        FileNotFoundError: There are none.
    """
    found = listing(root)
    said += [f'{os.path.basename(root)}/: {sentence}' for sentence in found.left_out()]
    if not len(found.paths):
        raise FileNotFoundError(f'there are no images under {root} (jpg, png, webp, bmp, gif, tif, ppm, jp2, npy ...)')
    names, masks = leave_out_masks(root, found.paths.tolist())
    said += [f'{os.path.basename(root)}/: {sentence}' for sentence in masks]
    top, names_below = _below_one_folder(names)
    if top and folder_classes(names_below):
        root, names = os.path.join(root, top), names_below
    return Files(root, names, folder_classes(names))


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
