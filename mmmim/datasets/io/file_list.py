"""The images under a folder: listed, with a cache for large folders; paths and labels of millions in a few arrays.

A million strings or dictionaries take seconds to create, and again to serialise so that loading workers can share them.
Arrays are read at once, and shared without serialisation.
"""

import hashlib
import json
import logging
import os
import time
import uuid
import zlib
from bisect import bisect_right
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from mmengine.logging import print_log

from .formats import IMAGE_EXTENSIONS


class PathArray(Sequence):
    """Reads as a list of paths.

    Args:
        paths: No NUL in them, as in no file name; or the bytes that another array's ``to_bytes`` gave.

    Raises:
        ValueError: A path holds a NUL.
    """

    def __init__(self, paths: Union[Sequence[str], bytes] = ()) -> None:
        # names that are not valid UTF-8 come from the system as lone surrogates
        content = paths if isinstance(paths, bytes) else '\0'.join([*paths, '']).encode(errors='surrogatepass')
        self._content = np.frombuffer(content, dtype=np.uint8)
        self._ends = np.flatnonzero(self._content == 0)
        if not isinstance(paths, bytes) and len(self) != len(paths):
            raise ValueError('a path holds a NUL, which no file name does')

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return self._encoded(range(len(self))[index]).decode(errors='surrogatepass')  # IndexError; counts from the end

    def tolist(self) -> List[str]:
        return self.to_bytes().decode(errors='surrogatepass').split('\0')[:-1]

    def to_bytes(self) -> bytes:
        """Every path in UTF-8, followed by a NUL."""
        return self._content.tobytes()

    def top_folders(self) -> List[Tuple[str, int]]:
        """For sorted paths: ``(top-level folder, consecutive paths in it)``; '' for a path in no folder."""
        if not (self._content == ord('/')).any():
            return [('', len(self))] if len(self) else []
        runs, start = [], 0
        while start < len(self):
            folder, slash, _ = self._encoded(start).partition(b'/')
            if slash:
                prefix = folder + slash
                after = bisect_right(range(start, len(self)), prefix, key=lambda i: self._encoded(i)[: len(prefix)])
                runs.append((folder.decode(errors='surrogatepass'), after))
            else:
                runs.append(('', 1))
            start += runs[-1][1]
        return runs

    def _encoded(self, place: int) -> bytes:
        start = int(self._ends[place - 1]) + 1 if place else 0
        return self._content[start : int(self._ends[place])].tobytes()


class FileTable(Sequence):
    """Reads as a list of ``dict(img_path=str[, gt_label=int])``.

    Args:
        paths: No NUL in them.
        labels: One for each path; None: there are none.

    Attributes:
        paths: A :class:`PathArray`.
        labels: ``[N]`` int64, or None.

    Raises:
        ValueError: The numbers of paths and labels differ.
    """

    def __init__(self, paths: Sequence[str], labels: Optional[Sequence[int]] = None) -> None:
        self.paths = paths if isinstance(paths, PathArray) else PathArray(paths)
        self.labels = None if labels is None else np.asarray(labels, dtype=np.int64)
        if labels is not None and len(labels) != len(paths):
            raise ValueError(f'{len(paths)} paths cannot have {len(labels)} labels')

    @classmethod
    def of(cls, infos: Sequence[dict]) -> 'FileTable':
        """The table of a list of such dictionaries, of which all have a label or none has."""
        labelled = len(infos) > 0 and 'gt_label' in infos[0]
        return cls([info['img_path'] for info in infos], [info['gt_label'] for info in infos] if labelled else None)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        info = dict(img_path=self.paths[index])
        if self.labels is not None:
            info['gt_label'] = int(self.labels[index])
        return info


# A folder that changed less than this before it was listed may change again within one tick of a coarse file clock.
_SETTLED_NS = 2 * 10**9
_FORMAT = 3
_SYSTEM_FILES = frozenset({'thumbs.db', 'ehthumbs.db', 'desktop.ini'})
_MOST_ENDINGS = 20  # that are counted apart


