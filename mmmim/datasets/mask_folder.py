"""A folder of images and a folder of index masks."""

import logging
import os
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from ..registry import DATASETS
from .image_folder import check_data_root
from .io.file_list import list_images
from .io.formats import IMAGE_EXTENSIONS
from .io.image_io import ImageReadError

MASK_EXTENSIONS = ('png', 'tif', 'tiff', 'bmp', 'gif')


def read_pairs(path: str) -> List[Tuple[str, str]]:
    """The images and masks of a list with a tab in its lines; empty for other lists and without a file.

    Raises:
        ValueError: Some lines have one tab, and others have not.
    """
    if not os.path.isfile(path):
        return []
    with open(path, encoding='utf-8-sig', errors='surrogateescape') as stream:
        lines = [line.rstrip('\n') for line in stream if line.strip()]
    pairs = [tuple(line.split('\t')) for line in lines if line.count('\t') == 1]
    if pairs and len(pairs) < len(lines):
        odd = next(line for line in lines if line.count('\t') != 1)
        raise ValueError(f'{path}: some lines have an image, a tab and a mask; this one has not: {odd!r}')
    return [(image, mask) for image, mask in pairs]


def pair_lines(pairs: Sequence[Tuple[str, str]]) -> str:
    """The text of such a list.

    Raises:
        ValueError: A name with a tab or a line break, which no line can hold.
    """
    for name in (name for pair in pairs for name in pair):
        if '\t' in name or '\n' in name:
            raise ValueError(f'{name!r} has a tab or a line break in its name: rename it')
    return ''.join(f'{image}\t{mask}\n' for image, mask in pairs)


