"""ImageNet-A, -R, -Sketch and -C: robustness test sets for ImageNet classifiers."""

import os
from typing import Dict, Optional, Sequence, Tuple, Union

import numpy as np

from ..registry import DATASETS
from .image_folder import ImageFolder, check_data_root
from .io.file_list import FileTable, list_images

# the groups that the published archives of ImageNet-C unpack into
CORRUPTION_GROUPS: Dict[str, Tuple[str, ...]] = dict(
    noise=('gaussian_noise', 'shot_noise', 'impulse_noise'),
    blur=('defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur'),
    weather=('snow', 'frost', 'fog', 'brightness'),
    digital=('contrast', 'elastic_transform', 'pixelate', 'jpeg_compression'),
)
CORRUPTIONS = tuple(name for names in CORRUPTION_GROUPS.values() for name in names)


def read_classes(source: Union[str, Sequence[str]] = '') -> Tuple[str, ...]:
    """The names of a classifier's classes, in the order of its outputs.

    Args:
        source: A folder of class folders, such as ``imagenet/train`` (their sorted names); a text file (the first word
            of each line); or the names. Empty: ImageNet-1K's 1000 identifiers ``n01440764`` ..., as timm has them.

    Raises:
        FileNotFoundError: There is no such folder or file.
        ValueError: There is no name in it, or one twice.
    """
    if not source:
        from timm.data import ImageNetInfo

        return tuple(ImageNetInfo('imagenet-1k').label_names())
    if not isinstance(source, str):
        names = list(source)
    elif os.path.isdir(source):
        names = sorted(entry.name for entry in os.scandir(source) if entry.is_dir() and entry.name[0] != '.')
    elif os.path.isfile(source):
        with open(source, encoding='utf-8-sig') as stream:
            names = [line.split()[0] for line in stream if line.strip()]
    else:
        raise FileNotFoundError(f'classes={source!r} is neither a folder of class folders nor a text file of names')
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f'classes={source!r} gives {len(names)} names, {len(set(names))} different ones: it must give '
            'each class once'
        )
    return tuple(names)


@DATASETS.register_module()
class ImageNetVariant(ImageFolder):
    """Class folders of some or all of ImageNet's classes: ``<data_root>/n01498041/*.jpg``.

    A label is the class's index among the classifier's classes, not among the folders. ``metainfo['subset']`` has the
    labels that occur, sorted, for :class:`~mmmim.evaluation.robustness.SubsetAccuracy`.

    Args:
        data_root: The folder that holds the class folders.
        num_folders: How many class folders there must be: 200 of ImageNet-A and -R, 1000 of ImageNet-Sketch; None: any
            number.
        classes: The classifier's, see :func:`read_classes`.
        **kwargs: ``pipeline``, ``indices`` and the other options of MMEngine's ``BaseDataset``.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: Other folders are there than expected.
    """

    def __init__(
        self, data_root: str, num_folders: Optional[int] = None, classes: Union[str, Sequence[str]] = '', **kwargs
    ):
        self.num_folders = num_folders
        metainfo = dict(kwargs.pop('metainfo', None) or {}, classes=read_classes(classes))
        super().__init__(data_root, with_label=True, metainfo=metainfo, **kwargs)

    def load_data_list(self) -> FileTable:
        """One ``dict(img_path=relative path, gt_label=int)`` for each image."""
        self._check_folders(self.data_prefix['img_path'], self.num_folders)
        table = super().load_data_list()
        self._metainfo['subset'] = np.unique(table.labels).tolist()
        return table

    def _check_folders(self, root: str, count: Optional[int]) -> None:
        found = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != '.')
        known = set(self._metainfo['classes'])
        unknown = [name for name in found if name not in known]
        if not found or unknown or (count is not None and len(found) != count):
            what = f', and {unknown[:3]} are no classes of the classifier' if unknown else ''
            raise ValueError(
                f'{root!r} has {len(found)} folders{what}. Expected: '
                f'{"" if count is None else f"{count} "}folders named like {min(known)!r}, one for each '
                'class, with its images inside (data_root)'
            )


@DATASETS.register_module()
class ImageNetC(ImageNetVariant):
    """ImageNet-C: ``<corruption>/<severity>/<class>/*.JPEG``, or each in its group: ``noise/gaussian_noise/...``.

    One data set of all pairs of corruption and severity; an image's path states its pair
    (:class:`~mmmim.evaluation.robustness.MeanCorruptionError` reads it there). Listing the published 3.75 million
    images takes 1 GB of memory for a moment and 0.3 GB afterwards; the lists of large folders are cached.

    Args:
        data_root: The folder.
        corruptions, severities: Those to read.
        num_folders: Class folders that each pair must have; None: any number.
        classes: The classifier's, see :func:`read_classes`.
        **kwargs: ``pipeline``, ``indices`` and the other options of MMEngine's ``BaseDataset``.

    Raises:
        FileNotFoundError: A pair of corruption and severity is missing.
        ValueError: An unknown corruption or severity, or other class folders than expected.
    """

    def __init__(
        self,
        data_root: str,
        corruptions: Sequence[str] = CORRUPTIONS,
        severities: Sequence[int] = (1, 2, 3, 4, 5),
        num_folders: Optional[int] = 1000,
        classes: Union[str, Sequence[str]] = '',
        **kwargs,
    ):
        unknown = [name for name in corruptions if name not in CORRUPTIONS]
        if unknown or not set(severities) <= {1, 2, 3, 4, 5}:
            raise ValueError(
                f'corruptions {unknown} and severities {list(severities)}: ImageNet-C has '
                f'{", ".join(CORRUPTIONS)}, each from 1 to 5'
            )
        self.pairs = [(name, severity) for name in corruptions for severity in severities]
        super().__init__(check_data_root(data_root), num_folders, classes, **kwargs)

    def load_data_list(self) -> FileTable:
        """One ``dict(img_path=relative path, gt_label=int)`` for each image of each pair."""
        root = self.data_prefix['img_path']
        places = [self._place(root, *pair) for pair in self.pairs]  # raise before the long listing
        classes = {name: label for label, name in enumerate(self._metainfo['classes'])}
        files, labels = [], []
        for place in places:
            folder = os.path.join(root, place)
            self._check_folders(folder, self.num_folders)
            for file in list_images(folder, self.extensions, self.cache_from):
                files.append(f'{place}/{file}')
                labels.append(classes[file.partition('/')[0]])
        self._metainfo['subset'] = sorted(set(labels))
        return FileTable(files, labels)

    @staticmethod
    def _place(root: str, corruption: str, severity: int) -> str:
        """The folder of a pair, relative to the root."""
        group = next(name for name, members in CORRUPTION_GROUPS.items() if corruption in members)
        candidates = [f'{corruption}/{severity}', f'{group}/{corruption}/{severity}']
        for place in candidates:
            if os.path.isdir(os.path.join(root, place)):
                return place
        raise FileNotFoundError(
            f'{root!r} has neither {candidates[0]}/ nor {candidates[1]}/. Expected: ImageNet-C as '
            'published, <corruption>/<severity>/<class>/*.JPEG; for a part of it set '
            'dataset.corruptions and dataset.severities'
        )
