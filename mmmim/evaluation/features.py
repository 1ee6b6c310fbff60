"""Frozen features of whole data sets, in one process or several."""
from typing import Tuple, Union

import torch
import torch.distributed as dist
from mmengine.dist import get_world_size
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..progress import track
from .mode import evaluating


def extract_features(model: nn.Module, loader: DataLoader, pool: str = 'mean',
                     optim_wrapper: Union[OptimWrapper, OptimWrapperDict, None] = None) -> Tuple[Tensor, Tensor]:
    """Features and labels of a data set, in its order, the same on all ranks.

    Args:
        model: A pre-training algorithm (or its wrapper) with ``data_preprocessor`` and ``extract_features``.
        loader: Its sampler must be ``EpochSampler(shuffle=False, pad=True)``, which gives rank r every
            ``world_size``-th sample.
        pool: ``'mean'`` of patch tokens or ``'cls'``.
        optim_wrapper: Gives the precision to compute in; float32 without it.

    Returns:
        ``[N, D]`` float32 features on the host and ``[N]`` int64 labels (-1 where an image has none).
    """
    model = model.module if is_model_wrapper(model) else model
    features, labels = [], []
    with evaluating(model, optim_wrapper):
        for data in track(loader, 'features', total=len(loader.dataset), step=loader.batch_size * get_world_size()):
            batch = model.data_preprocessor(data, False)
            features.append(model.extract_features(batch['inputs'], pool).float().cpu())
            labels += [int(sample.get('gt_label', -1)) for sample in batch['data_samples']]
    gathered = _gather(torch.cat(features)), _gather(torch.tensor(labels))
    length = len(loader.dataset)
    return gathered[0][:length], gathered[1][:length]


def _gather(local: Tensor) -> Tensor:
    """Interleave the ranks' rows into data set order: ``[N / W, ...] -> [N, ...]``."""
    world = get_world_size()
    if world == 1:
        return local
    device = 'cuda' if dist.get_backend() == 'nccl' else 'cpu'
    parts = [torch.empty_like(local, device=device) for _ in range(world)]
    dist.all_gather(parts, local.to(device))
    return torch.stack(parts, dim=1).flatten(0, 1).cpu()
