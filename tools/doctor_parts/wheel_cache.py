"""The user's cache of compiled wheels: what is in it is whole, or is removed."""

import contextlib
import fcntl
import os
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Iterator, Optional

from . import compiled_ops


def say(message: str) -> None:
    print(f'[setup] {message}', flush=True)


def cache_folder() -> Path:
    base = os.environ.get('XDG_CACHE_HOME') or ''
    return (Path(base) if os.path.isabs(base) else Path.home() / '.cache') / 'mmmim' / 'mmcv-ops'


def is_whole(wheel: Path) -> bool:
    """Whether every file of a wheel has its checksum, and compiled ops are among them."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            compiled = any(name.startswith(compiled_ops.PREFIX) for name in archive.namelist())
            return compiled and archive.testzip() is None
    except (OSError, EOFError, ValueError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        return False


def find_wheel(folder: Path) -> Optional[Path]:
    """The wheel in a folder of the cache; a damaged one is removed."""
    for wheel in sorted(folder.glob('*.whl')):
        if is_whole(wheel):
            return wheel
        say(f'{wheel} is damaged: it is built anew')
        wheel.unlink(missing_ok=True)
    return None


def keep(wheel: Path, folder: Path) -> Path:
    """Put a wheel into the cache in one step: what is there under its name is whole. Elsewhere if that cannot be."""
    part = folder / f'.{wheel.name}.part'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(wheel, part)
        os.replace(part, folder / wheel.name)
        return folder / wheel.name
    except OSError as error:
        say(f'the wheel could not be kept in {folder} ({error}): another environment will compile it again')
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        return wheel


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One build of a kind at a time: the second then finds the wheel of the first."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / '.lock', 'w')
    except OSError:  # a cache that cannot be written to; keep() says so
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say('the same ops are being compiled by another process: waiting for it')
            with contextlib.suppress(OSError):  # a network disk without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
