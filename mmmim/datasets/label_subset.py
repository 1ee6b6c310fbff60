"""A small share of a data set's images: published file lists, or a class-balanced draw by seed."""

import os
from typing import List, Optional, Sequence, Tuple, Union

import numpy as np
from mmengine.dataset import BaseDataset

from ..randomness import FIT, derive
from ..registry import DATASETS
from .image_folder import ImageFolder
from .io.list_lines import read_list


def draw_per_class(labels: Sequence[int], share: float, seed: int = 0) -> List[int]:
    """Draw the same share of every class, at least one image of each.

    Args:
        labels: ``[N]``, the label of every image.
        share: In (0, 1]. A class of n images keeps ``round(share * n)``.
        seed: The draw depends on it and on the labels only; that of a class on no other class.

    Returns:
        Sorted indices.

    Raises:
        ValueError: The share is out of range, or there is no image.
    """
    labels = np.asarray(labels)
    if not 0 < share <= 1:
        raise ValueError(f'share is {share}; it must lie in (0, 1]: 0.01 is one percent')
    if not len(labels):
        raise ValueError('there are no images to draw from')
    drawn: List[int] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rng = np.random.default_rng(derive(seed, FIT, int(label)))
        drawn += rng.permutation(members)[: max(1, round(share * len(members)))].tolist()
    return sorted(drawn)


@DATASETS.register_module()
def label_share(dataset: Union[dict, BaseDataset], share: float, seed: int = 0) -> BaseDataset:
    """Any labelled data set, reduced to a class-balanced draw: see :func:`draw_per_class`.

    ``dict(type='mmmim.label_share', dataset=dict(...), share=0.01)`` in a config.

    Args:
        dataset: A data set with ``get_labels()`` (ours), or its config.
        share, seed: See :func:`draw_per_class`.

    Raises:
        ValueError: The data set has no labels.
    """
    if isinstance(dataset, dict):
        dataset = DATASETS.build(dataset)
    dataset.full_init()
    dataset.get_subset_(draw_per_class(dataset.get_labels(), share, seed))
    return dataset


@DATASETS.register_module()
class ImageSubset(ImageFolder):
    """The images of class folders that a list names; the classes are all folders, also those without a listed image.

    Reads the lists published with SimCLR (Chen et al., 2020: 1% and 10% of ImageNet's labels), whose lines are file
    names such as ``n02056570_1000.JPEG`` that name their folder before the last ``_``, and what
    ``tools/datasets/draw_label_subset.py`` writes: ``folder/file.jpg``, with or without a label behind it, which is not
    used.

    Args:
        data_root: Holds the class folders, unless ``data_prefix=dict(img_path='train')`` names one below.
        ann_file: The list; relative to ``data_root``.
        **kwargs: Other options of :class:`~mmmim.datasets.image_folder.ImageFolder`.

    Raises:
        FileNotFoundError: There is no such list, or an image named in it does not exist.
        ValueError: A line names no class folder.
    """

    def __init__(self, data_root: str, ann_file: str, **kwargs):
        if not ann_file:
            raise ValueError('ImageSubset needs ann_file, a list of images')
        super().__init__(data_root, ann_file=ann_file, **kwargs)

    def _annotated(self, root: str) -> Tuple[List[str], Optional[List[int]]]:
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(
                f'the list {self.ann_file!r} does not exist. Put a published one there (1percent.txt, 10percent.txt of '
                f'SimCLR), set dataset.ann_file to its absolute path, or draw one: python '
                f'tools/datasets/draw_label_subset.py {root} --share 0.01 --out {self.ann_file}'
            )
        with os.scandir(root) as entries:
            folders = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith('.'))
        classes = self._classes(folders, root)
        files, numbers = [], []
        for number, name, _ in read_list(self.ann_file):
            files.append(_in_folder(name, classes, f'{self.ann_file}, line {number}'))
            numbers.append(number)
        if not files:
            raise ValueError(f'the list {self.ann_file!r} is empty')
        self._check_files(files, root, lambda place: f'line {numbers[place]}')
        if self.with_label is False:
            return files, None
        return files, [classes[file.partition('/')[0]] for file in files]


def _in_folder(name: str, classes: Sequence[str], where: str) -> str:
    """``folder/file`` of a name in a list."""
    given = name
    folder, slash, _ = name.partition('/')
    if not slash:
        folder = name.rpartition('_')[0]
        name = f'{folder}/{name}'
    if folder not in classes:
        raise ValueError(
            f'{where}: {given!r} is in no class folder. A line is folder/file.jpg, or a name such '
            'as n02056570_1000.JPEG that begins with its folder'
        )
    return name
