"""The images under a folder, with a cache for large folders, and the places where caches are written."""

import hashlib
import json
import logging
import os
import time
import uuid
import zlib
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Callable, Dict, Iterable, Iterator, List, Optional, Tuple

from mmengine.logging import print_log

from .file_table import PathArray

IMAGE_EXTENSIONS = ('jpg', 'jpeg', 'png', 'webp', 'bmp', 'gif', 'tif', 'tiff', 'ppm', 'pgm', 'npy')

# A folder that changed less than this before it was listed may change again within one tick of a coarse file clock.
_SETTLED_NS = 2 * 10**9
_FORMAT = 2


def list_images(root: str, extensions: Iterable[str] = IMAGE_EXTENSIONS, cache_from: int = 10_000) -> List[str]:
    """:func:`image_paths` as a list of strings."""
    return image_paths(root, extensions, cache_from).tolist()


def image_paths(root: str, extensions: Iterable[str] = IMAGE_EXTENSIONS, cache_from: int = 10_000) -> PathArray:
    """List the images under a folder.

    Symbolic links to files and to folders are followed, loops are cut; hidden files and folders are skipped. The list
    of a folder with at least ``cache_from`` images is kept in ``<parent>/.<name>.mmmim-files``, or in the user's cache
    folder when that can't be written, and used as long as no folder under ``root`` changes.

    Args:
        root: The folder.
        extensions: What the names may end in, without a dot, in any case.
        cache_from: The number of images from which the list is cached.

    Returns:
        Paths relative to ``root``, with ``/``, sorted.
    """
    extensions = sorted({extension.lower().lstrip('.') for extension in extensions})
    places = cache_places(root, 'files')
    for place in places:
        paths = _read_cache(place, root, extensions)
        if paths is not None:
            return paths
    started = time.time_ns()
    folders: Dict[str, int] = {}
    wanted = tuple(f'.{extension}' for extension in extensions)
    paths = PathArray(sorted(file for file in walk(root, folders) if file.lower().endswith(wanted)))
    if len(paths) >= cache_from:
        names = paths.to_bytes()
        facts = dict(format=_FORMAT, extensions=extensions, listed_at=started, folders=folders, crc=zlib.crc32(names))
        write_to_first(places, lambda stream: stream.write(json.dumps(facts).encode() + b'\n' + names))
    return paths


def walk(root: str, folders: Optional[Dict[str, int]] = None) -> Iterator[str]:
    """Yield every file under ``root`` that is not hidden, relative to it, in no particular order.

    Args:
        root: The folder.
        folders: Filled with each folder (relative, ``''`` for ``root``) and its modification time in nanoseconds.
    """
    pending: List[Tuple[str, frozenset]] = [('', frozenset())]
    while pending:
        folder, ancestors = pending.pop()
        path = os.path.join(root, folder)
        status = os.stat(path)
        identity = (status.st_dev, status.st_ino)
        if identity in ancestors:  # a link that leads back up
            continue
        if folders is not None:
            folders[folder] = status.st_mtime_ns  # taken before listing: a change in between is seen as one later
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith('.'):
                    continue
                relative = f'{folder}/{entry.name}' if folder else entry.name
                with suppress(OSError):  # a link to itself
                    if entry.is_dir():
                        pending.append((relative, ancestors | {identity}))
                    elif entry.is_file():
                        yield relative


def _read_cache(place: Path, root: str, extensions: List[str]) -> Optional[PathArray]:
    """The list, if there is one that still holds. The file has a line of facts about it (JSON), then the names."""
    try:
        with open(place, 'rb') as stream:
            facts, names = json.loads(stream.readline()), stream.read()
        if facts['format'] != _FORMAT or facts['extensions'] != extensions or facts['crc'] != zlib.crc32(names):
            return None
        settled_before = facts['listed_at'] - _SETTLED_NS
        for folder, modified in facts['folders'].items():
            if modified > settled_before or os.stat(os.path.join(root, folder)).st_mtime_ns != modified:
                return None
        return PathArray(names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # missing or damaged: it is made anew


def cache_places(source: str, suffix: str) -> List[Path]:
    """Where what is derived from a file or folder may be kept: beside it, or else in the user's cache folder."""
    source = Path(os.path.abspath(source))
    user_cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    # two folders may have the same name
    digest = hashlib.sha256(os.fsencode(source)).hexdigest()[:16]
    return [source.parent / f'.{source.name}.mmmim-{suffix}', user_cache / 'mmmim' / f'{source.name}-{digest}.{suffix}']


def write_to_first(places: Iterable[Path], write: Callable[[BinaryIO], object]) -> Optional[Path]:
    """Write a cache file to the first place that can be written.

    It appears at once and whole (written under another name, then renamed), also when several processes write it.

    Returns:
        The place, or None if there is none; a message says so.
    """
    for place in places:
        temporary = place.with_name(f'{place.name}.{uuid.uuid4().hex}.tmp')
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if not _may_write(place.parent):
                continue
            with open(temporary, 'xb') as stream:
                write(stream)
            os.replace(temporary, place)
            return place
        except OSError:
            continue  # full, or read-only in a way that its mode does not tell
        finally:
            with suppress(OSError):
                temporary.unlink()  # gone already when all went well
    print_log(
        f'No cache was written: none of {[str(place.parent) for place in places]} can be written. The next start '
        'takes as long as this one.',
        logger='current',
        level=logging.WARNING,
    )
    return None


def _may_write(folder: Path) -> bool:
    # A folder that is marked as read-only for everybody is left alone by root as well.
    return bool(os.stat(folder).st_mode & 0o222) and os.access(folder, os.W_OK)
