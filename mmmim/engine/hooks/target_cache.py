"""Features of whole training images, computed once before training and kept on the disk."""

import copy
import errno
import hashlib
import io
import json
import os
import os.path as osp
import shutil
import time
import uuid
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.dist import barrier, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ... import randomness
from ...checkpoint.write import atomic_write_bytes, atomic_write_text, flush_folder
from ...datasets.io.image_io import ImageReadError
from ...datasets.io.tar_files import image_stat
from ...datasets.loading import start_worker
from ...datasets.samplers import SampleIndex
from ...datasets.transforms import LoadImage, PackImage, Resize
from ...evaluation.features import evaluating
from ...models.targets.timm_network import TimmTarget, check_boxes
from ...progress import Progress
from ...registry import HOOKS
from ..resume import on_rank_0

VERSION = 1  # of the files; another one is filled anew
MISSING, DONE, UNREADABLE = 0, 1, 2
GROUP = 64  # batches after which the files are brought to the disk
FOR_STATISTICS = 20_000  # images that mean and standard deviation are taken of, evenly spread


@HOOKS.register_module()
class TargetCacheHook(Hook):
    """Fills the cache of each :class:`~mmmim.models.targets.TimmTarget` that has ``cache=True``, before training.

    Every image of the training set goes through the network once, whole, at the network's size. The features lie as
    float16 in a memory map, in ``cache_dir/KEY`` or ``work_dir/target_cache/KEY``, where KEY follows from the network,
    its weights, layers, size and precision, and from the names, sizes and times of the files: a resumed run, and
    another one on the same images, find them there. The processes share the work; an interrupted one goes on. Images
    that could not be read are tried again by each run, and go through the network while it trains. Nothing is removed.

    Args:
        batch_size: Images in a forward pass.
    """

    priority = 'ABOVE_NORMAL'  # before FitTargetHook, which would find the target without its statistics

    def __init__(self, batch_size: int = 32) -> None:
        if batch_size < 1:
            raise ValueError(f'TargetCacheHook: batch_size={batch_size} must be at least 1')
        self.batch_size = batch_size

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for target in model.modules():
            if isinstance(target, TimmTarget) and target.cache:
                self._provide(runner, target)

    def _provide(self, runner, target: TimmTarget) -> None:
        dataset = runner.train_dataloader.dataset
        first = dataset[SampleIndex(0, randomness.derive(runner.seed, randomness.FIT, 0))]
        check_boxes([first['data_samples']])
        places, indices = _rows_of(dataset)
        key = dict(target.cache_key(), version=VERSION, precision=_precision(runner), files=_digest_of_files(places))
        value_range = _load_image(dataset).value_range
        if value_range is not None:
            key['value_range'] = value_range
        folder = osp.join(target.cache_dir or osp.join(runner.work_dir, 'target_cache'), _digest(key))
        store = FeatureStore(folder, len(places), target.row_width)
        on_rank_0(lambda: store.create(key, runner.logger.info))
        store.check()
        # of one rank: another run may be filling the same files, and they are not the same for who looks later
        todo = on_rank_0(lambda: store.unfinished(self.batch_size))
        if todo:
            self._fill(
                runner, target, store, self._loader(runner, todo, WholeImages(dataset, indices, target.img_size))
            )
        barrier()
        if target.standardise:
            on_rank_0(lambda: store.save_statistics(target))
            target.set_statistics(store.statistics())
        done = on_rank_0(store.done)
        target.use_cache(store.rows(), {path: row for path, row in places.items() if done[row] == DONE})

    @staticmethod
    def _loader(runner, batches: List[List[int]], images: Dataset) -> DataLoader:
        return DataLoader(
            images,
            batch_sampler=batches[get_rank() :: get_world_size()],
            num_workers=runner.train_dataloader.num_workers,
            collate_fn=list,
            worker_init_fn=start_worker,
        )

    @staticmethod
    def _fill(runner, target: TimmTarget, store: 'FeatureStore', loader: DataLoader) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        total, started = sum(map(len, loader.batch_sampler)), time.monotonic()
        progress = Progress(total, 'features of the target')
        try:
            with evaluating(model, runner.optim_wrapper), torch.no_grad():
                for samples in loader:
                    store.write(*_features(model, target, samples))
                    progress.update(len(samples))
        finally:
            progress.close()
            store.flush()
        seconds = time.monotonic() - started
        runner.logger.info(f'Computed {total} of them in {seconds:.0f} s, {total / max(seconds, 1e-9):.1f} images/s')


