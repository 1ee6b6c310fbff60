"""The newest whole checkpoint of a run: from which file it goes on.

``last_checkpoint``, the pointer, is a hint. What counts are the files of the run, ``epoch_N.pth`` and ``iter_M.pth``,
in its work dir, in another folder of its hook, and where the pointer says. ``best_*.pth`` are no place to go on from.

Two names of different units cannot be compared, and modification times do not survive a copy. But a file that was
read states both (``meta``: iter, epoch), and compares with every name: ``epoch_N`` is further where N is above its
epoch, ``iter_M`` where M is above its iteration. So one file is read, and after it those alone whose names are further.
Pointer and modification time only say which of two units is tried first.
"""

import os
import os.path as osp
import re
import zipfile
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from .read import AnyPath, CorruptCheckpointError, load_file
from .write import flush_folder

POINTER = 'last_checkpoint'
# what MMEngine's Runner.resume reads of a file
RESUMED_PARTS = ('meta', 'state_dict', 'message_hub')
_NAME = re.compile(r'(epoch|iter)_(\d+)\.pth')


class NoWholeCheckpointError(RuntimeError):
    """There are checkpoints, and a run can go on from none of them."""


class Whole(NamedTuple):
    """A checkpoint that was read completely, and what it says of its place in the run."""

    path: str
    iter: int
    epoch: int
    seed: Optional[int]


def newest_whole(
    work_dir: AnyPath, folders: Iterable[str] = (), parts: Sequence[str] = RESUMED_PARTS
) -> Tuple[Optional[Whole], Dict[str, str]]:
    """The newest checkpoint that can be resumed. Files are read one at a time, most often one in all.

    Args:
        work_dir: Of the run.
        folders: Others in which it keeps checkpoints.
        parts: What a checkpoint must hold.

    Returns:
        The checkpoint (None without a whole one), and what was passed over: path to reason.
    """
    waiting, named, passed_over = _candidates(os.fspath(work_dir), folders)
    newest: Optional[Whole] = None
    while waiting:
        path = _likely_newest(waiting, named)
        waiting.remove(path)
        try:
            read = read_whole(path, parts)
        except (OSError, RuntimeError) as error:
            passed_over[path] = ' '.join(str(error).split()).removeprefix(f'{path} ')
            continue
        if newest is None or (read.iter, read.epoch) > (newest.iter, newest.epoch):
            newest = read
        waiting = [path for path in waiting if is_further(path, newest.iter, newest.epoch)]
    return newest, passed_over


def read_whole(path: str, parts: Sequence[str] = RESUMED_PARTS) -> Whole:
    """Read a checkpoint completely, and keep of it where it stands.

    Raises:
        OSError, RuntimeError: See :func:`~mmmim.checkpoint.read.load_file`.
        CorruptCheckpointError: It lacks a part, or does not say its iteration and epoch.
    """
    checkpoint: Any = load_file(path)
    if not isinstance(checkpoint, dict):
        raise CorruptCheckpointError(f'it holds a {type(checkpoint).__name__}, not the parts of a run')
    absent = [part for part in parts if part not in checkpoint or not isinstance(checkpoint[part], dict)]
    if absent:
        raise CorruptCheckpointError(f'it has no {", ".join(absent)}')
    meta = dict(checkpoint['meta'])
    if not all(isinstance(meta.get(key), int) for key in ('iter', 'epoch')):
        raise CorruptCheckpointError('its meta does not say iter and epoch')
    return Whole(path, meta['iter'], meta['epoch'], meta.get('seed'))


def newest_checkpoint(work_dir: AnyPath) -> Optional[str]:
    """The newest checkpoint by what a glance tells: names, times, the tables of contents. For pages and messages.

    Returns:
        Its path; None where there is none.
    """
    return glance(work_dir)[0]


