"""CIFAR-10 and CIFAR-100 from the official files, from class folders or from an archive of them, decoded once."""

import hashlib
import io
import json
import logging
import lzma
import os
import re
import sys
import tarfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

import numpy as np
import torch
from mmengine.logging import print_log
from PIL import Image

from ..registry import DATASETS
from .cifar_files import official_source, read_official
from .image_folder import check_data_root
from .io.file_list import cache_places, list_images, write_to_first
from .io.formats import FORMATS, IMAGE_EXTENSIONS
from .io.pixel_formats import to_planes
from .retrying import RetryingDataset

SPLITS = ('train', 'val')
_ARCHIVES = ('.tar', '.tar.gz', '.tgz', '.tar.xz')
_SIDE = 32  # pixels
_MOST_BYTES = 1 << 20  # limit of one image file; a real one has about 1 kB
# frame header of a baseline JPEG of 32 x 32 pixels and three channels of 8 bits
_FRAME_HEADER = b'\xff\xc0\x00\x11\x08\x00\x20\x00\x20\x03'


class _Member(NamedTuple):
    split: str
    class_name: str
    name: str
    content: bytes  # empty: can't be read


# the images [N, 32, 32, 3], or their .npy file; and the lists of names, labels and classes
_Prepared = Tuple[Union[np.ndarray, str], Dict[str, list]]


@DATASETS.register_module()
class CIFAR10(RetryingDataset):
    """CIFAR-10, 32 x 32 pixels, 50,000 images to train on and 10,000 to validate.

    All images are decoded once, at the first use, into an array that is kept beside the source, or in the user's cache
    folder if that can't be written, and mapped into memory from then on. It is rebuilt when the source changes. Nothing
    of an archive is extracted to disk under its own name.

    Args:
        data_root: The official ``cifar-10-python.tar.gz`` or ``cifar-10-binary.tar.gz``, what it unpacks to
            (``cifar-10-batches-py``), or a folder with one of these, such as torchvision's. Or a folder that holds
            ``train/<class>/*`` and ``val/<class>/*``, or one that holds an archive (``.tar``, ``.tar.gz``, ``.tgz``,
            ``.tar.xz``) of these, or the path of such an archive. ``val`` is the official test batch.
        split: ``'train'`` or ``'val'``.
        **kwargs: ``pipeline``, ``indices`` and the other options of MMEngine's ``BaseDataset``.

    Raises:
        FileNotFoundError: if there is nothing of that kind.
        ValueError: if the split is unknown or empty, or an image isn't 32 x 32.
    """

    CLASSES = 10

    def __init__(self, data_root: str, split: str = 'train', **kwargs):
        if split not in SPLITS:
            raise ValueError(f'split is {split!r}; it can be one of {SPLITS}')
        self.split = split
        self.source = find_source(check_data_root(data_root), self.CLASSES)
        super().__init__(data_root=data_root, **kwargs)

    def load_data_list(self) -> List[dict]:
        """One ``dict(img_path=name, gt_label=int, row=place in the array)`` for each image."""
        self._images, index = _prepared(self.source, self.split, self.CLASSES)
        self._metainfo.setdefault('classes', tuple(index['classes']))
        joint = '::' if self.source.is_file() else '/'
        return [
            dict(img_path=f'{self.source}{joint}{name}', gt_label=label, row=row)
            for row, (name, label) in enumerate(zip(index['names'], index['labels']))
        ]

    def get_data_info(self, idx: int) -> dict:
        """``img`` (``[32, 32, 3]`` uint8), ``img_path`` (name within the source), ``gt_label`` and ``sample_idx``."""
        info = super().get_data_info(idx)
        images = self._images if isinstance(self._images, np.ndarray) else _memory_map(self._images)
        info['img'] = np.array(images[info.pop('row')])
        return info


