"""Pooling: from the tokens of a ViT to one vector per image."""

from typing import Optional, Tuple

from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from ..build import check_choice
from ..layers.blocks import LayerNorm
from ..layers.norm import CrossRankBatchNorm1d

POOLS = ('mean', 'cls', 'cls_mean')


def pool_tokens(tokens: Tensor, num_prefix_tokens: int, pool: str, num_register_tokens: int = 0) -> Tensor:
    """``[B, prefix + L, D] -> [B, D]``.

    Args:
        tokens: ``[B, prefix + L, D]``: class tokens, registers, patches.
        num_prefix_tokens: Class tokens and registers.
        pool: ``'mean'`` of the patch tokens, the first class token ``'cls'``, or the mean of the class tokens
            ``'cls_mean'``, as Pixio evaluates several (its eval_knn.py).
        num_register_tokens: How many of the prefix tokens are registers.

    Raises:
        ValueError: Another ``pool``, or a class token is wanted where there is none.
    """
    classes = num_prefix_tokens - num_register_tokens
    check_pool(pool, classes)
    if pool == 'cls':
        return tokens[:, 0]
    return (tokens[:, :classes] if pool == 'cls_mean' else tokens[:, num_prefix_tokens:]).mean(dim=1)


def check_pool(pool: str, num_class_tokens: int) -> None:
    """Raises ValueError for a ``pool`` that :func:`pool_tokens` does not support."""
    check_choice('pool', pool, POOLS)
    if pool in ('cls', 'cls_mean') and not num_class_tokens:
        raise ValueError(f"pool='{pool}': the encoder has no class token; use 'mean'")


@MODELS.register_module()
class PoolTokens(BaseModule):
    """Mean of the patch tokens or the class token, with a norm after it; the neck of mmpretrain's classifiers.

    MAE fine-tunes with the mean and a layer norm after it (its ``fc_norm``, with a backbone of ``final_norm=False``),
    and probes the class token with a batch norm without scale and shift.

    Args:
        in_dim: Width D of the tokens (in a config of ours filled in from the backbone).
        pool: As in :func:`pool_tokens`.
        norm: ``'layer'``, ``'batch'`` (without scale and shift, eps 1e-6; with statistics over all ranks) or None.
        num_prefix_tokens: Tokens in front of the patches; they are not part of the mean.
        num_register_tokens: How many of them are registers.

    Raises:
        ValueError: An unknown ``pool`` or ``norm``, or a class token is wanted where there is none.
    """

    def __init__(
        self,
        in_dim: int,
        pool: str = 'mean',
        norm: Optional[str] = 'layer',
        num_prefix_tokens: int = 1,
        num_register_tokens: int = 0,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        check_pool(pool, num_prefix_tokens - num_register_tokens)
        check_choice('norm', norm, ('layer', 'batch', None))
        self.pool, self.num_prefix_tokens, self.num_register_tokens = pool, num_prefix_tokens, num_register_tokens
        self.norm = (
            LayerNorm(in_dim)
            if norm == 'layer'
            else CrossRankBatchNorm1d(in_dim, eps=1e-6, affine=False)
            if norm == 'batch'
            else nn.Identity()
        )

    def forward(self, tokens: Tensor) -> Tuple[Tensor]:
        """``[B, prefix + L, D] -> ([B, D], )``; mmpretrain's heads take the last of a tuple."""
        return (self.norm(pool_tokens(tokens, self.num_prefix_tokens, self.pool, self.num_register_tokens)),)
