"""Projector and predictors of contrastive and feature prediction."""

from typing import Optional

from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from ..layers.blocks import init_weights
from ..layers.norm import CrossRankBatchNorm1d
from ..masking import PatchMask


@MODELS.register_module()
class LinearPredictor(BaseModule):
    """One linear layer on each patch token (the paper's choice): ``[B, prefix + L, in_dim] -> [B, L, out_dim]``.

    Without the tokens of removed patches, it predicts at the visible ones; the others are zeros.

    Args:
        in_dim: Width of the encoder (filled in by the algorithm).
        out_dim: Values predicted for a token (filled in by the algorithm from the target).
        num_prefix_tokens: Class tokens and registers in front, which are left out (filled in by the algorithm).
    """

    only_visible = True  # there are no mask tokens

    def __init__(self, in_dim: int, out_dim: int, num_prefix_tokens: int = 1, init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_prefix_tokens, self.out_dim = num_prefix_tokens, out_dim
        self.fc = nn.Linear(in_dim, out_dim)
        self.apply(init_weights)

    def forward(self, tokens: Tensor, mask: Optional[PatchMask] = None) -> Tensor:
        return in_image_order(self.fc(tokens[:, self.num_prefix_tokens :]), mask)


@MODELS.register_module()
class MLPPredictor(BaseModule):
    """Two layers with batch norm in between, as in SimSiam (Chen & He, 2021): ``[B, prefix + L, in_dim] ->
    [B, L, out_dim]``. The statistics are over all patch tokens of the batch of all ranks. Without the tokens of removed
    patches, it predicts at the visible ones.

    Args:
        in_dim, out_dim, num_prefix_tokens: As in :class:`LinearPredictor`.
        hidden_dim: None: ``in_dim``. CrossMAE's Table 14 has an MLP of no stated width that costs 1.2 times the linear
            layer. No width fits that: from 768 to 768 values, 192 (SimSiam's quarter) costs 0.5 times as much, and 768
            twice.
    """

    only_visible = True

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        num_prefix_tokens: int = 1,
        hidden_dim: Optional[int] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_prefix_tokens, self.out_dim = num_prefix_tokens, out_dim
        self.mlp = Projector(in_dim, hidden_dim or in_dim, out_dim, eps=1e-5)

    def forward(self, tokens: Tensor, mask: Optional[PatchMask] = None) -> Tensor:
        x = tokens[:, self.num_prefix_tokens :]
        return in_image_order(self.mlp(x.flatten(0, 1)).unflatten(0, x.shape[:2]), mask)


def in_image_order(prediction: Tensor, mask: Optional[PatchMask]) -> Tensor:
    """Predictions at visible patches ``[B, L_v, D]`` to ``[B, L, D]``, zeros at removed ones; those of all patches stay
    as they are."""
    if mask is None or prediction.shape[1] == mask.mask.shape[1]:
        return prediction
    ids = mask.ids_keep[..., None].expand_as(prediction)
    return prediction.new_zeros(len(prediction), mask.mask.shape[1], prediction.shape[2]).scatter(1, ids, prediction)


@MODELS.register_module()
class Projector(BaseModule):
    """Linear, batch norm, ReLU, linear without a bias: ``[B, in_dim] -> [B, out_dim]``.

    CMAE's paper names the structure ("projection-prediction") and no size; the sizes are those of the authors' code.
    Parameters carry mmpretrain's names.

    Args:
        in_dim: Input width (filled in by the algorithm).
        hidden_dim: Hidden width.
        out_dim: Output width.
        eps: Of the batch norm, whose statistics are over all ranks.
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
