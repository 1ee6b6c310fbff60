"""Images in tar shards (WebDataset): an index file lists the offset of each image, so that no tar is scanned."""

import io
import json
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from ..registry import DATASETS
from .io.byte_ranges import EncodedImage, ShardReader
from .retrying import RetryingDataset

INDEX = 'index.npz'


FORMAT = 2
_SEPARATORS = {1: '\n', 2: '\0'}  # between the names, by the format; a line feed may be part of a name


class ShardIndex(NamedTuple):
    """The position of every image.

    Attributes:
        shards: File names of the tars, relative to the folder of the index.
        shard: ``[N]`` int32, the tar of each image.
        offset: ``[N]`` int64, where its bytes start in the tar.
        size: ``[N]`` int64, number of its bytes.
        crc: ``[N]`` uint32, CRC-32 of its bytes.
        names: Original paths of the images, relative to their folder.
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
        np.savez_compressed(
            file, head=_text(json.dumps(head)), names=_text(_SEPARATORS[FORMAT].join(self.names)), **arrays
        )
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
                known = head['format'] in _SEPARATORS
                index = (
                    None
                    if not known
                    else cls(
                        tuple(head['shards']),
                        *(file[key] for key in ('shard', 'offset', 'size', 'crc')),
                        tuple(
                            file['names'].tobytes().decode(errors='surrogatepass').split(_SEPARATORS[head['format']])
                        ),
                        file['labels'] if 'labels' in file else None,
                        None if head['classes'] is None else tuple(head['classes']),
                    )
                )
        except Exception as error:  # a zip that is cut, a key that is missing, another file and more
            raise ValueError(
                f'{path} is no index of shards, or not whole ({type(error).__name__}); `mmmim shards` writes it'
            ) from error
        if index is None:
            raise ValueError(
                f'{path} has format {head["format"]}, and {FORMAT} is known: write the shards again with this version'
            )
        counts = {len(part) for part in (index.shard, index.offset, index.size, index.crc, index.names)}
        if len(counts) != 1 or index.labels is not None and len(index.labels) not in counts:
            raise ValueError(f'{path}: its parts have different lengths, {sorted(counts)}; write the shards again')
        return index


def _text(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(errors='surrogatepass'), dtype=np.uint8)


@DATASETS.register_module()
class ShardedImages(RetryingDataset):
    """The images of WebDataset tars that `mmmim shards` wrote, in a few large files.

    An image is read by its offset in the tar, so that sampling, stateless randomness and exact resume are the same as
    for a folder, without opening a million small files one by one.

    Args:
        data_root: The folder of the shards; or a URL of it, such as ``s3://bucket/photos`` or ``https://host/photos``,
            which ``fsspec`` reads (each protocol needs its package, such as ``s3fs``).
        with_label: Whether images have labels; ``'auto'``: if the shards have some.
        storage_options: Options of ``fsspec`` for a URL: credentials, endpoints.
        **kwargs: ``pipeline``, ``indices``, ``metainfo`` and the other options of MMEngine's ``BaseDataset``.

    Raises:
        FileNotFoundError: Shards are missing.
        ValueError: A damaged index, or labels were asked for where there are none.
        ImportError: The package of the URL's protocol is missing.
    """

    def __init__(
        self,
        data_root: str,
        with_label: Union[bool, str] = 'auto',
        storage_options: Optional[Dict[str, Any]] = None,
        **kwargs: Any,
    ) -> None:
        if with_label not in (True, False, 'auto'):
            raise ValueError(f"with_label is {with_label!r}; it can be True, False or 'auto'")
        self.reader = ShardReader(data_root, storage_options)
        self.index = ShardIndex.from_bytes(self.reader.whole(INDEX), self.reader.path(INDEX))
        check_shards(self.reader, self.index)
        if with_label is True and self.index.labels is None:
            raise ValueError(f'with_label=True, but the shards in {data_root!r} were written without classes')
        self.labels = None if with_label is False else self.index.labels
        self.places = np.arange(len(self.index.names))
        if self.labels is not None:
            metainfo = dict(kwargs.pop('metainfo', None) or {})
            metainfo.setdefault('classes', self.index.classes)
            kwargs['metainfo'] = metainfo
        super().__init__(data_root=data_root, **kwargs)

    def _join_prefix(self) -> None:
        """MMEngine would join the paths of annotation files and folders; there are none."""

    def full_init(self) -> None:
        """Skip MMEngine's list of dictionaries, which takes a minute to pickle for a million images."""
        if self._fully_initialized:
            return
        if self._indices is not None:
            self.places = _subset(self.places, self._indices)
        self._fully_initialized = True

    def __len__(self) -> int:
        return len(self.places)

    def get_subset_(self, indices: Union[Sequence[int], int]) -> None:
        """Keep a subset: the first ``indices`` images (the last ones if negative), or those of a list."""
        self.places = _subset(self.places, indices)

    def get_data_info(self, idx: int) -> dict:
        """``img`` (the bytes of the file), ``img_path``, ``sample_idx`` and, where there are labels, ``gt_label``."""
        place = int(self.places[idx])
        shard = self.index.shards[self.index.shard[place]]
        path = f'{self.reader.path(shard)}/{self.index.names[place]}'
        info = dict(
            img=EncodedImage(self.reader, shard, int(self.index.offset[place]), int(self.index.size[place]), path),
            img_path=path,
            sample_idx=int(idx),
        )
        if self.labels is not None:
            info['gt_label'] = int(self.labels[place])
        return info

    def get_labels(self) -> np.ndarray:
        """The label of every image, ``[N]`` int64. Raises ValueError without labels."""
        if self.labels is None:
            raise ValueError(f'the shards in {self.data_root!r} have no labels, or with_label=False')
        return self.labels[self.places]


def check_shards(reader: ShardReader, index: ShardIndex) -> None:
    """
    Raises:
        FileNotFoundError: A shard is missing.
        ValueError: One is shorter than its index says.
    """
    if '://' in reader.root:
        return  # one request per shard over a network; a missing one is found when it is read
    ends = index.offset + index.size
    for number, shard in enumerate(index.shards):
        path = reader.path(shard)
        if not os.path.isfile(path):
            raise FileNotFoundError(f'{path} is missing, one of {len(index.shards)} shards')
        needed = int(ends[index.shard == number].max(initial=0))
        if os.path.getsize(path) < needed:
            raise ValueError(
                f'{path} has {os.path.getsize(path)} bytes, and its index needs {needed}: it was cut, '
                'or belongs to another index'
            )


def _subset(places: np.ndarray, indices: Union[Sequence[int], int]) -> np.ndarray:
    if isinstance(indices, int):
        return places[:indices] if indices >= 0 else places[indices:]
    return places[np.asarray(indices, dtype=np.int64)]


def merge(parts: Sequence[Dict[str, Any]], classes: Optional[Sequence[str]]) -> ShardIndex:
    """The index of all shards, from the entries of each: ``name`` and the lists ``offset``, ``size``, ``crc``,
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
