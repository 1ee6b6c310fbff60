"""As much of lmdb as docs/extend/dataset.md uses: values are files in a folder."""

from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote


def open(path, map_size=0, readonly=False, lock=True, readahead=True):
    folder = Path(path)
    if readonly and not folder.is_dir():
        raise OSError(f'{path}: No such file or directory')
    folder.mkdir(exist_ok=True)
    return _Environment(folder)


class _Environment:
    def __init__(self, folder):
        self.folder = folder

    @contextmanager
    def begin(self, write=False):
        yield self

    def _file(self, key):
        return self.folder / quote(key, safe='')

    def put(self, key, value):
        self._file(key).write_bytes(value)

    def get(self, key):
        return self._file(key).read_bytes() if self._file(key).exists() else None

    def close(self):
        pass

    def __reduce__(self):
        raise TypeError('an environment cannot be pickled')
