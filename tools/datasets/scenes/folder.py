"""The folder of a data set: whether it is whole, whose it is, and whether there is room for it.

``scenes.json`` says what the folder holds. It is written last: where it is, everything is. While a set is drawn there
is ``scenes.drawing`` instead, locked by the process that draws; one that nobody locks was left by an interrupted run.
Nothing is ever removed from a folder that has neither.
"""

import errno
import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import IO, Optional

from .layouts import SPLITS

MANIFEST, MARKER = 'scenes.json', 'scenes.drawing'
PARTS = (*SPLITS, 'ade', 'coco')
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class NoSpaceError(OSError):
    """The disk has no room for a data set."""


class SceneFolder:
    """A place for one data set.

    Args:
        path: The folder; it need not exist.
        settings: All that decides what is drawn, with the numbers ``train``, ``val`` and ``size``; JSON types only.
    """

    def __init__(self, path: Path, settings: dict) -> None:
        self.path, self.settings = path, settings
        self._lock: Optional[IO[str]] = None

    def is_complete(self) -> bool:
        """Whether the data set of these settings is there."""
        return self._manifest() == self.settings and all((self.path / part).is_dir() for part in PARTS)

    def claim(self, force: bool = False) -> None:
        """Make the folder ours, and empty of what an earlier run has drawn.

        Args:
            force: Whether a data set of other settings may be replaced.

        Raises:
            FileExistsError: It holds other files, or scenes of other settings.
            NotADirectoryError: It is a file.
            BlockingIOError: Another process is drawing there.
            NoSpaceError: The disk has no room.
        """
        self._refuse_what_is_not_ours(force)
        self.path.mkdir(parents=True, exist_ok=True)
        self._check_space()
        self._lock = open(self.path / MARKER, 'a')
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise BlockingIOError(f'another process is drawing in {self.path}: wait for it, or choose another folder')
        except OSError:
            pass  # a file system without locks
        self._clear()

    def _refuse_what_is_not_ours(self, force: bool) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f'{self.path} is a file: give the name of a folder')
        manifest = self._manifest()
        if manifest is not None:
            names = [name for name, value in self.settings.items() if manifest.get(name) != value]
            if names and not force:
                has, asked = (
                    ', '.join(f'{name}={values.get(name, "?")}' for name in names if name != 'classes')
                    or 'other classes'
                    for values in (manifest, self.settings)
                )
                raise FileExistsError(
                    f'{self.path} holds scenes of other settings ({has}; asked for: {asked}): choose '
                    'another folder, or replace them with --force'
                )
        elif self.path.exists() and not (self.path / MARKER).exists():
            others = sorted(entry.name for entry in self.path.iterdir())
            if others:
                raise FileExistsError(
                    f'{self.path} holds other files ({", ".join(others[:3])}'
                    f'{", ..." if len(others) > 3 else ""}): choose an empty or a new folder'
                )

    def _manifest(self) -> Optional[dict]:
        try:
            manifest = json.loads((self.path / MANIFEST).read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:
            return {}
        return manifest if isinstance(manifest, dict) else {}

    def _clear(self) -> None:
        (self.path / MANIFEST).unlink(missing_ok=True)
        for part in PARTS:
            if (self.path / part).exists():
                shutil.rmtree(self.path / part)

    def _bytes_used(self) -> int:
        files = [path.lstat() for part in PARTS for path in (self.path / part).rglob('*')]
        return 512 * sum({file.st_ino: file.st_blocks for file in files}.values())

    def _check_space(self) -> None:
        disk = os.statvfs(self.path)
        images, size = self.settings['train'] + self.settings['val'], self.settings['size']
        need = bytes_needed(images, size, disk.f_frsize)
        free = disk.f_bavail * disk.f_frsize + self._bytes_used()
        if free < need:
            raise NoSpaceError(
                f'{images} images of {size} px need {need / 1e6:.0f} MB, but {self.path} has '
                f'{free / 1e6:.0f} MB free: free some, choose another folder, or fewer images'
            )

    def finish(self) -> None:
        """Say that everything is there."""
        temporary = self.path / f'.{MANIFEST}.tmp'
        with open(temporary, 'w') as stream:
            json.dump(self.settings, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, self.path / MANIFEST)
        (self.path / MARKER).unlink()
        self.release()

    def abandon(self) -> None:
        """Remove what was drawn, which is of no use, and give the folder up."""
        self._clear()
        (self.path / MARKER).unlink()
        self.release()

    def release(self) -> None:
        """Give the folder up; without :meth:`finish`, the marker tells the next run that it is not whole."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def bytes_needed(images: int, size: int, block: int) -> int:
    """What a data set takes on a disk, a little more than measured: an image, an index PNG, and its annotations."""

    def on_disk(count: float) -> int:
        return -int(-count // block) * block

    return images * (on_disk(0.7 * size * size + 1000) + on_disk(0.1 * size * size + 500) + 3000)
