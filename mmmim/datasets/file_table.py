"""Paths and labels of millions of images, in a few arrays.

A million strings or dictionaries take seconds to make, and again to serialise so that loading workers can share them.
Arrays are read at once, and are shared as they are.
"""

from bisect import bisect_right
from typing import List, Optional, Sequence, Tuple, Union

import numpy as np


class PathArray(Sequence):
    """Reads as a list of paths.

    Args:
        paths: No NUL in them, as in no file name; or the bytes that another array's ``to_bytes`` gave.

    Raises:
        ValueError: A path holds a NUL.
    """

    def __init__(self, paths: Union[Sequence[str], bytes] = ()) -> None:
        # names that are no text come from the system as lone surrogates
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
        """Every path in UTF-8, and a NUL behind it."""
        return self._content.tobytes()

    def top_folders(self) -> List[Tuple[str, int]]:
        """For sorted paths: the folder that each lies in, at the top, and how many do so in a row; '' for none."""
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
        ValueError: There is another number of labels.
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