def glance(work_dir: AnyPath) -> Tuple[Optional[str], Dict[str, str]]:
    """As :func:`newest_whole`, without reading the files."""
    waiting, named, passed_over = _candidates(os.fspath(work_dir))
    while waiting:
        path = _likely_newest(waiting, named)
        problem = seen_problem(path)
        if not problem:
            return path, passed_over
        passed_over[path] = problem
        waiting.remove(path)
    return None, passed_over


def seen_problem(path: str) -> str:
    """What is wrong with a file that a training wrote, as far as its table of contents tells; '' for nothing."""
    if not osp.isfile(path):
        return 'it is not there'
    try:
        with zipfile.ZipFile(path) as archive:
            whole = any(name.endswith('data.pkl') for name in archive.namelist())
    except Exception as error:  # zipfile raises errors of many kinds
        return f'it is cut off or damaged ({error})'
    return '' if whole else 'it is no checkpoint'


def has_checkpoints(work_dir: AnyPath, folders: Iterable[str] = ()) -> bool:
    """Whether a run has left a checkpoint, or a pointer to one."""
    files, _, problems = _candidates(os.fspath(work_dir), folders)
    return bool(files or problems)


def is_further(path: str, iteration: int, epoch: int) -> bool:
    """Whether a file's name says that it is further in the run than a place; False for any other name."""
    unit, number = _place(path)
    return number > {'iter': iteration, 'epoch': epoch}.get(unit, number)


def set_aside(folder: str, iteration: int, epoch: int) -> Optional[str]:
    """Move the checkpoints of a folder that are further than a place at which training begins to ``earlier_N`` in it.

    They belong to another course of the run, or are broken: no later resume may take them for this one's.

    Returns:
        The folder that they are in now; None where there are none.
    """
    names = [name for name in _names(folder) if is_further(name, iteration, epoch)]
    if not names:
        return None
    number = 1
    while osp.exists(aside := osp.join(folder, f'earlier_{number}')):
        number += 1
    os.makedirs(aside)
    for name in names:
        os.replace(osp.join(folder, name), osp.join(aside, name))
    for changed in (aside, folder):
        flush_folder(changed)
    return aside


def _candidates(work_dir: str, folders: Iterable[str] = ()) -> Tuple[List[str], str, Dict[str, str]]:
    """The paths of checkpoints, the name that the pointer says, and what is wrong with it.

    In a work dir that was moved or copied the pointer's path is another's, and the file of that name lies beside it.
    """
    files = [osp.join(folder, name) for folder in dict.fromkeys([work_dir, *folders]) for name in _names(folder)]
    pointer = osp.join(work_dir, POINTER)
    try:
        with open(pointer, 'rb') as file:
            path = file.read(4096).decode().strip()
    except (FileNotFoundError, NotADirectoryError):
        return files, '', {}
    except (OSError, ValueError):
        path = ''
    name = osp.basename(path)
    if not name or '\0' in path:
        return files, '', {} if files else {pointer: 'it names no file'}
    if name in map(osp.basename, files) or name.startswith('best_'):
        return files, name, {}
    found = [place for place in (osp.join(work_dir, name), path) if osp.isfile(place)][:1]
    return files + found, name, {} if found else {path: f'it is not there, and {POINTER} names it'}


def _names(folder: str) -> List[str]:
    return sorted(filter(_NAME.fullmatch, os.listdir(folder))) if osp.isdir(folder) else []


def _place(path: str) -> Tuple[str, int]:
    """Unit and number in a name; that of another name, which the pointer alone knows, is ``('', 0)``."""
    match = _NAME.fullmatch(osp.basename(path))
    return (match[1], int(match[2])) if match else ('', 0)


def _likely_newest(paths: List[str], named: str) -> str:
    """Of each unit the one with the highest number; of these the one that the pointer names, or was written last."""
    highest = {_place(path)[0]: path for path in sorted(paths, key=_place)}
    times = {path: osp.getmtime(path) if osp.exists(path) else 0.0 for path in highest.values()}
    return max(times, key=lambda path: (osp.basename(path) == named, times[path]))