def list_images(root: str, extensions: Iterable[str] = IMAGE_EXTENSIONS, cache_from: int = 10_000) -> List[str]:
    """:func:`image_paths` as a list of strings."""
    return image_paths(root, extensions, cache_from).tolist()


def image_paths(root: str, extensions: Iterable[str] = IMAGE_EXTENSIONS, cache_from: int = 10_000) -> PathArray:
    """The ``paths`` of :func:`listing`."""
    return listing(root, extensions, cache_from).paths


class Listing(NamedTuple):
    """The images under a folder, and what lies beside them.

    Attributes:
        paths: Relative to the folder, with ``/``, sorted.
        skipped: How many files have other endings, such as ``{'.heic': 12}``; ``''`` for files without one. Hidden
            files and those of the system do not count.
        results: What is left out as results: folders of runs, and features that `mmmim embed` wrote.
    """

    paths: PathArray
    skipped: Dict[str, int]
    results: List[str]

    def left_out(self) -> List[str]:
        """A sentence on each kind of what is no image; empty where there is nothing."""
        said = [f'skipped: {endings_in_words(self.skipped)}'] if self.skipped else []
        if self.results:
            said.append(f'left out, as results of earlier calls: {names_in_words(self.results)}')
        return said


def endings_in_words(counts: Dict[str, int]) -> str:
    """``12 x .heic, 3 x .txt``."""
    shown = Counter(counts).most_common(8)
    words = ', '.join(f'{count:,} x {ending or "no extension"}' for ending, count in shown)
    rest = sum(counts.values()) - sum(count for _, count in shown)
    return f'{words}, {rest:,} others' if rest else words


def names_in_words(names: Iterable[str], most: int = 8) -> str:
    """``cat, dog`` and, behind ``most`` of them, how many more there are."""
    names = list(names)
    words = ', '.join(names[:most])
    return f'{words} and {len(names) - most:,} more' if len(names) > most else words


def listing(root: str, extensions: Iterable[str] = IMAGE_EXTENSIONS, cache_from: int = 10_000) -> Listing:
    """List the images under a folder.

    Symbolic links to files and to folders are followed, loops are cut; hidden files and folders are skipped, and so are
    folders with the results of a run (:func:`holds_results`). The list of a folder with at least ``cache_from`` images
    is kept in ``<parent>/.<name>.mmmim-files``, or in the user's cache folder when that can't be written, and used as
    long as no folder under ``root`` changes.

    Args:
        root: The folder.
        extensions: What the names may end in, without a dot, in any case; blanks behind it do not count.
        cache_from: The number of images from which the list is cached.
    """
    extensions = sorted({extension.lower().lstrip('.') for extension in extensions})
    places = cache_places(root, 'files')
    for place in places:
        found = _read_cache(place, root, extensions)
        if found is not None:
            return found
    started = time.time_ns()
    folders: Dict[str, int] = {}
    results: List[str] = []
    wanted = tuple(f'.{extension}' for extension in extensions)
    files: List[str] = []
    others: List[str] = []
    for file in walk(root, folders, results):
        (files if file.lower().rstrip().endswith(wanted) else others).append(file)
    features = _feature_files(root, files, others)
    results += features
    files = sorted(file for file in files if file not in features) if features else sorted(files)
    found = Listing(PathArray(files), _endings(others), sorted(results))
    if len(files) >= cache_from:
        names = found.paths.to_bytes()
        facts = dict(format=_FORMAT, extensions=extensions, listed_at=started, folders=folders, crc=zlib.crc32(names))
        facts.update(skipped=found.skipped, results=found.results)
        write_to_first(places, lambda stream: stream.write(json.dumps(facts).encode() + b'\n' + names))
    return found


def _feature_files(root: str, files: List[str], others: List[str]) -> List[str]:
    """Arrays that `mmmim embed` wrote: ``[N, D]`` float32, with N lines in a list beside them."""
    arrays = [file for file in files if file[-4:].lower() == '.npy']
    lists = set(others) if arrays else set()
    found = []
    for file in arrays:
        if f'{file[:-4]}.txt' in lists:
            with suppress(OSError, ValueError):
                array = np.load(os.path.join(root, file), mmap_mode='r', allow_pickle=False)
                with open(os.path.join(root, f'{file[:-4]}.txt'), 'rb') as stream:
                    lines = stream.read().count(b'\n')
                if array.ndim == 2 and array.dtype == np.float32 and len(array) == lines:
                    found.append(file)
    return found


