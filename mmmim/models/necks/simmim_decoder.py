"""SimMIM's decoder: one linear layer from a token to the pixels of its patch."""

from typing import Optional

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ..masking import PatchMask
from ..patches import Size, to_2tuple


@MODELS.register_module()
class SimMIMDecoder(BaseModule):
    """A 1 x 1 convolution and a pixel shuffle (Xie et al., 2022), as one product with the tokens.

    The parameter is SimMIM's, ``decoder.0``, whose outputs are in the order (C, P, P) of a pixel shuffle.

    Args:
        in_dim: Width of the encoder (filled in by the algorithm).
        out_dim: Values predicted for a patch (filled in by the algorithm from the target).
        patch_size: P (filled in by the algorithm).
        num_prefix_tokens: 1 when a class token comes first (filled in by the algorithm).
        fill_in: Whether mask tokens would have to take the place of removed patches here (filled in by the algorithm).

    Raises:
        ValueError: An encoder without mask tokens, or a target that is not pixels.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        patch_size: Size,
        num_prefix_tokens: int = 0,
        fill_in: bool = False,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.patch_size, self.num_prefix_tokens = to_2tuple(patch_size), num_prefix_tokens
        if fill_in:
            raise ValueError(
                'SimMIMDecoder is one linear layer and fills in nothing: the encoder has to see mask '
                'tokens (mask_tokens=True)'
            )
        if out_dim % (self.patch_size[0] * self.patch_size[1]):
            raise ValueError(
                f'SimMIMDecoder predicts pixels; the target has {out_dim} values for a patch of '
                f'{self.patch_size[0]}x{self.patch_size[1]} pixels. Use a PixelTarget'
            )
        self.decoder = nn.Sequential(nn.Conv2d(in_dim, out_dim, 1))

    def forward(self, tokens: Tensor, mask: Optional[PatchMask] = None) -> Tensor:
        """``[B, prefix + L, D] -> [B, L, P*P*C]``, values of a patch in the order (P, P, C)."""
        conv = self.decoder[0]
        assert isinstance(conv, nn.Conv2d)
        x = F.linear(tokens[:, self.num_prefix_tokens :], conv.weight.flatten(1), conv.bias)  # [B, L, C*P*P]
        return x.unflatten(2, (-1, self.patch_size[0] * self.patch_size[1])).transpose(2, 3).flatten(2)