def _features(model: nn.Module, target: TimmTarget, samples: list) -> Tuple[List[int], np.ndarray, List[int]]:
    """Rows of the readable images, their features, and rows of the others."""
    good = [(row, image) for row, image in samples if image is not None]
    bad = [row for row, image in samples if image is None]
    if not good:
        return [], np.zeros((0, target.row_width), np.float16), bad
    inputs = model.data_preprocessor(dict(inputs=torch.stack([image for _, image in good])), False)['inputs']
    return [row for row, _ in good], target.rows_of(inputs).numpy(), bad


def _precision(runner) -> str:
    """What :meth:`TargetCacheHook._fill` computes in: ``'float32'``, ``'bfloat16'`` ..."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    one = torch.ones(1, 1, device=next(model.parameters()).device)
    with evaluating(model, runner.optim_wrapper):
        return str((one @ one).dtype).removeprefix('torch.')


class WholeImages(Dataset):
    """``(row, uint8 [C, h, w])`` of each image, whole, resized; None in place of one that cannot be read.

    Args:
        dataset: The training set, whose own :class:`.LoadImage` reads the images.
        indices: For each row the index of its image.
        size: (height, width) in pixels.
    """

    def __init__(self, dataset: Any, indices: List[int], size: Tuple[int, int]) -> None:
        self.dataset, self.indices = dataset, indices
        self.pipeline = Compose([_load_image(dataset), Resize(tuple(size)), PackImage()])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, row: int) -> Tuple[int, Optional[Tensor]]:
        try:
            return row, self.pipeline(self.dataset.get_data_info(self.indices[row]))['inputs']
        except ImageReadError:
            return row, None  # the data set replaces it by another image, with the features of that


def _load_image(dataset: Any) -> LoadImage:
    """A copy of the data set's :class:`.LoadImage`, also below wrappers, which decodes in the worker."""
    while not hasattr(dataset, 'pipeline') and (hasattr(dataset, 'dataset') or hasattr(dataset, 'datasets')):
        dataset = dataset.dataset if hasattr(dataset, 'dataset') else dataset.datasets[0]
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', [])
    load = copy.copy(next((step for step in steps if isinstance(step, LoadImage)), LoadImage()))
    load.decode = 'worker'
    return load


