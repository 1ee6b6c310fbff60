"""From the tokens of a ViT to one vector an image."""

from typing import Optional, Tuple

from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from ..layers.blocks import LayerNorm
from ..layers.norm import CrossRankBatchNorm1d


def pool_tokens(tokens: Tensor, num_prefix_tokens: int, pool: str) -> Tensor:
    """``[B, T, D] -> [B, D]`` by the mean of the patch tokens or by the class token."""
    if pool == 'mean':
        return tokens[:, num_prefix_tokens:].mean(dim=1)
    if pool == 'cls' and num_prefix_tokens:
        return tokens[:, 0]
    raise ValueError(f"pool='{pool}': use 'mean', or 'cls' when the backbone has a class token")


@MODELS.register_module()
class PoolTokens(BaseModule):
    """Mean of the patch tokens or the class token, with a norm after it; the neck of mmpretrain's classifiers.

    MAE fine-tunes with the mean and a layer norm after it (its ``fc_norm``, with a backbone of
    ``final_norm=False``), and probes the class token with a batch norm that learns nothing but its statistics.

    Args:
        in_dim: Width D of the tokens (in a config of ours filled in from the backbone).
        pool: ``'mean'`` or ``'cls'``.
        norm: ``'layer'``, ``'batch'`` (without scale and shift, eps 1e-6; its statistics cross ranks) or None.
        num_prefix_tokens: Tokens in front of the patches; they are not part of the mean.

    Raises:
        ValueError: An unknown ``pool`` or ``norm``, or a class token is wanted where there is none.
    """

    def __init__(
        self,
        in_dim: int,
        pool: str = 'mean',
        norm: Optional[str] = 'layer',
        num_prefix_tokens: int = 1,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if pool not in ('mean', 'cls') or (pool == 'cls' and not num_prefix_tokens):
            raise ValueError(f"pool='{pool}': use 'mean', or 'cls' when the backbone has a class token")
        if norm not in ('layer', 'batch', None):
            raise ValueError(f"norm='{norm}': use 'layer', 'batch' or None")
        self.pool, self.num_prefix_tokens = pool, num_prefix_tokens
        self.norm = (
            LayerNorm(in_dim)
            if norm == 'layer'
            else CrossRankBatchNorm1d(in_dim, eps=1e-6, affine=False)
            if norm == 'batch'
            else nn.Identity()
        )

    def forward(self, tokens: Tensor) -> Tuple[Tensor]:
        """``[B, prefix + L, D] -> ([B, D], )``; mmpretrain's heads take the last of a tuple."""
        x = tokens[:, 0] if self.pool == 'cls' else tokens[:, self.num_prefix_tokens :].mean(dim=1)
        return (self.norm(x),)
