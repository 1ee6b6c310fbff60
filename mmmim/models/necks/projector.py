"""Projection and prediction heads of contrastive learning."""

from typing import Optional

from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from ..batch_norm import CrossRankBatchNorm1d


@MODELS.register_module()
class Projector(BaseModule):
    """Linear, batch norm, ReLU, linear without a bias: ``[B, in_dim] -> [B, out_dim]``.

    CMAE's paper names the structure ("projection-prediction") and no size; the sizes are those of the authors' code.
    Parameters carry mmpretrain's names.

    Args:
        in_dim: Width of what comes in (filled in by the algorithm).
        hidden_dim: Width in between.
        out_dim: Width of what goes out.
        eps: Of the batch norm, whose statistics cross ranks.
    """

    def __init__(
        self,
        in_dim: int,
        hidden_dim: int = 1536,
        out_dim: int = 256,
        eps: float = 1e-6,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.out_dim = out_dim
        self.fc0 = nn.Linear(in_dim, hidden_dim)
        self.bn0 = CrossRankBatchNorm1d(hidden_dim, eps=eps)
        self.relu = nn.ReLU()
        self.fc1 = nn.Linear(hidden_dim, out_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc1(self.relu(self.bn0(self.fc0(x))))
