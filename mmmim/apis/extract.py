"""Features of listed images from a frozen network, kept on the disk for the next time."""

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..datasets.io.file_list import write_to_first
from ..datasets.io.image_io import ImageReadError
from ..datasets.io.tar_files import image_stat
from ..datasets.loading import mim_collate
from ..engine.hardware import usable_cores
from ..progress import Progress

CACHE_BYTES = 4 * 2**30  # the oldest files beyond it are removed
_FORMAT = 2  # 1: images of more than 8 bits each had a range of their own

Layer = Optional[int]


class Features(NamedTuple):
    """Features of N images.

    Attributes:
        values: ``[N, D]`` float32 for each layer that was asked for; zeros where an image cannot be read.
        readable: ``[N]`` bool.
        seconds: What reading and computing took (when it was computed).
    """

    values: List[Tensor]
    readable: Tensor
    seconds: float


def extract(frozen: Any, files: Sequence[str], layers: Sequence[Layer] = (None,), batch_size: int = 64) -> Features:
    """Features of images, of several layers by one pass.

    They are kept in ``$XDG_CACHE_HOME/mmmim/features`` (``~/.cache`` by default), at most 4 GB, under a hash of the
    network's weights and sizes, the layer, the kind of device and precision, and the paths, sizes and times of the
    image files.

    Args:
        frozen: From :func:`mmmim.load`.
        files: Paths.
        layers: Layers as in ``Frozen.features``; None: the network's output.
        batch_size: Images at once.

    Raises:
        ValueError: No image can be read.
    """
    identity = _identity(frozen, files)
    places = [_cache_folder() / f'{_digest([*identity, layer])}.npz' for layer in layers]
    kept = [_read(place, len(files)) for place in places]
    absent = [layer for layer, found in zip(layers, kept) if found is None]
    if absent:
        values, readable, seconds = _compute(frozen, files, absent, batch_size)
        fresh = iter(values)
        for i, place in enumerate(places):
            if kept[i] is None:
                kept[i] = Features([next(fresh)], readable, seconds)
                _write(place, kept[i])
        _prune()
    found = [entry for entry in kept if entry is not None]
    readable = torch.stack([entry.readable for entry in found]).all(0)
    if not readable.any():
        raise ValueError(f'none of the {len(files)} images can be read, such as {files[0]}')
    return Features([entry.values[0] for entry in found], readable, max(entry.seconds for entry in found))


def is_kept(frozen: Any, files: Sequence[str], layers: Sequence[Layer] = (None,)) -> bool:
    """Whether :func:`extract` has nothing to compute for these."""
    identity = _identity(frozen, files)
    return all((_cache_folder() / f'{_digest([*identity, layer])}.npz').is_file() for layer in layers)


class ListedImages(Dataset):
    """``(place, sample)`` of files, for :func:`split_readable`; None as the sample of one that cannot be read."""

    def __init__(self, files: Sequence[str], pipeline: list) -> None:
        self.files, self.pipeline = files, pipeline

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tuple[int, Optional[dict]]:
        results = dict(img_path=self.files[index], sample_idx=index, seed=0, replaced=[])
        try:
            for transform in self.pipeline:
                results = transform(results)
        except ImageReadError:
            return index, None
        return index, results


def split_readable(items: List[Tuple[int, Optional[dict]]]) -> Tuple[Optional[dict], List[int], List[int]]:
    """The batch of those that can be read (None without any), their places, and the places of the others."""
    samples = [sample for _, sample in items if sample is not None]
    readable = [place for place, sample in items if sample is not None]
    return mim_collate(samples) if samples else None, readable, [place for place, sample in items if sample is None]


