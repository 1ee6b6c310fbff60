"""Tar files as folders: ``photos.tar/cat/1.jpg`` is a member, read by its offset without unpacking.

A tar is gone through once. The offsets of its images are kept beside it (``.photos.tar.mmmim-members``) or in the
user's cache folder, and used as long as its size and time stay. Labels are those of WebDataset: ``1.cls`` or a label in
``1.json`` beside ``1.jpg``.
"""

import io
import json
import os
import re
import tarfile
import zlib
from bisect import bisect_left
from contextlib import suppress
from functools import lru_cache
from typing import Any, BinaryIO, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

import numpy as np

from .byte_ranges import EncodedImage, ShardReader
from .file_list import PathArray, cache_places, write_to_first
from .formats import IMAGE_EXTENSIONS
from .pixel_formats import ImageReadError

LABEL_KEYS = ('label', 'cls', 'class', 'class_name', 'class_id', 'category', 'target')
_MEMBER = re.compile(r'(.+?\.tar)/(.+)', re.DOTALL | re.IGNORECASE)
_CACHED_FROM = 1000  # images; fewer are found as fast
_MOST_BYTES = 1 << 20  # of a file with a label
_FORMAT = 1


class TarIndex(NamedTuple):
    """The images of a tar.

    Attributes:
        names: Of the members, sorted, without ``./`` at the start.
        offset, size: ``[N]`` int64, where the bytes of each start in the tar, and their number.
        classes: The class of each image as text, from the file of its label; None unless all have one.
    """

    names: PathArray
    offset: np.ndarray
    size: np.ndarray
    classes: Optional[PathArray]


def split_member(path: str) -> Optional[Tuple[str, str]]:
    """``(tar, member)`` of the path of a member; None for any other path."""
    match = _MEMBER.fullmatch(path) if '.tar/' in path.lower() else None
    return (match[1], match[2]) if match and os.path.isfile(match[1]) else None


def as_member(source: Any) -> Any:
    """A path in a tar as an object with the bytes of that image; anything else as it is.

    Raises:
        ImageReadError: The tar has no such member, or cannot be read.
    """
    found = split_member(os.fspath(source)) if isinstance(source, (str, os.PathLike)) else None
    if found is None:
        return source
    try:
        index, place = _find(*found)
    except (OSError, ValueError) as error:
        raise ImageReadError(os.fspath(source), str(error)) from error
    if place is None:
        raise ImageReadError(os.fspath(source), f'{found[0]} has no such image')
    folder, name = os.path.split(found[0])
    return EncodedImage(_reader(folder), name, int(index.offset[place]), int(index.size[place]), os.fspath(source))


def image_exists(path: str) -> bool:
    """Whether there is such a file, or such an image in a tar."""
    if os.path.isfile(path):
        return True
    found = split_member(path)
    return found is not None and _find(*found)[1] is not None


def missing_images(paths: Sequence[str], listed_from: int = 10_000) -> List[int]:
    """Places of the paths that :func:`image_exists` is false for.

    From ``listed_from`` paths on, the folders and tars that hold them are read, each once: to ask for a million files
    one by one takes minutes on a network file system.
    """
    known: Set[str] = set()
    if len(paths) >= listed_from:
        tars: Set[str] = set()
        for folder in {os.path.dirname(path) for path in paths}:
            member = split_member(f'{folder}/_')
            if member is not None:
                tars.add(member[0])
                continue
            with suppress(OSError), os.scandir(folder) as entries:
                known.update(os.path.join(folder, entry.name) for entry in entries if entry.is_file())
        for tar in tars:
            known.update(f'{tar}/{name}' for name in tar_index(tar).names.tolist())
    return [place for place, path in enumerate(paths) if path not in known and not image_exists(path)]


def image_stat(path: str) -> os.stat_result:
    """Status of a file; of a member, that of its tar."""
    found = split_member(path)
    return os.stat(path if found is None else found[0])


