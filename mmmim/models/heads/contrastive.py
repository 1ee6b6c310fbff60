"""Contrastive losses between two views of the same images."""

from typing import Dict, Optional, Tuple

import torch
from mmengine.dist import all_gather, get_rank
from mmengine.model import BaseModule
from torch import Tensor
from torch.nn import functional as F

from ...registry import MODELS
from ..build import check_choice


@MODELS.register_module()
class ContrastiveHead(BaseModule):
    """Pulls an online view's vector to its target view's, and with InfoNCE away from those of all other images.

    Args:
        temperature: tau of InfoNCE (CMAE, Eq. 7: 0.07).
        kind: ``'infonce'`` (CMAE, Eq. 7), with the other images of the whole batch, of all ranks, as negatives; or
            ``'byol'``: ``2 - 2 cos``, without negatives (CMAE, section 4.4: 83.4 against 83.8).
        scale: A factor on the loss. The authors' public code has ``2 * temperature``; the paper has none.
    """

    def __init__(
        self, temperature: float = 0.07, kind: str = 'infonce', scale: float = 1.0, init_cfg: Optional[dict] = None
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        check_choice('kind', kind, ('infonce', 'byol'))
        if temperature <= 0:
            raise ValueError(f'temperature={temperature} must be positive')
        self.temperature, self.kind, self.scale = temperature, kind, scale

    def loss(self, query: Tensor, key: Tensor) -> Tuple[Tensor, Dict[str, Tensor]]:
        """Compare the online vectors ``[B, D]`` with the target's ``[B, D]``, which get no gradient.

        Everything is computed in float32 at least, also under autocast.

        Returns:
            The mean over the queries, and metrics that show a collapse: ``contrast_accuracy`` in [0, 1], how often a
            query's own key is the nearest in the whole batch; ``projection_std``, the standard deviation of the
            normalised keys over the batch, averaged over dimensions (0 when all are the same, ``1 / sqrt(D)`` when they
            spread over the sphere); and ``negatives``, of each query.
        """
        dtype = torch.promote_types(query.dtype, torch.float32)  # bf16 cannot distinguish similar cosines
        with torch.autocast(query.device.type, enabled=False):  # which would multiply in bf16 again
            return self._compare(query.to(dtype), key.detach().to(dtype))

    def _compare(self, query: Tensor, key: Tensor) -> Tuple[Tensor, Dict[str, Tensor]]:
        query, key = F.normalize(query, dim=1), F.normalize(key, dim=1)
        keys = torch.cat(all_gather(key))  # [B of all ranks, D]
        cosines = query @ keys.T  # Eq. 6
        own = torch.arange(query.shape[0], device=query.device) + get_rank() * query.shape[0]
        if self.kind == 'infonce':
            loss = F.cross_entropy(cosines / self.temperature, own)  # Eq. 7
        else:
            loss = 2 - 2 * (query * key).sum(dim=1).mean()
        metrics = dict(
            contrast_accuracy=(cosines.detach().argmax(dim=1) == own).to(query.dtype).mean(),
            projection_std=keys.std(dim=0, correction=0).mean(),
            negatives=keys.new_full((), self.negatives(len(keys))),
        )
        return self.scale * loss, metrics

    def negatives(self, images: int) -> int:
        """The number of negatives of each image, where so many are compared."""
        return images - 1 if self.kind == 'infonce' else 0
