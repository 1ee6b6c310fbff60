"""Data loading: samples collated into a batch, and workers that end with their parent."""

import multiprocessing
import os
import signal
import threading
from typing import Any, Dict, List, Optional, Sequence, Union

import torch
from mmengine.dataset import worker_init_fn
from torch import Tensor
from torch.utils.data import get_worker_info

from ..registry import FUNCTIONS
from .io.encoded import EncodedCrop


@FUNCTIONS.register_module()
def mim_collate(samples: Sequence[dict]) -> Dict[str, Union[Tensor, list]]:
    """Collate the samples of :class:`~mmmim.datasets.transforms.PackImage`.

    Args:
        samples: Each ``dict(inputs=uint8 [C, H, W], data_samples=DataSample)``; ``inputs`` may also be a list of views,
            or an :class:`~mmmim.datasets.io.encoded.EncodedCrop`.

    Returns:
        ``dict(inputs=uint8 [B, C, H, W], data_samples=list of B)``; for views ``inputs`` is a list of such tensors; if
        some images are to be decoded on the device, a list of B.

    Raises:
        ValueError: if the images have different shapes.
    """
    inputs = [sample['inputs'] for sample in samples]
    data_samples = [sample['data_samples'] for sample in samples]
    if isinstance(inputs[0], (list, tuple)):
        return dict(inputs=[_stack(list(view)) for view in zip(*inputs, strict=True)], data_samples=data_samples)
    if any(isinstance(image, EncodedCrop) for image in inputs):
        return dict(inputs=inputs, data_samples=data_samples)
    return dict(inputs=_stack(inputs), data_samples=data_samples)


def _stack(images: List[Tensor]) -> Tensor:
    first = images[0].shape
    for image in images:
        if image.shape != first:
            raise ValueError(
                f'a batch needs images of one shape, but these have {list(first)} and {list(image.shape)} '
                '([C, H, W]). Put a crop of fixed size in the pipeline, such as RandomResizedCrop, '
                'CenterCrop or Resize.'
            )
    return torch.stack(images)


@FUNCTIONS.register_module()
def start_worker(worker_id: int, seed: Optional[int] = None) -> None:
    """Initialise a data loading worker: ignore SIGINT, and SIGTERM unless the parent process sent it.

    Launchers, slurm, ``timeout`` and a terminal's Ctrl-C signal the whole process group. The main process then finishes
    its step and saves a checkpoint, which fails if a worker ends earlier. If the sender of a signal is unknown (outside
    of Linux, or with threads that already run, as under ``spawn``), a worker ends 20 seconds after the first SIGTERM.
    torch's own watchdog ends a worker whose parent is gone.

    Args:
        worker_id: Index of the worker in its loader.
        seed: Seed of the run, from which the global generators are seeded as in MMEngine, differently in each worker
            and process. None: they stay as torch seeded them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, 'sigwaitinfo') or len(os.listdir('/proc/self/task')) > 1:  # others would get the signal
        signal.signal(signal.SIGTERM, _give_time)
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()
    if seed is not None:
        worker_init_fn(worker_id, get_worker_info().num_workers, int(os.environ.get('RANK', 0)), seed)


def _end_with_parent() -> None:
    parents = {os.getppid(), getattr(multiprocessing.parent_process(), 'pid', None)}  # two under forkserver
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid not in parents:
        pass
    os._exit(0)


def _give_time(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.alarm(20)
