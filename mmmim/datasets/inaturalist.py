"""iNaturalist 2017, 2018 and 2019, as published."""

import json
from typing import List, Optional, Tuple

from ..registry import DATASETS
from .image_folder import ImageFolder

CLASSES = {2017: 5089, 2018: 8142, 2019: 1010}
_LAYOUT = (
    '{"images": [{"id", "file_name"}], "annotations": [{"image_id", "category_id"}], "categories": [{"id"}]} of '
    'the iNaturalist competition'
)


@DATASETS.register_module()
class INaturalist(ImageFolder):
    """Images by the competition's annotation files: no conversion.

    ``data_root`` holds ``train2019.json`` and ``val2019.json`` and the folder that their file names begin with
    (``train_val2019/``; 2017: ``train_val_images/``). The label is the index of the category's id among the sorted ids
    of ``categories`` (the id itself, in the published files), the same in both files.

    Args:
        data_root: The folder.
        year: 2017, 2018 or 2019.
        split: ``'train'`` or ``'val'``.
        ann_file: The annotation file, relative to ``data_root``; by default ``<split><year>.json``.
        num_classes: Categories that the file must have; None: those of the year.
        **kwargs: ``pipeline``, ``indices`` and the other options of MMEngine's ``BaseDataset``.

    Raises:
        FileNotFoundError: The annotation file or an image named in it does not exist.
        ValueError: An unknown year or split, or a file of another layout or of another year.
    """

    def __init__(
        self,
        data_root: str,
        year: int = 2019,
        split: str = 'train',
        ann_file: str = '',
        num_classes: Optional[int] = None,
        **kwargs,
    ):
        if year not in CLASSES or split not in ('train', 'val'):
            raise ValueError(
                f"year={year!r}, split={split!r}: the years are {sorted(CLASSES)}, the splits 'train' and 'val'"
            )
        self.num_classes = CLASSES[year] if num_classes is None else num_classes
        super().__init__(data_root, ann_file=ann_file or f'{split}{year}.json', with_label=True, **kwargs)

    def _annotated(self, root: str) -> Tuple[List[str], List[int]]:
        try:
            with open(self.ann_file, encoding='utf-8') as stream:
                content = json.load(stream)
            files, labels, ids = _parse(content)
        except FileNotFoundError:
            raise FileNotFoundError(
                f'there is no {self.ann_file!r}. Expected: the published annotation file, beside '
                'the folder that its file names begin with (data_root)'
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{self.ann_file}: not {_LAYOUT} ({type(error).__name__}: {error})') from error
        if len(ids) != self.num_classes:
            raise ValueError(
                f'{self.ann_file} has {len(ids)} categories, but {self.num_classes} were expected: set '
                '`year`, or `num_classes` for a file of your own'
            )
        self._check_files(files, root, lambda place: f'image {place}')
        self._metainfo.setdefault('classes', tuple(str(number) for number in ids))
        return files, labels


def _parse(content: dict) -> Tuple[List[str], List[int], List[int]]:
    """Files, labels and category ids."""
    ids = sorted(category['id'] for category in content['categories'])
    place = {number: label for label, number in enumerate(ids)}
    category = {entry['image_id']: entry['category_id'] for entry in content['annotations']}
    images = content['images']
    if not images:
        raise ValueError('no images')
    return [image['file_name'] for image in images], [place[category[image['id']]] for image in images], ids