@DATASETS.register_module()
class CIFAR100(CIFAR10):
    """CIFAR-100 with its 100 fine labels, read as :class:`CIFAR10` (``cifar-100-python.tar.gz``)."""

    CLASSES = 100


@lru_cache(maxsize=8)
def _memory_map(path: str) -> np.ndarray:
    # not kept in the data set, which may be copied or sent to another process
    return np.load(path, mmap_mode='r', allow_pickle=False)


def find_source(data_root: str, classes: int = 10) -> Path:
    """The official folder or archive, the folder that holds ``train`` or ``val``, or an archive of it.

    Raises:
        FileNotFoundError: There is none, or the official one of the other data set.
    """
    path = Path(data_root)
    official, other = official_source(path, classes), official_source(path, 110 - classes)
    if official is not None:
        return official
    if other is not None:
        raise FileNotFoundError(f"{other} is CIFAR-{110 - classes}: use type='CIFAR{110 - classes}'")
    if path.is_file() or any((path / split).is_dir() for split in SPLITS):
        return path
    archives = sorted(name for name in os.listdir(path) if name.endswith(_ARCHIVES) and not name.startswith('.'))
    if len(archives) != 1:
        raise FileNotFoundError(
            f'{data_root!r} holds neither train/<class>/* and val/<class>/* nor exactly one '
            f'archive of them ({", ".join(_ARCHIVES)}); archives found: {archives}'
        )
    return path / archives[0]


def _prepared(source: Path, split: str, classes: int = 10) -> _Prepared:
    """The images and lists of one split, see :func:`_prepare`; from the cache if present."""
    key = _key(source)
    cached = _read_cache(source, split, key)
    if cached:
        return cached
    official = official_source(source, classes) is not None
    prepared = _prepare_official(source, classes) if official else _prepare(source)
    if split not in prepared:
        raise ValueError(
            f'{source} has no images of the form [folder/]{split}/<class>/<name> ({", ".join(IMAGE_EXTENSIONS)})'
        )
    for part, content in prepared.items():
        _write_cache(source, part, key, *content)
    return _read_cache(source, split, key) or prepared[split]


def _read_cache(source: Path, split: str, key: str) -> Optional[_Prepared]:
    for image_place in cache_places(source, f'{split}-{key}.npy'):
        try:  # the index is written last: if it exists, the images are complete
            index = json.loads(image_place.with_suffix('.json').read_bytes())
            if _memory_map(str(image_place)).shape == (len(index['names']), _SIDE, _SIDE, 3):
                return str(image_place), index
        except (OSError, ValueError, KeyError, TypeError):
            continue  # missing or damaged
    return None


def _write_cache(source: Path, split: str, key: str, images: np.ndarray, index: Dict[str, list]) -> None:
    place = write_to_first(cache_places(source, f'{split}-{key}.npy'), lambda stream: np.save(stream, images))
    if place is None:
        return
    write_to_first([place.with_suffix('.json')], lambda stream: stream.write(json.dumps(index).encode()))
    # caches of earlier versions of the source
    same = re.compile(re.escape(place.name[: -len(f'{key}.npy')]) + r'[0-9a-f]{12}\.(npy|json)')
    for file in place.parent.iterdir():
        if same.fullmatch(file.name) and file.stem != place.stem:
            file.unlink(missing_ok=True)


def _key(source: Path) -> str:
    """Cache key of the source: size and time of the archive, or of every file in the folders."""
    files = [''] if source.is_file() else _listed(source) or sorted(os.listdir(source))
    digest = hashlib.sha256()
    for file in files:
        status = os.stat(os.path.join(source, file) if file else source)
        digest.update(os.fsencode(f'{file} {status.st_size} {status.st_mtime_ns}\n'))
    return digest.hexdigest()[:12]


def _listed(source: Path) -> List[str]:
    """``split/class/name`` of every image in the class folders."""
    return [
        f'{split}/{file}'
        for split in SPLITS
        if (source / split).is_dir()
        for file in list_images(source / split, cache_from=sys.maxsize)
        if file.count('/') == 1
    ]


