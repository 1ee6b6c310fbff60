"""The loss of predicted features."""

from functools import reduce
from typing import Dict, Optional, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ...registry import MODELS
from ..build import check_choice
from .reconstruction import PatchLossHead


@MODELS.register_module()
class FeatureHead(PatchLossHead):
    """Compares the directions of predicted and true features, token by token (CrossMAE, Eq. 3).

    Args:
        loss_on: ``'all'`` tokens (Eq. 3 excepts none), ``'masked'`` or ``'visible'`` ones.
        kind: ``'cosine'``, the negative cosine (Eq. 3); or ``'normalized_mse'``, the squared distance of the unit
            vectors, which is ``2 - 2 cos``: the paper calls the two equivalent, but the gradient is twice as large.
        out_dims: Lengths of the features if the target has several; each is compared separately (filled in by the
            algorithm). None: one.
        part_weights: A factor for each of them. None: 1 each.

    A feature of zeros, such as of a patch without edges, has no direction: its loss is constant, without gradient.
    """

    def __init__(
        self,
        loss_on: str = 'all',
        kind: str = 'cosine',
        out_dims: Optional[Sequence[int]] = None,
        part_weights: Optional[Sequence[float]] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(loss_on, init_cfg)
        check_choice('kind', kind, ('cosine', 'normalized_mse'))
        self.kind, self.out_dims = kind, tuple(out_dims) if out_dims else None
        parts = len(self.out_dims or (1,))
        self.part_weights = tuple(part_weights or (1.0,) * parts)
        if len(self.part_weights) != parts or min(self.part_weights) < 0:
            raise ValueError(f'part_weights={part_weights} must be {parts} values that are not negative, one a target')

    def patch_loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """``[B, L, D]`` twice to ``[B, L]``."""
        dims = self.out_dims or (target.shape[-1],)
        parts = zip(self.part_weights, prediction.split(dims, dim=-1), target.split(dims, dim=-1))
        return reduce(torch.add, (weight * self._distance(ours, theirs) for weight, ours, theirs in parts))

    @torch.no_grad()
    def cosines(self, prediction: Tensor, target: Tensor) -> Dict[str, Tensor]:
        """For the log, means over all tokens ``[B, L, D]`` and targets.

        Returns:
            ``cosine`` of prediction and target, and ``cosine_of_mean``: what a constant would reach, the mean target of
            the batch in place of each prediction. Only what is above that was learned of the images.
        """
        constant = target.flatten(0, 1).mean(0).expand_as(target)
        return dict(cosine=self._mean_cosine(prediction, target), cosine_of_mean=self._mean_cosine(constant, target))

    def _mean_cosine(self, prediction: Tensor, target: Tensor) -> Tensor:
        dims = self.out_dims or (target.shape[-1],)
        pairs = zip(prediction.split(dims, dim=-1), target.split(dims, dim=-1))
        return torch.stack([F.cosine_similarity(a.float(), b.float(), dim=-1).mean() for a, b in pairs]).mean()

    def _distance(self, prediction: Tensor, target: Tensor) -> Tensor:
        # at least in float32: bf16 cannot distinguish cosines near 1
        dtype = torch.promote_types(torch.promote_types(prediction.dtype, target.dtype), torch.float32)
        prediction, target = (F.normalize(x.to(dtype), dim=-1) for x in (prediction, target))
        if self.kind == 'cosine':
            return -(prediction * target).sum(dim=-1)
        return (prediction - target).square().sum(dim=-1)
