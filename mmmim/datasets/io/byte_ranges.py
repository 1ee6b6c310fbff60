"""Images inside of larger files: read by offset, from a folder or a URL."""

import os
import posixpath
from typing import Any, Dict, Optional, Tuple

from .pixel_formats import ImageReadError

OPEN_SHARDS = 64  # files that a process keeps open


class EncodedImage:
    """The bytes of an image file in a shard, read when they are needed."""

    def __init__(self, reader: 'ShardReader', shard: str, offset: int, size: int, path: str) -> None:
        self.reader, self.shard, self.offset, self.size, self.path = reader, shard, offset, size, path

    def read(self) -> bytes:
        """
        Raises:
            ImageReadError: The shard is truncated, or can't be read.
        """
        try:
            content = self.reader.read(self.shard, self.offset, self.size)
        except Exception as error:  # from the file system, or any protocol
            raise ImageReadError(self.path, f'{type(error).__name__}: {error}') from error
        if len(content) != self.size:
            raise ImageReadError(self.path, f'the shard ends after {len(content)} of its {self.size} bytes')
        return content


class ShardReader:
    """Bytes of files below a folder or URL, by offset. Each process opens its own files."""

    def __init__(self, root: str, storage_options: Optional[Dict[str, Any]] = None) -> None:
        self.root = root if '://' in root else os.path.expanduser(root)
        self.storage_options = dict(storage_options or {})
        self._files: Dict[Tuple[int, str], int] = {}
        self._remote: Optional[Tuple[int, Any, str]] = None

    def path(self, name: str) -> str:
        return posixpath.join(self.root, name)

    def __getstate__(self) -> dict:
        return dict(vars(self), _files={}, _remote=None)  # open files stay with their process

    def _file_system(self) -> Tuple[Any, str]:
        """The fsspec file system, created again after a fork, and the root in its syntax."""
        if self._remote is None or self._remote[0] != os.getpid():
            import fsspec

            try:
                self._remote = (
                    os.getpid(),
                    *fsspec.core.url_to_fs(self.root, skip_instance_cache=True, **self.storage_options),
                )
            except ImportError as error:
                raise ImportError(f'{self.root} needs a package of its protocol: {error}') from error
        return self._remote[1:]

    def whole(self, name: str) -> bytes:
        """A whole file. Raises FileNotFoundError, with what to do."""
        try:
            if '://' in self.root:
                system, root = self._file_system()
                return system.cat_file(posixpath.join(root, name))
            with open(self.path(name), 'rb') as file:
                return file.read()
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'there are no shards in {self.root!r}: {name} is missing. `mmmim shards` writes them'
            ) from error

    def read(self, shard: str, offset: int, size: int) -> bytes:
        """``size`` bytes of a shard, fewer at its end."""
        if '://' in self.root:
            system, root = self._file_system()
            return system.cat_file(posixpath.join(root, shard), start=offset, end=offset + size)
        key = (os.getpid(), shard)
        file = self._files.pop(key, None)
        self._files[key] = os.open(self.path(shard), os.O_RDONLY) if file is None else file  # the newest is last
        if len(self._files) > OPEN_SHARDS:
            os.close(self._files.pop(next(iter(self._files))))
        return os.pread(self._files[key], size, offset)
