"""A folder of images, with or without classes."""

import logging
import os
from typing import Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
from mmengine.logging import print_log

from ..registry import DATASETS
from .folder_roles import is_role, part_of
from .io.file_list import FileTable, PathArray, endings_in_words, listing, names_in_words
from .io.formats import IMAGE_EXTENSIONS
from .io.list_lines import read_list
from .io.tar_files import missing_images
from .retrying import RetryingDataset


def check_data_root(data_root: str) -> str:
    """The path with ``~`` expanded. Raises FileNotFoundError, with what to set, if there is nothing."""
    path = os.path.expanduser(data_root)
    if not data_root or not os.path.exists(path):
        raise FileNotFoundError(
            f'the data set {data_root!r} (seen from {os.getcwd()}) does not exist. Set dataset.data_root of the '
            'dataloader in the config, or by --cfg-options train_dataloader.dataset.data_root=/path/to/images'
        )
    return path


@DATASETS.register_module()
class ImageFolder(RetryingDataset):
    """The images under a folder, flat or nested at any depth.

    Args:
        data_root: The folder.
        ann_file: Text file with one image a line, ``relative/path`` or ``relative/path label`` (an integer); relative
            to ``data_root``. Names of any characters: :mod:`~mmmim.datasets.io.list_lines`; images in a tar:
            ``a.tar/1.jpg``. Without it, all images under the folder are taken.
        with_label: Whether images have labels. ``'auto'``: with an annotation file, if it has labels; otherwise if
            there are at least two folders in ``data_root`` and every image lies in one of them. Without an annotation
            file the label is the index of that folder in alphabetical order, or in ``metainfo['classes']`` if given.
        extensions: File name extensions of images, without a dot, in any case.
        cache_from: The number of images from which the file list is cached, see
            :func:`~mmmim.datasets.io.file_list.image_paths`, and from which the images of an annotation file are looked
            for by reading their folders.
        **kwargs: ``pipeline``, ``indices``, ``metainfo`` and the other options of MMEngine's ``BaseDataset``.
            ``data_prefix=dict(img_path=...)`` names a sub-folder that holds the images.

    Raises:
        FileNotFoundError: if the folder, the annotation file or an image named in it doesn't exist.
        NotADirectoryError: if ``data_root`` is a file.
        ValueError: if there are no images, or labels were asked for where there are none.
    """

    def __init__(
        self,
        data_root: str,
        ann_file: str = '',
        with_label: Union[bool, str] = 'auto',
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        cache_from: int = 10_000,
        **kwargs,
    ):
        if with_label not in (True, False, 'auto'):
            raise ValueError(f"with_label is {with_label!r}; it can be True, False or 'auto'")
        data_root = check_data_root(data_root)
        if not os.path.isdir(data_root):
            raise NotADirectoryError(
                f'data_root {data_root!r} is a file, but a folder of images is needed (a list of '
                'images is given as ann_file)'
            )
        self.with_label = with_label
        self.extensions = tuple(extensions)
        self.cache_from = cache_from
        super().__init__(ann_file=ann_file, data_root=data_root, **kwargs)

    def full_init(self) -> None:
        """As MMEngine's, but workers share a table as it is; a subclass's list is serialised on request."""
        if self._fully_initialized:
            return
        wanted, self.serialize_data = self.serialize_data, False
        super().full_init()
        if wanted and not isinstance(self.data_list, FileTable):
            self.serialize_data = True
            self.data_bytes, self.data_address = self._serialize_data()

    def load_data_list(self) -> FileTable:
        """One ``dict(img_path=relative path[, gt_label=int])`` for each image.

        A subclass may return a list of dictionaries instead; those of a table are created each time they are read.
        """
        root = self.data_prefix['img_path']
        if not os.path.isdir(root):
            raise FileNotFoundError(f"there is no folder {root!r} (data_root and data_prefix['img_path'])")
        files, labels = self._annotated(root) if self.ann_file else self._found(root)
        return FileTable(files, labels)

    def get_data_info(self, idx: int) -> dict:
        """``img_path`` (full), ``sample_idx`` and, where there are labels, ``gt_label``."""
        info = super().get_data_info(idx)
        info['img_path'] = os.path.join(self.data_prefix['img_path'], info['img_path'])
        return info

    def get_labels(self) -> np.ndarray:
        self.full_init()
        table = getattr(self, 'data_list', None)  # a subset of what was serialised has no list
        labels = table.labels if isinstance(table, FileTable) else None
        return super().get_labels() if labels is None else labels.copy()

    get_labels.__doc__ = RetryingDataset.get_labels.__doc__

    def _get_unserialized_subset(self, indices: Union[Sequence[int], int]) -> Sequence[dict]:
        subset = super()._get_unserialized_subset(indices)
        return FileTable.of(subset) if isinstance(self.data_list, FileTable) else subset

    def _found(self, root: str) -> Tuple[PathArray, Optional[np.ndarray]]:
        found = listing(root, self.extensions, self.cache_from)
        files = found.paths
        for said in found.left_out() if len(files) else ():
            print_log(f'{root}: {said}', logger='current')
        if not len(files):
            kinds = endings_in_words(found.skipped) if found.skipped else 'no files at all'
            raise ValueError(
                f'there are no images under {root!r}: found {kinds}; looked for '
                f'{", ".join(self.extensions)} (option extensions). Hidden ones do not count.'
            )
        names, counts = zip(*files.top_folders())  # '' for an image in root itself
        folders = sorted(set(names))
        self._tell_of_roles(root, folders)
        if self.with_label is False or (self.with_label == 'auto' and ('' in folders or len(folders) < 2)):
            return files, None
        if '' in folders:
            raise ValueError(
                'with_label=True needs every image in a folder of its class, but '
                f'{files[sum(counts[: names.index("")])]!r} lies directly in {root!r}'
            )
        classes = self._classes(folders, root)
        return files, np.repeat([classes[name] for name in names], counts)

    @staticmethod
    def _tell_of_roles(root: str, folders: Sequence[str]) -> None:
        """A warning where folders are named like parts of a split, or like images and their masks."""
        odd = [name for name in folders if part_of(name) or is_role(name)]
        if odd:
            print_log(
                f'{root}: {names_in_words(odd)} {"is" if len(odd) == 1 else "are"} named like a part of a data set, '
                'but taken as any other folder: masks, or images of another split, may be among the images. data_root '
                "or data_prefix=dict(img_path='images') names the folder of the images alone",
                logger='current',
                level=logging.WARNING,
            )

    def _classes(self, folders: List[str], root: str) -> Dict[str, int]:
        """Class names and their labels."""
        given = self._metainfo.setdefault('classes', tuple(folders))
        classes = {name: label for label, name in enumerate(given)}
        unknown = [folder for folder in folders if folder not in classes]
        if unknown:
            raise ValueError(f"metainfo['classes'] does not have the folders {unknown[:5]} of {root!r}")
        return classes

    def _annotated(self, root: str) -> Tuple[List[str], Optional[List[int]]]:
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(
                f'the annotation file {self.ann_file!r} does not exist. Set dataset.ann_file of '
                'the dataloader (relative to data_root), or leave it out to take all images'
            )
        lines = read_list(self.ann_file)
        if not lines:
            raise ValueError(f'the annotation file {self.ann_file!r} is empty')
        files = [file for _, file, _ in lines]
        self._check_files(files, root, lambda place: f'line {lines[place][0]}')
        labelled = sum(label is not None for _, _, label in lines)
        if self.with_label is False or (self.with_label == 'auto' and labelled == 0):
            return files, None
        if labelled < len(lines):
            number, file, _ = next(line for line in lines if line[2] is None)
            raise ValueError(
                f'{self.ann_file}, line {number}: {file!r} has no label, but {labelled} of {len(lines)} '
                'lines have one. Complete it, or set with_label=False'
            )
        return files, [label for _, _, label in lines]

    def _check_files(self, files: Sequence[str], root: str, where: Callable[[int], str]) -> None:
        """Raise FileNotFoundError unless all exist; ``where(i)`` names the annotation file's line of the i-th."""
        missing = missing_images([os.path.join(root, file) for file in files], self.cache_from)
        if missing:
            first = ''.join(f'\n  {where(place)}: {files[place]}' for place in missing[:5])
            raise FileNotFoundError(
                f'{len(missing)} of the {len(files)} images named in {self.ann_file} do not exist '
                f'under {root!r}:{first}'
            )
