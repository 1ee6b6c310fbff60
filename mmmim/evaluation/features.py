"""Frozen features of whole data sets, in one process or several, from a model in evaluation mode."""

from contextlib import contextmanager, nullcontext
from typing import ContextManager, Iterator, Optional, Tuple, Union

import torch
import torch.distributed as dist
from mmengine.dist import get_world_size
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..progress import track


def extract_features(
    model: nn.Module,
    loader: DataLoader,
    pool: str = 'mean',
    optim_wrapper: Union[OptimWrapper, OptimWrapperDict, None] = None,
) -> Tuple[Tensor, Tensor]:
    """Features and labels of a data set, in its order, the same on all ranks.

    Args:
        model: A pre-training algorithm (or its wrapper) with ``data_preprocessor`` and ``extract_features``.
        loader: Its sampler must be ``EpochSampler(shuffle=False, pad=True)``, which gives rank r every
            ``world_size``-th sample.
        pool: ``'mean'`` of patch tokens, ``'cls'``, or ``'cls_mean'`` of several class tokens.
        optim_wrapper: Its precision is used; float32 without it.

    Returns:
        ``[N, D]`` float32 features on the host and ``[N]`` int64 labels (-1 where an image has none).
    """
    model = model.module if is_model_wrapper(model) else model
    features, labels = None, torch.empty(len(loader.sampler), dtype=torch.int64)
    row = 0
    with evaluating(model, optim_wrapper):
        for data in track(loader, 'features', total=len(loader.dataset), step=loader.batch_size * get_world_size()):
            batch = model.data_preprocessor(data, False)
            part = model.extract_features(batch['inputs'], pool).float().cpu()
            if features is None:  # filled in place: concatenating a list at the end would take twice the memory
                features = torch.empty(len(labels), part.shape[1])
            features[row : row + len(part)] = part
            labels[row : row + len(part)] = torch.tensor([int(s.get('gt_label', -1)) for s in batch['data_samples']])
            row += len(part)
    length = len(loader.dataset)
    return _gather(features)[:length], _gather(labels)[:length]


def _gather(local: Tensor, rows: int = 8192) -> Tensor:
    """Interleave the ranks' rows into data set order: ``[N / W, ...] -> [N, ...]``, ``rows`` of a rank at once."""
    world = get_world_size()
    if world == 1:
        return local
    device = 'cuda' if dist.get_backend() == 'nccl' else 'cpu'
    whole = local.new_empty(len(local), world, *local.shape[1:])
    for mine, target in zip(local.split(rows), whole.split(rows)):
        parts = [torch.empty_like(mine, device=device) for _ in range(world)]
        dist.all_gather(parts, mine.to(device))
        target.copy_(torch.stack(parts, dim=1))
    return whole.flatten(0, 1)


@contextmanager
def evaluating(model: nn.Module, optim_wrapper: Union[OptimWrapper, OptimWrapperDict, None] = None) -> Iterator[None]:
    """Evaluation mode without gradients, in the precision of training; restores the mode of every module afterwards.

    Args:
        model: The model, not wrapped.
        optim_wrapper: Its precision is used; float32 without it.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), _precision(model, optim_wrapper):
            yield
    finally:
        for module, training in modes:  # not model.train(): some parts are never in training mode
            module.training = training


def _precision(model: nn.Module, optim_wrapper: Optional[object]) -> ContextManager:
    if isinstance(optim_wrapper, OptimWrapperDict):  # has no context of its own
        optim_wrapper = next(iter(optim_wrapper.values()))
    return nullcontext() if optim_wrapper is None else optim_wrapper.optim_context(model)
