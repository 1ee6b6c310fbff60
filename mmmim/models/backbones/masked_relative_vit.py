"""The ViT with relative positions that pre-trains: SimMIM's, with mask tokens in the place of removed patches."""

from typing import Any, Optional

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn

from ...registry import MODELS
from ..masking import PatchMask
from .relative_vit import RelativeViT


@MODELS.register_module()
class MaskedRelativeViT(RelativeViT):
    """:class:`RelativeViT` with a mask token: all tokens come out, in image order.

    Args:
        relative_positions: As in :class:`RelativeViT`; ``'shared'`` is how SimMIM and BEiT pre-train.
        **kwargs: Of :class:`RelativeViT`.
    """

    def __init__(self, relative_positions: str = 'shared', **kwargs: Any) -> None:
        super().__init__(relative_positions=relative_positions, **kwargs)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.embed_dim))
        trunc_normal_(self.mask_token, std=0.02)

    def forward(self, images: Tensor, mask: Optional[PatchMask] = None) -> Tensor:
        """``[B, C, H, W]`` to tokens ``[B, 1 + L, D]``, the class token first."""
        self.check_images(images)
        x = self.patch_embed(images)
        if mask is not None:
            x = torch.where(mask.mask[..., None].bool(), self.mask_token.to(x.dtype), x)
        return self.run(x)
