"""Fits the loading workers of a run to the shared memory of the machine."""

import functools
import logging
import random
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_world_size
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from torch import Tensor

from ..shared_memory import SHARE, Load, fitted, free_bytes, gib, needed, option
from .devices import processes_here

NAMES = dict(training='train_dataloader', validation='val_dataloader', test='test_dataloader')
FIRST_SHARE = 0.75  # of what is free, for the first loader; the rest is for those that are built later


def fit_loaders(runner: Any, launcher: str = 'none') -> None:
    """Let each loader that a runner builds have as many workers as fit into /dev/shm, before they start.

    What a batch needs is measured on a few samples. Loaders are counted together: training and validation live at once.
    In pre-training the number of workers changes no result.

    Args:
        runner: MMEngine's, whose loops have not been built yet.
        launcher: Which started the processes.
    """
    build = runner.build_dataloader
    held: Dict[str, Load] = {}

    @functools.wraps(build)
    def build_fitted(dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        loader = build(dataloader, *args, **kwargs)
        name = _name(dataloader, runner.cfg, held)
        load = fit_workers(name, loader, list(held.values()), launcher)
        if load:
            held[name] = load
        return loader

    runner.build_dataloader = build_fitted


def _name(dataloader: Any, cfg: Any, held: Dict[str, Load]) -> str:
    """Which loader of a config is built, for messages."""
    dataset = dataloader.get('dataset') if isinstance(dataloader, dict) else None
    while isinstance(dataset, dict) and str(dataset.get('type')).endswith('SeededDataset'):
        dataset = dataset['dataset']
    same = [name for name, key in NAMES.items() if dataset and (cfg.get(key) or {}).get('dataset') == dataset]
    return next((name for name in same if name not in held), f'loader {len(held) + 1}')


def fit_workers(name: str, loader: Any, others: Sequence[Load] = (), launcher: str = 'none') -> Optional[Load]:
    """Lower ``num_workers``, then ``prefetch_factor``, of a loader that needs more shared memory than others leave.

    Call it in all processes of a run, before the workers start. It warns where one batch is too much.

    Returns:
        What the loader now needs; None if that is not known.

    Raises:
        FileNotFoundError: There are workers, and no shared memory.
    """
    load = measured(name, loader)
    together = get_world_size() > 1
    found: List[Optional[int]] = all_gather_object(_free(load)) if together else [_free(load)]
    room = min((size for size in found if size is not None), default=None)
    if load is None or room is None:
        return load
    processes = processes_here(launcher) if together else 1
    rest = int(room * (SHARE if others else FIRST_SHARE) / processes) - needed(list(others))
    (fewer,) = fitted([load], max(0, rest))
    if load.bytes > rest:
        loader.num_workers, loader.prefetch_factor = fewer.workers, fewer.prefetch
        everything = needed([*others, load], processes)
        _say(load, fewer, room, everything, processes, fewer.bytes <= rest)
    return fewer


def _say(load: Load, fewer: Load, room: int, everything: int, processes: int, fits: bool) -> None:
    lines = [
        f'Shared memory: {gib(room)} are free in /dev/shm, and the loading workers of {processes} '
        f'process{"es" * (processes > 1)} would need {gib(everything)}'
    ]
    if fewer.workers < load.workers:
        lines.append(f'workers of {load.name} are lowered from {load.workers} to {fewer.workers}')
    if fewer.prefetch < load.prefetch:
        lines.append(f'prefetch_factor of {load.name} from {load.prefetch} to {fewer.prefetch}')
    if not fits:
        lines.append('they may still die of it (a "bus error"): lower the batch of a process, or take num_workers=0')
    lines.append(f'for all of them start the container with {option(everything)} or --ipc=host, or enlarge /dev/shm')
    print_log('; '.join(lines), 'current', logging.WARNING)


def _free(load: Optional[Load]) -> Optional[int]:
    try:
        return free_bytes() if load else None
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'num_workers={load.workers if load else 0}, but this machine has no shared memory ({error}): mount a '
            'tmpfs at /dev/shm, or set num_workers=0 and persistent_workers=False'
        ) from error


def measured(name: str, loader: Any, samples: int = 4) -> Optional[Load]:
    """What the workers of a loader need; None without workers, or if its samples cannot be read.

    Takes the largest of a few samples, evenly spread. The state of the random generators stays.
    """
    if not getattr(loader, 'num_workers', 0):
        return None
    batch = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 1)
    state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            length, count = len(loader.dataset), min(samples, len(loader.dataset))
            largest = max(tensor_bytes(loader.dataset[i * length // count]) for i in range(count))
    except Exception:  # what is wrong with a sample is said by the run, or the sample is replaced
        return None
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])
    return Load(name, loader.num_workers, loader.prefetch_factor or 2, batch * largest)


def tensor_bytes(sample: Any) -> int:
    """Bytes of the tensors in a sample; all else goes through a pipe."""
    if isinstance(sample, Tensor):
        return sample.numel() * sample.element_size()
    if isinstance(sample, BaseDataElement):
        return tensor_bytes(list(sample.values()))
    if isinstance(sample, dict):
        return tensor_bytes(list(sample.values()))
    if isinstance(sample, (list, tuple)):
        return sum(map(tensor_bytes, sample))
    return 0