@torch.no_grad()
def _compute(
    frozen: Any, files: Sequence[str], layers: Sequence[Layer], batch_size: int
) -> Tuple[List[Tensor], Tensor, float]:
    started = time.perf_counter()
    workers = min(usable_cores(), 8, len(files) // batch_size)  # a few batches are not worth a process
    loader = DataLoader(
        ListedImages(files, frozen.pipeline), batch_size, num_workers=workers, collate_fn=split_readable
    )
    values: List[Tensor] = []
    readable = torch.zeros(len(files), dtype=torch.bool)
    progress = Progress(len(files), f'features of {frozen.name}')
    for batch, places, unreadable in loader:
        if batch is not None:
            parts = frozen.features(batch, layers=tuple(layers), pool=getattr(frozen, 'pool', None))
            if not values:
                values = [torch.zeros(len(files), part.shape[1]) for part in parts]
            for whole, part in zip(values, parts):
                whole[places] = part.float().cpu()
            readable[places] = True
        progress.update(len(places) + len(unreadable))
    progress.close()
    return values or [torch.zeros(len(files), 1) for _ in layers], readable, time.perf_counter() - started


# ----------------------------------------------------------------------------------------------------------- the cache


def _cache_folder() -> Path:
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mmmim' / 'features'


def _digest(facts: list) -> str:
    return hashlib.sha256(json.dumps(facts).encode(errors='surrogatepass')).hexdigest()[:40]


def _identity(frozen: Any, files: Sequence[str]) -> list:
    """What features depend on, beside the layer."""
    status = [(os.path.abspath(file), image_stat(file)) for file in files]
    images = [[path, found.st_size, found.st_mtime_ns] for path, found in status]
    steps = [[type(step).__name__, _plain(vars(step))] for step in frozen.pipeline if hasattr(step, '__dict__')]
    # bfloat16 of a GPU is another result than float32 of a CPU
    computed = [torch.device(getattr(frozen, 'device', 'cpu')).type, getattr(frozen, 'precision', 'float32')]
    sizes = [list(frozen.img_size), getattr(frozen, 'pool', None)]
    return [_FORMAT, *sizes, *computed, _weights(frozen), steps, _digest(images)]


def _plain(values: Dict[str, Any]) -> list:
    """Settings of a transform that are plain values."""
    return sorted([key, repr(value)] for key, value in values.items() if isinstance(value, (int, float, str, tuple)))


def _weights(frozen: Any) -> str:
    """A hash of all parameters and plain settings of the networks that an object holds."""
    state = hashlib.blake2b()
    for key, value in sorted(vars(frozen).items()):
        if isinstance(value, nn.Module):
            for name, module in value.named_modules():  # heads, strides, pooling: what no parameter tells
                state.update(f'{key} {name} {type(module).__name__} {_plain(vars(module))}'.encode())
            for name, tensor in value.state_dict().items():
                state.update(f'{name} {list(tensor.shape)} {tensor.dtype}'.encode())
                state.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()[:40]


def _read(place: Path, count: int) -> Optional[Features]:
    try:
        with np.load(place, allow_pickle=False) as file:
            values, readable = torch.from_numpy(file['values']), torch.from_numpy(file['readable'])
            seconds = float(file['seconds'])
        os.utime(place)  # used last now
    except Exception:  # absent, cut off or damaged: it is computed again
        return None
    return Features([values], readable, seconds) if len(values) == len(readable) == count else None


def _write(place: Path, features: Features) -> None:
    arrays: Dict[str, Union[np.ndarray, float]] = dict(
        values=features.values[0].numpy(), readable=features.readable.numpy(), seconds=features.seconds
    )

    def write(stream: BinaryIO) -> None:
        np.savez(stream, **arrays)

    write_to_first([place], write)


def _prune() -> None:
    """Remove the files that were not used for longest, until the rest fits."""
    with suppress(OSError):
        files = sorted(((entry.stat(), entry) for entry in _cache_folder().glob('*.npz')), key=lambda e: e[0].st_mtime)
        total = sum(status.st_size for status, _ in files)
        for status, entry in files:
            if total <= CACHE_BYTES:
                break
            entry.unlink()
            total -= status.st_size
