"""Heads of a discriminator: is a patch, or a whole image, original or generated?"""

from typing import Dict, Optional

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ..necks.pool_tokens import check_pool, pool_tokens

GENERATED, ORIGINAL = 0, 1  # labels, and indices of the two logits


class DiscriminationHead(BaseModule):
    """A two-way linear layer: ``2 * in_dim + 2`` values (GAN-MAE, Table 4), and its cross-entropy with the label.

    Args:
        in_dim: Width of the encoder (filled in by the algorithm).
        num_prefix_tokens: Class tokens and registers in front of the patches (filled in by the algorithm).
    """

    def __init__(self, in_dim: int, num_prefix_tokens: int = 1, init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_prefix_tokens = num_prefix_tokens
        self.fc = nn.Linear(in_dim, 2)
        nn.init.normal_(self.fc.weight, std=0.02)  # undecided; the tokens of a new ViT are almost parallel
        nn.init.zeros_(self.fc.bias)

    def classify(self, features: Tensor) -> Tensor:
        """``[..., D] -> [..., 2]``, logits of generated and original, in float32 at least."""
        logits = self.fc(features)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    @staticmethod
    def loss_per_item(logits: Tensor, is_original: Tensor) -> Tensor:
        """Cross-entropy of each patch or image: ``[..., 2]`` and the label ``[...]`` (1 = original) to ``[...]``.

        This is ``-log D`` where the label is original and ``-log(1 - D)`` where it is generated, D being the
        probability of original.
        """
        return F.cross_entropy(logits.flatten(0, -2), is_original.flatten().long(), reduction='none').reshape(
            is_original.shape
        )

    @classmethod
    def adversarial_loss(cls, logits: Tensor, is_original: Tensor, kind: str = 'saturating') -> Tensor:
        """The generator's loss, the mean over all patches or images; shapes as in :meth:`loss_per_item`.

        Args:
            kind: ``'saturating'``, the negative of the discriminator's loss (GAN-MAE, Eq. 7); or
                ``'non_saturating'``, ``-log D`` of what is generated and 0 of what is original.
        """
        if kind == 'saturating':
            return -cls.loss_per_item(logits, is_original).mean()
        return (cls.loss_per_item(logits, 1 - is_original) * (1 - is_original)).mean()

    def loss(self, logits: Tensor, is_original: Tensor) -> Tensor:
        """Mean of :meth:`loss_per_item` over all patches or images: a scalar."""
        return self.loss_per_item(logits, is_original).mean()

    @staticmethod
    @torch.no_grad()
    def accuracies(logits: Tensor, is_original: Tensor, prefix: str = '') -> Dict[str, Tensor]:
        """Accuracy on originals and on generated ones, for the log.

        Args:
            logits: ``[..., 2]``.
            is_original: ``[...]``, 1 = original, 0 = generated.
            prefix: Prefix of the names.

        Returns:
            ``original_accuracy`` and ``generated_accuracy``, scalars in [0, 1]; 0.5 (chance) where the batch has none
            of a kind.
        """
        shares = DiscriminationHead.accuracies_per_image(
            logits.flatten(0, -2)[None], is_original.flatten()[None], prefix
        )
        return {name: share[0] for name, share in shares.items()}

    @staticmethod
    @torch.no_grad()
    def accuracies_per_image(logits: Tensor, is_original: Tensor, prefix: str = '') -> Dict[str, Tensor]:
        """As :meth:`accuracies`, from ``[B, N, 2]`` and ``[B, N]`` to values ``[B]``."""
        original = is_original.bool()
        right = (logits.argmax(dim=-1) == ORIGINAL) == original

        def share(of: Tensor) -> Tensor:
            count = of.sum(1)
            return torch.where(count > 0, (right & of).sum(1) / count.clamp(min=1), 0.5)

        return {f'{prefix}original_accuracy': share(original), f'{prefix}generated_accuracy': share(~original)}


@MODELS.register_module()
class PatchDiscriminationHead(DiscriminationHead):
    """Classifies each patch as original or generated (GAN-MAE, Eq. 5-6; Vision ELECTRA, micro level)."""

    def forward(self, tokens: Tensor) -> Tensor:
        """``[B, prefix + L, D]`` in image order, as a backbone gives them without a mask, to logits ``[B, L, 2]``."""
        return self.classify(tokens[:, self.num_prefix_tokens :])


@MODELS.register_module()
class ImageDiscriminationHead(DiscriminationHead):
    """Classifies whether an image has any generated patch (GAN-MAE, section 4.2; Vision ELECTRA, macro level).

    Args:
        in_dim, num_prefix_tokens: See :class:`DiscriminationHead`.
        num_register_tokens: How many of them are registers (filled in by the algorithm).
        pool: Its input, as in :func:`.pool_tokens`. By default the first class token if the encoder has one, else the
            mean of the patch tokens.

    Raises:
        ValueError: Another ``pool``, or a class token that the encoder does not have.
    """

    def __init__(
        self,
        in_dim: int,
        num_prefix_tokens: int = 1,
        pool: Optional[str] = None,
        num_register_tokens: int = 0,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(in_dim, num_prefix_tokens, init_cfg)
        num_class_tokens = num_prefix_tokens - num_register_tokens
        self.pool, self.num_register_tokens = pool or ('cls' if num_class_tokens else 'mean'), num_register_tokens
        check_pool(self.pool, num_class_tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """``[B, prefix + L, D]`` to logits ``[B, 2]``."""
        return self.classify(pool_tokens(tokens, self.num_prefix_tokens, self.pool, self.num_register_tokens))
