"""The index of a set of tar shards: what lies where, without opening a tar."""

import io
import json
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

INDEX = 'index.npz'
FORMAT = 1


class ShardIndex(NamedTuple):
    """Where every image lies.

    Attributes:
        shards: File names of the tars, relative to the folder of the index.
        shard: ``[N]`` int32, the tar of each image.
        offset: ``[N]`` int64, where its bytes start in the tar.
        size: ``[N]`` int64, how many there are.
        crc: ``[N]`` uint32, CRC-32 of them.
        names: Paths of the images where they came from, relative to that folder.
        labels: ``[N]`` int64; None without classes.
        classes: Their names; None without.
    """

    shards: Tuple[str, ...]
    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    crc: np.ndarray
    names: Tuple[str, ...]
    labels: Optional[np.ndarray] = None
    classes: Optional[Tuple[str, ...]] = None

    def to_bytes(self) -> bytes:
        """As a file, without anything pickled."""
        head = dict(format=FORMAT, shards=self.shards, classes=self.classes)
        arrays = {key: getattr(self, key) for key in ('shard', 'offset', 'size', 'crc')}
        if self.labels is not None:
            arrays['labels'] = self.labels
        file = io.BytesIO()
        np.savez_compressed(file, head=_text(json.dumps(head)), names=_text('\n'.join(self.names)), **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, path: str) -> 'ShardIndex':
        """
        Raises:
            ValueError: The file is no such index, or a damaged one, or of another version.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                head = json.loads(file['head'].tobytes())
                known = head['format'] == FORMAT
                index = (
                    None
                    if not known
                    else cls(
                        tuple(head['shards']),
                        *(file[key] for key in ('shard', 'offset', 'size', 'crc')),
                        tuple(file['names'].tobytes().decode().split('\n')),
                        file['labels'] if 'labels' in file else None,
                        None if head['classes'] is None else tuple(head['classes']),
                    )
                )
        except Exception as error:  # a zip that is cut, a key that is missing, another file and more
            raise ValueError(
                f'{path} is no index of shards, or not whole ({type(error).__name__}); '
                'tools/datasets/make_shards.py writes it'
            ) from error
        if index is None:
            raise ValueError(
                f'{path} has format {head["format"]}, and {FORMAT} is known: write the shards again with this version'
            )
        counts = {len(part) for part in (index.shard, index.offset, index.size, index.crc, index.names)}
        if len(counts) != 1 or index.labels is not None and len(index.labels) not in counts:
            raise ValueError(f'{path}: its parts have different lengths, {sorted(counts)}; write the shards again')
        return index


def merge(parts: Sequence[Dict[str, Any]], classes: Optional[Sequence[str]]) -> ShardIndex:
    """The index of all shards, of what was kept of each: ``name`` and the lists ``offset``, ``size``, ``crc``,
    ``names`` and ``labels``."""

    def joined(key: str, dtype: str) -> np.ndarray:
        return np.concatenate([np.asarray(part[key], dtype) for part in parts])

    names: List[str] = [name for part in parts for name in part['names']]
    shard = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part['names']) for part in parts])
    return ShardIndex(
        tuple(part['name'] for part in parts),
        shard,
        joined('offset', 'int64'),
        joined('size', 'int64'),
        joined('crc', 'uint32'),
        tuple(names),
        None if classes is None else joined('labels', 'int64'),
        None if classes is None else tuple(classes),
    )


def _text(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)
