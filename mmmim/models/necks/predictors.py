"""From the tokens of a completed image to features that are predicted (CrossMAE, section 3.2 and Table 14)."""

from typing import Optional

from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from ..blocks import init_weights
from ..masking import PatchMask
from .projector import Projector


@MODELS.register_module()
class LinearPredictor(BaseModule):
    """One linear layer on each patch token (the paper's choice): ``[B, prefix + L, in_dim] -> [B, L, out_dim]``.

    Args:
        in_dim: Width of the encoder (filled in by the algorithm).
        out_dim: Values predicted for a token (filled in by the algorithm from the target).
        num_prefix_tokens: 1 when a class token comes first, which is left out (filled in by the algorithm).
    """

    def __init__(self, in_dim: int, out_dim: int, num_prefix_tokens: int = 1, init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_prefix_tokens = num_prefix_tokens
        self.fc = nn.Linear(in_dim, out_dim)
        self.apply(init_weights)

    def forward(self, tokens: Tensor, mask: Optional[PatchMask] = None) -> Tensor:
        return self.fc(tokens[:, self.num_prefix_tokens :])


@MODELS.register_module()
class MLPPredictor(BaseModule):
    """Two layers with batch norm in between, as in SimSiam (Chen & He, 2021): ``[B, prefix + L, in_dim] ->
    [B, L, out_dim]``. The statistics are those of all patch tokens of the whole batch of all ranks.

    Args:
        in_dim, out_dim, num_prefix_tokens: As of :class:`LinearPredictor`.
        hidden_dim: None: a quarter of ``in_dim``, SimSiam's share; the paper states no width.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        num_prefix_tokens: int = 1,
        hidden_dim: Optional[int] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_prefix_tokens = num_prefix_tokens
        self.mlp = Projector(in_dim, hidden_dim or max(1, in_dim // 4), out_dim, eps=1e-5)

    def forward(self, tokens: Tensor, mask: Optional[PatchMask] = None) -> Tensor:
        x = tokens[:, self.num_prefix_tokens :]
        return self.mlp(x.flatten(0, 1)).unflatten(0, x.shape[:2])
