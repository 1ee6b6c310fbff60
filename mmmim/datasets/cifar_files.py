"""CIFAR-10 and CIFAR-100 as their authors publish them: archives or folders of batches, for Python or binary."""

import os
import pickle
import tarfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image

from .io.file_list import cache_places, write_to_first

# the folders that archives unpack to (and torchvision keeps), by the number of classes
FOLDERS = {10: ('cifar-10-batches-py', 'cifar-10-batches-bin'), 100: ('cifar-100-python', 'cifar-100-binary')}
ARCHIVES = {
    10: ('cifar-10-python.tar.gz', 'cifar-10-binary.tar.gz'),
    100: ('cifar-100-python.tar.gz', 'cifar-100-binary.tar.gz'),
}
_TRAIN_10 = [f'data_batch_{i}' for i in range(1, 6)]
# class count and split to the names of their batches, without .bin
_BATCHES = {(10, 'train'): _TRAIN_10, (10, 'val'): ['test_batch'], (100, 'train'): ['train'], (100, 'val'): ['test']}
_NAMES = {10: 'batches.meta', 100: 'meta'}
_BINARY_NAMES = {10: 'batches.meta.txt', 100: 'fine_label_names.txt'}
_PIXELS = 3 * 32 * 32


class Split(NamedTuple):
    """``images`` ``[N, 32, 32, 3]`` uint8, ``names`` such as ``train/cat/x.png``, ``labels`` and ``classes``."""

    images: np.ndarray
    names: List[str]
    labels: List[int]
    classes: List[str]


def official_source(path: Path, classes: int) -> Optional[Path]:
    """The folder of batches or the archive that a path is or holds; None without one."""
    if path.is_file():
        return path if path.name in ARCHIVES[classes] else None
    first = _BATCHES[classes, 'train'][0]
    test = _BATCHES[classes, 'val'][0]
    if any((path / f'{first}{end}').is_file() and (path / f'{test}{end}').is_file() for end in ('', '.bin')):
        return path
    inside = [path / name for name in (*FOLDERS[classes], *ARCHIVES[classes])]
    return next((place for place in inside if place.exists()), None)


def read_official(source: Path, classes: int) -> Dict[str, Split]:
    """The splits ``'train'`` and ``'val'`` (the test batch).

    Raises:
        FileNotFoundError: A batch is missing.
        ValueError: A file is damaged, or no batch of CIFAR.
    """
    try:
        files = _files(source, classes)
        names = _class_names(files, classes)
        return {split: _split(files, classes, split, names) for split in ('train', 'val')}
    except KeyError as error:
        raise FileNotFoundError(
            f'{source} lacks {error.args[0]}, one of the files of CIFAR-{classes}: fetch it again'
        ) from error
    except (tarfile.TarError, EOFError, OSError, zlib.error, pickle.UnpicklingError, ValueError, TypeError) as error:
        raise ValueError(f'{source} is damaged, or no CIFAR-{classes} ({error}); fetch it again') from error


def _files(source: Path, classes: int) -> Dict[str, bytes]:
    """Contents by name, without ``.bin``."""
    wanted = {_NAMES[classes], _BINARY_NAMES[classes], *_BATCHES[classes, 'train'], *_BATCHES[classes, 'val']}
    found = {}
    if source.is_dir():
        for entry in source.iterdir():
            if entry.name.removesuffix('.bin') in wanted:
                found[entry.name.removesuffix('.bin')] = entry.read_bytes()
        return found
    with tarfile.open(source) as archive:
        for member in archive:
            name = os.path.basename(member.name).removesuffix('.bin')
            if member.isreg() and name in wanted:
                found[name] = archive.extractfile(member).read()  # type: ignore[union-attr]
    return found


class _Plain(pickle.Unpickler):
    """Dictionaries, lists, texts and numpy arrays, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        arrays = (
            'numpy.core.multiarray',
            'numpy._core.multiarray',
            'numpy',
            'numpy.core.numeric',
            'numpy._core.numeric',
        )
        if module in arrays and name in ('_reconstruct', 'ndarray', 'dtype', '_frombuffer'):
            return super().find_class(module, name)
        if (module, name) == ('_codecs', 'encode'):  # how old protocols write bytes
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f'it wants {module}.{name}, which no batch of CIFAR needs')


def _unpickled(content: bytes) -> Dict[str, Any]:
    values = _Plain(BytesIO(content), encoding='bytes').load()
    return {key.decode() if isinstance(key, bytes) else key: value for key, value in values.items()}


def _class_names(files: Dict[str, bytes], classes: int) -> List[str]:
    if _BINARY_NAMES[classes] in files:
        names = files[_BINARY_NAMES[classes]].decode().split()
    else:
        key = 'label_names' if classes == 10 else 'fine_label_names'
        names = [_text(name) for name in _unpickled(files[_NAMES[classes]])[key]]
    if len(names) != classes:
        raise ValueError(f'{len(names)} names of classes')
    return names


def _text(name: Any) -> str:
    return name.decode(errors='replace') if isinstance(name, bytes) else str(name)


def _split(files: Dict[str, bytes], classes: int, split: str, class_names: List[str]) -> Split:
    parts = [_batch(files[name], classes) for name in _BATCHES[classes, split]]
    pixels = np.concatenate([part[0] for part in parts])
    labels = [int(label) for part in parts for label in part[1]]
    if pixels.shape != (len(labels), _PIXELS) or not all(0 <= label < classes for label in labels):
        raise ValueError(f'{split}: pixels of shape {pixels.shape} with {len(labels)} labels')
    stems = [stem for part in parts for stem in part[2]] or [f'{i:05d}.png' for i in range(len(labels))]
    names = [f'{split}/{class_names[label]}/{stem}' for label, stem in zip(labels, stems)]
    images = np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return Split(images, names, labels, class_names)


def _batch(content: bytes, classes: int) -> Tuple[np.ndarray, Any, List[str]]:
    """Pixels ``[N, 3072]``, labels, and names of files, of which binary batches have none."""
    head = 1 if classes == 10 else 2  # the label; in CIFAR-100 behind the coarse one
    if content[:1] != b'\x80':
        rows = np.frombuffer(content, np.uint8).reshape(-1, head + _PIXELS)
        return rows[:, head:], rows[:, head - 1], []
    values = _unpickled(content)
    labels = values['labels' if classes == 10 else 'fine_labels']
    return np.asarray(values['data'], np.uint8), labels, [_text(name) for name in values.get('filenames', ())]


def as_tar(source: Path, classes: int) -> str:
    """A tar of PNG files, ``train/cat/x.png``, that is written once beside the source or in the user's cache folder.

    Raises:
        OSError: It cannot be written to either.
        FileNotFoundError, ValueError: As :func:`read_official`.
    """
    places = cache_places(str(source), 'images.tar')
    written = max(file.stat().st_mtime for file in ([source] if source.is_file() else source.iterdir()))
    for place in places:
        if place.is_file() and place.stat().st_mtime >= written:
            return str(place)
    splits = read_official(source, classes)

    def write(stream: Any) -> None:
        with tarfile.open(fileobj=stream, mode='w') as tar:
            for split in splits.values():
                for image, name in zip(split.images, split.names):
                    content = BytesIO()
                    Image.fromarray(image).save(content, 'PNG', compress_level=1)
                    member = tarfile.TarInfo(name)
                    member.size = content.tell()
                    content.seek(0)
                    tar.addfile(member, content)

    place = write_to_first(places, write)
    if place is None:
        raise OSError(f'the images of {source} can be written neither beside it nor in the cache folder')
    return str(place)