@DATASETS.register_module()
class MaskFolder(BaseDataset):
    """Images with index masks: each pixel of a mask holds its class number, and 255 is ignored.

    A mask has the relative path of its image with another extension: ``images/a/1.jpg`` and ``annotations/a/1.png``.
    Samples are those of mmseg's data sets, for mmseg's transforms (``LoadAnnotations``) and metrics.

    Args:
        data_root: The folder with both.
        data_prefix: ``img_path`` and ``seg_map_path``, relative to ``data_root``.
        classes: Names, in the order of the class numbers.
        reduce_zero_label: 0 means unlabelled and class k is stored as k + 1, as in ADE20K.
        label_map: The class of a value that masks store otherwise: ``{255: 1}`` where the second of two classes is
            stored as 255.
        ann_file: Text file, relative to ``data_root``, with one relative image path a line, with or without its
            extension. Without it, all images are taken. Or, for masks that lie or are named otherwise, an image and its
            mask a line, both relative to ``data_root`` and divided by a tab; then ``data_prefix`` is not looked at.
        palette: A colour ``(r, g, b)`` for each class, for pictures; drawn if None.
        **kwargs: ``pipeline``, ``indices`` and the other options of MMEngine's ``BaseDataset``.

    Raises:
        FileNotFoundError: A folder or the annotation file does not exist, or images have no mask; some are named.
        ValueError: There are no images, two have the same name but for the extension, or two masks; or a ``label_map``
            to what is no class.
    """

    def __init__(
        self,
        data_root: str,
        data_prefix: Dict[str, str],
        classes: Sequence[str],
        reduce_zero_label: bool = False,
        ann_file: str = '',
        palette: Optional[Sequence[Sequence[int]]] = None,
        label_map: Optional[Dict[Any, int]] = None,
        **kwargs,
    ) -> None:
        self.reduce_zero_label = reduce_zero_label
        # the command line gives keys as text
        self.label_map = {int(value): int(label) for value, label in label_map.items()} if label_map else None
        wrong = [label for label in (self.label_map or {}).values() if not 0 <= label < len(classes)]
        if wrong or (self.label_map and reduce_zero_label):
            raise ValueError(
                f'label_map={self.label_map}: '
                + (
                    f'{wrong[0]} is none of the classes 0 to {len(classes) - 1}'
                    if wrong
                    else 'leave out reduce_zero_label'
                )
            )
        if palette is None:
            palette = np.random.default_rng(0).integers(0, 256, (len(classes), 3)).tolist()
        metainfo = dict(
            classes=tuple(classes),
            palette=[list(colour) for colour in palette],
            label_map=self.label_map,
            reduce_zero_label=reduce_zero_label,
        )
        super().__init__(
            ann_file=ann_file,
            data_root=check_data_root(data_root),
            data_prefix=data_prefix,
            metainfo=metainfo,
            **kwargs,
        )

    def load_data_list(self) -> List[dict]:
        """One ``dict(img_path, seg_map_path, label_map, reduce_zero_label, seg_fields)`` for each image."""
        pairs = read_pairs(self.ann_file) if self.ann_file else []
        if pairs:
            return [self._info(*(os.path.join(self.data_root, path) for path in pair)) for pair in pairs]
        images, masks = (
            self._by_stem(key, extensions)
            for key, extensions in (('img_path', IMAGE_EXTENSIONS), ('seg_map_path', MASK_EXTENSIONS))
        )
        stems = self._listed(images) if self.ann_file else sorted(images)
        alone = [images[stem] for stem in stems if stem not in masks]
        if alone:
            raise FileNotFoundError(
                f'{len(alone)} of {len(stems)} images have no mask in {self.data_prefix["seg_map_path"]!r} (the same '
                f'path, ending in {", ".join(MASK_EXTENSIONS)}): {", ".join(alone[:5])}. Add the masks, or name the '
                'images that have one in a text file: dataset.ann_file'
            )
        unused = sorted(set(masks) - set(images))
        if unused:  # images of another format or extension would be left out silently
            print_log(
                f'{len(unused)} of {len(masks)} masks in {self.data_prefix["seg_map_path"]!r} have no image and '
                f'are not used: {", ".join(masks[stem] for stem in unused[:5])}',
                'current',
                logging.WARNING,
            )
        roots = self.data_prefix['img_path'], self.data_prefix['seg_map_path']
        return [self._info(os.path.join(roots[0], images[stem]), os.path.join(roots[1], masks[stem])) for stem in stems]

    def _info(self, image: str, mask: str) -> dict:
        return dict(
            img_path=image,
            seg_map_path=mask,
            label_map=self.label_map,
            reduce_zero_label=self.reduce_zero_label,
            seg_fields=[],
        )

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline for one sample.

        Raises:
            ImageReadError: Its image or its mask cannot be decoded (mmseg's own error names no file).
        """
        try:
            return super().prepare_data(idx)
        except (OSError, SyntaxError, AssertionError) as error:
            info = self.get_data_info(idx)
            raise ImageReadError(
                info['img_path'],
                f'it or its mask {info["seg_map_path"]} cannot be read '
                f'({str(error) or type(error).__name__}): repair or remove both',
            ) from error

    def _by_stem(self, key: str, extensions: Sequence[str]) -> Dict[str, str]:
        """``{relative path without extension: relative path}`` below the folder of a key of ``data_prefix``."""
        root = self.data_prefix[key]
        if not os.path.isdir(root):
            raise FileNotFoundError(
                f'there is no folder {root!r}: set data_root, and dataset.data_prefix.{key} where '
                'the folders below it have other names'
            )
        found: Dict[str, str] = {}
        for file in list_images(root, extensions):
            stem = os.path.splitext(file)[0]
            if stem in found:
                raise ValueError(
                    f'{found[stem]} and {file} in {root!r} have the same name: which one is meant? '
                    'Remove or rename one of them'
                )
            found[stem] = file
        if not found:
            raise ValueError(f'there are no files in {root!r} that end in {", ".join(extensions)}')
        return found

    def _listed(self, images: Dict[str, str]) -> List[str]:
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(
                f'the annotation file {self.ann_file!r} does not exist (dataset.ann_file, relative to data_root)'
            )
        with open(self.ann_file, encoding='utf-8-sig') as stream:
            lines = [line.strip() for line in stream if line.strip()]
        by_name = {file: stem for stem, file in images.items()}
        stems = [by_name.get(line, line) for line in lines]
        absent = [line for line, stem in zip(lines, stems) if stem not in images]
        if absent or not lines:
            raise FileNotFoundError(
                f'{self.ann_file} names {len(lines)} images, of which {len(absent)} are not in '
                f'{self.data_prefix["img_path"]!r}: {", ".join(absent[:5])}'
            )
        return stems