def image_bytes(path: str) -> Union[int, None]:
    """Size of an image file or member; None where there is none."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    found = split_member(path)
    if found is None:
        return None
    index, place = _find(*found)
    return None if place is None else int(index.size[place])


def open_image(path: str) -> BinaryIO:
    """A file or member, open for reading."""
    source = as_member(path)
    return open(path, 'rb') if source is path else io.BytesIO(source.read())


@lru_cache(maxsize=64)
def _reader(folder: str) -> ShardReader:
    return ShardReader(folder)


def _find(tar: str, member: str) -> Tuple[TarIndex, Optional[int]]:
    """The index, and the place of a member in it."""
    index = tar_index(tar)
    place = bisect_left(index.names, member)
    return index, place if place < len(index.names) and index.names[place] == member else None


def tar_index(path: str) -> TarIndex:
    """The images of a tar, sorted by name.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is compressed, damaged or cut.
    """
    status = os.stat(path)
    return _index(os.path.abspath(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _index(path: str, size: int, modified: int) -> TarIndex:
    places = cache_places(path, 'members')
    for place in places:
        try:
            with open(place, 'rb') as file:
                found = _from_bytes(file.read(), size, modified)
        except Exception:  # missing, cut or of another kind: it is made anew
            continue
        if found is not None:
            return found
    index = _scan(path, size)
    if len(index.names) >= _CACHED_FROM:
        write_to_first(places, lambda stream: _write(stream, index, size, modified))
    return index


def _write(stream: BinaryIO, index: TarIndex, size: int, modified: int) -> None:
    names = index.names.to_bytes()
    facts = dict(format=_FORMAT, size=size, modified=modified, endings=IMAGE_EXTENSIONS, crc=zlib.crc32(names))
    arrays = dict(offset=index.offset, size=index.size, names=_bytes(names))
    if index.classes is not None:
        arrays['classes'] = _bytes(index.classes.to_bytes())
    np.savez(stream, facts=_bytes(json.dumps(facts).encode()), **arrays)


def _bytes(content: bytes) -> np.ndarray:
    return np.frombuffer(content, dtype=np.uint8)


def _from_bytes(content: bytes, size: int, modified: int) -> Optional[TarIndex]:
    """The index, unless it is of another tar."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        names = file['names'].tobytes()
        facts = json.loads(file['facts'].tobytes())
        wanted = dict(format=_FORMAT, size=size, modified=modified, endings=[*IMAGE_EXTENSIONS], crc=zlib.crc32(names))
        if facts != wanted:
            return None
        classes = PathArray(file['classes'].tobytes()) if 'classes' in file else None
        return TarIndex(PathArray(names), file['offset'], file['size'], classes)


def _scan(path: str, size: int) -> TarIndex:
    endings = tuple(f'.{ending}' for ending in IMAGE_EXTENSIONS)
    found: Dict[str, Tuple[int, int]] = {}
    labels: Dict[str, str] = {}
    try:
        with tarfile.open(path, 'r:') as tar:
            for member in tar:
                name = re.sub(r'^(\.?/)+', '', member.name)
                hidden = any(part.startswith('.') for part in name.split('/'))
                if not member.isreg() or member.issparse() or hidden:
                    continue
                if member.offset_data + member.size > size:
                    raise EOFError(f'{name} is not whole')
                if name.lower().endswith(endings):
                    found[name] = member.offset_data, member.size  # of several with this name the last one counts
                elif name.endswith(('.cls', '.json')) and member.size <= _MOST_BYTES:
                    label = _label(name, tar.extractfile(member).read())  # type: ignore[union-attr]
                    if label is not None:
                        labels.setdefault(_key(name), label)
            if tar.offset + tarfile.BLOCKSIZE > size:  # empty blocks end a tar
                raise EOFError('its end is missing')
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f'{path} {_what_is_wrong(path, error)}') from error
    names = sorted(found)
    classes: List[Optional[str]] = [labels.get(_key(name)) for name in names]
    table = np.asarray([found[name] for name in names], dtype=np.int64).reshape(-1, 2)
    whole = bool(names) and all(label is not None for label in classes)
    return TarIndex(
        PathArray(names), table[:, 0], table[:, 1], PathArray([str(label) for label in classes]) if whole else None
    )


def _what_is_wrong(path: str, error: Exception) -> str:
    with open(path, 'rb') as file:
        start = file.read(6)
    if start.startswith((b'\x1f\x8b', b'BZh', b'\xfd7zXZ', b'\x28\xb5\x2f\xfd')):
        return 'is compressed: members can be read by their offset in a plain tar alone (gunzip, xz -d, or unpack it)'
    return f'is no whole tar ({error}): it was cut or damaged; fetch it again'


def _key(name: str) -> str:
    """What the files of one sample of a WebDataset share: the folder, and the name up to the first dot."""
    folder, slash, base = name.rpartition('/')
    return f'{folder}{slash}{base.partition(".")[0]}'


def _label(name: str, content: bytes) -> Optional[str]:
    """The class in a ``.cls`` or ``.json`` file; None where there is none."""
    try:
        if name.endswith('.cls'):
            return content.decode().strip() or None
        values = json.loads(content)
        label = next(values[key] for key in LABEL_KEYS if key in values)
    except (ValueError, StopIteration, TypeError):
        return None
    return (
        str(label) if isinstance(label, (str, int)) and not isinstance(label, bool) and '\0' not in str(label) else None
    )
