"""Places205 and Places365, as published."""

import os
from typing import Dict, List, Optional, Sequence, Tuple

from ..registry import DATASETS
from .image_folder import ImageFolder, check_data_root

_IMAGES_205 = ('data/vision/torralba/deeplearning/images256', 'images256')
# (version, split): candidate paths of the list, and of the folder that its paths are relative to
_LAYOUTS: Dict[Tuple[int, str], Tuple[Sequence[str], Sequence[str]]] = {
    (365, 'train'): (
        ('places365_train_standard.txt',),
        ('data_256_standard', 'data_256', 'data_large_standard', 'data_large'),
    ),
    (365, 'val'): (('places365_val.txt',), ('val_256', 'val_large')),
    (205, 'train'): (('trainvalsplit_places205/train_places205.csv', 'train_places205.csv'), _IMAGES_205),
    (205, 'val'): (('trainvalsplit_places205/val_places205.csv', 'val_places205.csv'), _IMAGES_205),
}


@DATASETS.register_module()
class Places(ImageFolder):
    """Scenes, by the published lists or, where those are missing, in class folders: no conversion.

    Under ``data_root``, the first of each that is there:

    - Places365: ``places365_train_standard.txt`` with ``data_256_standard/``, ``data_256/``, ``data_large_standard/``
      or ``data_large/``; ``places365_val.txt`` with ``val_256/`` or ``val_large/``.
    - Places205: ``train_places205.csv`` and ``val_places205.csv``, in ``trainvalsplit_places205/`` or not, with
      ``data/vision/torralba/deeplearning/images256/`` or ``images256/``.
    - Either: ``train/<class>/*`` and ``val/<class>/*`` (the "easy" archive of Places365).

    Args:
        data_root: The folder.
        version: 365 or 205.
        split: ``'train'`` or ``'val'``.
        num_classes: Labels must be below it; None: ``version``.
        **kwargs: ``pipeline``, ``indices`` and the other options of MMEngine's ``BaseDataset``.

    Raises:
        FileNotFoundError: None of these exists, or a listed image is missing.
        ValueError: An unknown version or split, or a label that is out of range.
    """

    def __init__(
        self, data_root: str, version: int = 365, split: str = 'train', num_classes: Optional[int] = None, **kwargs
    ):
        if (version, split) not in _LAYOUTS:
            raise ValueError(
                f"version={version!r}, split={split!r}: the versions are 205 and 365, the splits 'train' and 'val'"
            )
        self.num_classes = version if num_classes is None else num_classes
        ann_file, images = _find(check_data_root(data_root), version, split)
        super().__init__(data_root, ann_file=ann_file, with_label=True, data_prefix=dict(img_path=images), **kwargs)

    def _annotated(self, root: str) -> Tuple[List[str], List[int]]:
        files, labels = [], []
        with open(self.ann_file, encoding='utf-8-sig') as stream:
            for number, line in enumerate(stream, 1):
                path, _, label = line.strip().rpartition(' ')
                if not path or not label.isdecimal() or int(label) >= self.num_classes:
                    raise ValueError(
                        f'{self.ann_file}, line {number}: {line.strip()!r} is not a path and a label '
                        f'below {self.num_classes}'
                    )
                files.append(path.lstrip('/'))  # Places365 lists them as /a/airfield/00000001.jpg
                labels.append(int(label))
        if not files:
            raise ValueError(f'the list {self.ann_file!r} is empty')
        self._check_files(files, root, lambda place: f'line {place + 1}')
        return files, labels


def _find(root: str, version: int, split: str) -> Tuple[str, str]:
    """The list (empty: class folders) and the folder of the images, both relative to the root."""
    lists, folders = _LAYOUTS[version, split]
    ann_file = next((name for name in lists if os.path.isfile(os.path.join(root, name))), None)
    images = next((name for name in folders if os.path.isdir(os.path.join(root, name))), None)
    if ann_file and images:
        return ann_file, images
    if not ann_file and os.path.isdir(os.path.join(root, split)):
        return '', split
    missing = ' and '.join(' or '.join(names) for names, found in ((lists, ann_file), (folders, images)) if not found)
    raise FileNotFoundError(
        f'{root!r} is not Places{version}: there is no {missing}. Expected: these beside one '
        f'another, or class folders {split}/<class>/*'
    )