def _members(source: Path) -> Iterator[_Member]:
    """Read the images of the folders, or of the archive: in memory, nothing is extracted to disk."""
    if source.is_dir():
        for name in _listed(source):
            path = source / name
            yield _Member(*name.split('/')[:2], name, path.read_bytes() if path.stat().st_size <= _MOST_BYTES else b'')
        return
    endings = tuple(f'.{extension}' for extension in IMAGE_EXTENSIONS)
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                parts = member.name.split('/')
                if (
                    not member.isreg()
                    or len(parts) < 3
                    or parts[-3] not in SPLITS
                    or '..' in parts
                    or any(part.startswith('.') for part in parts[-2:])
                    or not parts[-1].lower().endswith(endings)
                ):
                    continue
                content = archive.extractfile(member).read() if member.size <= _MOST_BYTES else b''
                yield _Member(parts[-3], parts[-2], member.name, content)
            # tarfile takes an archive that is truncated between two members for a shorter one
            rest = 0
            while chunk := archive.fileobj.read(1 << 20):  # this also compares the checksums of .gz and .xz
                rest += len(chunk)
            if rest < tarfile.BLOCKSIZE:  # two empty blocks end an archive; the first one was read
                raise EOFError('its end is missing')
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f'the archive {source} is damaged or incomplete ({error}); fetch it again') from error


def _prepare(source: Path) -> Dict[str, Tuple[np.ndarray, Dict[str, list]]]:
    """Decode everything: for each split the images ``[N, 32, 32, 3]`` and their names, labels and classes, in order."""
    print_log(f'Decoding {source}; later starts use the result.', logger='current')
    members = sorted(_members(source))
    prepared, unreadable = {}, []
    for split in SPLITS:
        mine = [member for member in members if member.split == split]
        classes = sorted({member.class_name for member in mine})
        images, names, labels = np.empty((len(mine), _SIDE, _SIDE, 3), np.uint8), [], []
        for member in mine:
            image = _decode(member.content)
            if image is None:
                unreadable.append(member.name)
                continue
            if image.shape != (_SIDE, _SIDE, 3):
                raise ValueError(
                    f'{member.name} in {source} has {image.shape[1]} x {image.shape[0]} pixels; images of '
                    f'{_SIDE} x {_SIDE} are needed here (ImageFolder takes any size)'
                )
            images[len(names)] = image
            names.append(member.name)
            labels.append(classes.index(member.class_name))
        if names:
            prepared[split] = images[: len(names)], dict(names=names, labels=labels, classes=classes)
    if unreadable:
        print_log(
            f'{len(unreadable)} of {len(members)} images in {source} can not be read and are left out: '
            f'{", ".join(unreadable[:5])}',
            logger='current',
            level=logging.WARNING,
        )
    return prepared


def _prepare_official(source: Path, classes: int) -> Dict[str, Tuple[np.ndarray, Dict[str, list]]]:
    """As :func:`_prepare`, from the official files."""
    print_log(f'Reading {source}; later starts use the result.', logger='current')
    splits = read_official(source, classes)
    return {
        name: (split.images, dict(names=split.names, labels=split.labels, classes=split.classes))
        for name, split in splits.items()
    }


def _decode(content: bytes) -> Optional[np.ndarray]:
    """``[H, W, 3]`` uint8, or None."""
    try:
        if _FRAME_HEADER in content:  # three times as fast for such small images, and the same pixels
            from torchvision.io import ImageReadMode, decode_jpeg

            encoded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            return decode_jpeg(encoded, ImageReadMode.RGB).permute(1, 2, 0).numpy()
    except (ImportError, RuntimeError):  # a torchvision without its decoder, or a damaged file
        pass
    try:
        return np.asarray(to_planes(Image.open(io.BytesIO(content), formats=FORMATS), 3, '')[0])
    except Exception:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ValueError and more
        return None