class FeatureStore:
    """The files of a cache: ``rows.npy`` (``[N, width]`` float16), ``done.npy`` (``[N]``), key and statistics.

    Runs may create and fill the same one at a time: the folder appears with all files or not at all, and they write the
    same values.

    Args:
        folder: Where they lie.
        count: N, images.
        width: Values of an image.
    """

    def __init__(self, folder: str, count: int, width: int) -> None:
        self.folder, self.count, self.width = folder, count, width
        self.open_rows: Optional[np.ndarray] = None
        self.written: List[Tuple[List[int], List[int]]] = []  # rows, and unreadable ones, that `done` lacks so far

    def path(self, name: str) -> str:
        return osp.join(self.folder, name)

    def create(self, key: Dict[str, Any], say: Any) -> None:
        """Make the files if they are not there, all of them or none.

        Raises:
            OSError: The disk has no room for them, or they cannot be written.
        """
        if self.exists():
            left = int((self.done() != DONE).sum())
            say(f'The target takes features of {self.count} images from {self.folder}; {left} are still to be computed')
            return
        size = 2 * self.count * self.width
        say(f"The target's features of {self.count} images take {size / 2**20:,.0f} MiB on the disk, in {self.folder}")
        parent, name = osp.split(osp.abspath(self.folder))
        own = osp.join(parent, f'.{name}.{uuid.uuid4().hex}.tmp')
        try:
            os.makedirs(own)
            _reserve(osp.join(own, 'rows.npy'), np.float16, (self.count, self.width))
            _save(osp.join(own, 'done.npy'), np.zeros(self.count, np.uint8))
            atomic_write_text(osp.join(own, 'key.json'), json.dumps(key, indent=1))
            os.rename(own, self.folder)  # fails where another run was first
            flush_folder(parent)
        except OSError as error:
            if not self.exists():
                raise self._not_created(error, size) from error
        finally:
            shutil.rmtree(own, ignore_errors=True)

    def _not_created(self, error: OSError, size: int) -> OSError:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return FileExistsError(f"{self.folder} holds something else than a target's features: remove it")
        parent = next(part for part in _parents(self.folder) if osp.isdir(part))
        return OSError(
            f"there is no place for the target's features: {size / 2**20:,.0f} MiB in {self.folder} ({error}; "
            f'{shutil.disk_usage(parent).free / 2**20:,.0f} MiB are free there). Set model.target.cache_dir to a '
            'folder on another disk, choose a smaller image_size or a later layer, or cache=False'
        )

    def exists(self) -> bool:
        return osp.isfile(self.path('key.json'))

    def check(self) -> None:
        """Raises FileNotFoundError where this process does not see what the first one has created."""
        if not self.exists():
            raise FileNotFoundError(
                f"this process does not see {self.folder}, where the first one keeps the target's features: set "
                'model.target.cache_dir to a folder that all processes share'
            )

    def done(self) -> np.ndarray:
        """``[N]``: MISSING, DONE or UNREADABLE."""
        return np.load(self.path('done.npy'))

    def unfinished(self, batch_size: int) -> List[List[int]]:
        """Batches of rows that are to be computed, the same ones with any number of processes.

        Whole batches where a row was not tried yet, then the rows that could not be read.
        """
        done = self.done()
        todo = [batch for batch in _batches(list(range(self.count)), batch_size) if (done[batch] == MISSING).any()]
        for batch in todo:
            done[batch] = DONE  # the unreadable ones among them are tried again with their batch
        return todo + _batches(np.flatnonzero(done == UNREADABLE).tolist(), batch_size)

    def write(self, rows: List[int], values: np.ndarray, unreadable: List[int]) -> None:
        if self.open_rows is None:
            self.open_rows = np.load(self.path('rows.npy'), mmap_mode='r+')
        self.open_rows[rows] = values
        self.written.append((rows, unreadable))
        if len(self.written) >= GROUP:
            self.flush()

    def flush(self) -> None:
        """Bring what was written to the disk: the rows first, as after a loss of power ``done`` must not be ahead."""
        if not isinstance(self.open_rows, np.memmap):
            return
        self.open_rows.flush()
        done = np.load(self.path('done.npy'), mmap_mode='r+')
        for rows, unreadable in self.written:
            done[rows], done[unreadable] = DONE, UNREADABLE
        done.flush()
        self.written.clear()
        self.open_rows = None

    def rows(self) -> np.ndarray:
        """``[N, width]``, read-only, from the disk when it is used."""
        return np.load(self.path('rows.npy'), mmap_mode='r')

    def save_statistics(self, target: TimmTarget) -> None:
        """Mean and standard deviation of each channel, once."""
        if osp.isfile(self.path('statistics.npy')):
            return
        readable = np.flatnonzero(self.done() == DONE)
        chosen = readable[np.linspace(0, len(readable) - 1, min(len(readable), FOR_STATISTICS)).astype(int)]
        _save(self.path('statistics.npy'), target.statistics(self._maps(target, chosen)).numpy())

    def _maps(self, target: TimmTarget, chosen: np.ndarray, batch_size: int = 256) -> Iterator[List[Tensor]]:
        rows = self.rows()
        for i in range(0, len(chosen), batch_size):
            yield target.maps_of(torch.from_numpy(rows[chosen[i : i + batch_size]]).float())

    def statistics(self) -> Tensor:
        """``[2, D]`` of :meth:`save_statistics`."""
        return torch.from_numpy(np.load(self.path('statistics.npy')))


def _reserve(path: str, dtype: type, shape: Tuple[int, int]) -> None:
    """An array of zeros on the disk. Its space is taken now: a memory map on a full disk would kill the process."""
    size = int(np.dtype(dtype).itemsize * np.prod(shape))
    if shutil.disk_usage(osp.dirname(path)).free < size:
        raise OSError('too little space')
    np.lib.format.open_memmap(path, 'w+', dtype, shape).flush()
    if hasattr(os, 'posix_fallocate'):
        with open(path, 'r+b') as file:
            os.posix_fallocate(file.fileno(), 0, osp.getsize(path))


def _save(path: str, array: np.ndarray) -> None:
    """A whole file of a small array, or none."""
    file = io.BytesIO()
    np.save(file, array)
    atomic_write_bytes(file.getvalue(), path)


def _batches(rows: List[int], size: int) -> List[List[int]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _parents(folder: str) -> Iterator[str]:
    folder = osp.abspath(folder)
    while True:
        yield folder
        folder = osp.dirname(folder)


def _rows_of(dataset: Any) -> Tuple[Dict[str, int], List[int]]:
    """``{img_path: row}``, and for each row the index of its image."""
    places: Dict[str, int] = {}
    indices = []
    for index in range(len(dataset)):
        path = dataset.get_data_info(index).get('img_path')
        if not path:
            raise ValueError(
                'a target with cache=True finds the features of an image by its `img_path`, and images of the training '
                'set have none: set model.target.cache=False'
            )
        if path not in places:
            places[path] = len(indices)
            indices.append(index)
    return places, indices


def _digest_of_files(paths: Dict[str, int]) -> str:
    """Of the names, sizes and modification times (those of a tar for its members); of a name alone where it is no
    file."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            stat = image_stat(path)
            line = f'{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n'
        except OSError:
            line = f'{path}\n'
        digest.update(line.encode(errors='surrogatepass'))
    return digest.hexdigest()


def _digest(key: Dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