def _endings(files: Iterable[str]) -> Dict[str, int]:
    """How many files have each ending; of many endings the rest are one, ``.*``."""
    names = (file.rpartition('/')[2].lower() for file in files)
    counts = Counter(os.path.splitext(name)[1].rstrip() for name in names if name not in _SYSTEM_FILES)
    kept = dict(counts.most_common(_MOST_ENDINGS))
    rest = sum(counts.values()) - sum(kept.values())
    return {**kept, '.*': rest} if rest else kept


def walk(root: str, folders: Optional[Dict[str, int]] = None, results: Optional[List[str]] = None) -> Iterator[str]:
    """Yield every file under ``root`` that is not hidden, relative to it, in no particular order.

    Args:
        root: The folder.
        folders: Filled with each folder (relative, ``''`` for ``root``) and its modification time in nanoseconds.
        results: Filled with the folders below ``root`` that are left out, since they hold the results of a run.
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
            found = [entry for entry in entries if not entry.name.startswith('.')]
        if folder and holds_results(path, [entry.name for entry in found]):
            if results is not None:
                results.append(f'{folder}/')
            continue
        for entry in found:
            relative = f'{folder}/{entry.name}' if folder else entry.name
            with suppress(OSError):  # a link to itself
                if entry.is_dir():
                    pending.append((relative, ancestors | {identity}))
                elif entry.is_file():
                    yield relative


_MARKS = ('last_checkpoint', 'call.json', 'run.json')  # files in the work dir of a run
_CALLS = ('pretrain.py', 'parts')  # beside call.json: of a run, of predictions


def holds_results(path: str, names: Optional[Sequence[str]] = None) -> bool:
    """Whether a folder is the work dir of a run; ``names`` of what is in it, where they are known."""
    if names is None:
        names = [name for name in (*_MARKS, *_CALLS) if os.path.exists(os.path.join(path, name))]
    if not any(mark in names for mark in _MARKS):
        return False
    if 'last_checkpoint' in names or ('call.json' in names and any(name in names for name in _CALLS)):
        return True
    with suppress(OSError), open(os.path.join(path, 'run.json'), 'rb') as file:  # anybody's, by its name
        return b'"sessions"' in file.read(1 << 20)
    return False


def _read_cache(place: Path, root: str, extensions: List[str]) -> Optional[Listing]:
    """The cached list, if it is still valid. The file has one line of JSON for the check, then the names."""
    try:
        with open(place, 'rb') as stream:
            facts, names = json.loads(stream.readline()), stream.read()
        if facts['format'] != _FORMAT or facts['extensions'] != extensions or facts['crc'] != zlib.crc32(names):
            return None
        settled_before = facts['listed_at'] - _SETTLED_NS
        for folder, modified in facts['folders'].items():
            if modified > settled_before or os.stat(os.path.join(root, folder)).st_mtime_ns != modified:
                return None
        return Listing(PathArray(names), facts['skipped'], facts['results'])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # missing or damaged: it is rebuilt


def cache_places(source: str, suffix: str) -> List[Path]:
    """Where a cache for a file or folder may be kept: beside it, or else in the user's cache folder."""
    source = Path(os.path.abspath(source))
    user_cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    # two folders may have the same name
    digest = hashlib.sha256(os.fsencode(source)).hexdigest()[:16]
    return [source.parent / f'.{source.name}.mmmim-{suffix}', user_cache / 'mmmim' / f'{source.name}-{digest}.{suffix}']


def write_to_first(places: Iterable[Path], write: Callable[[BinaryIO], object]) -> Optional[Path]:
    """Write a cache file to the first place that can be written.

    The write is atomic (under a temporary name, then renamed), also when several processes write it.

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
