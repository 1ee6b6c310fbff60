"""MAE's decoder: mask tokens join the encoded visible patches, and every patch is predicted."""
from typing import Optional, Tuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from ..blocks import LayerNorm, build_blocks, init_weights, run_blocks
from ..masking import PatchMask
from ..positions import sincos_positions


@MODELS.register_module()
class MAEDecoder(BaseModule):
    """Light transformer on the full set of tokens. Parameters carry the original MAE's names.

    Args:
        in_dim: Width of the encoder (filled in by the algorithm).
        grid_size: (h, w) patches (filled in by the algorithm).
        out_dim: Values predicted for a patch (filled in by the algorithm from the target).
        num_prefix_tokens: 1 when a class token comes first (filled in by the algorithm).
        embed_dim: Width of the decoder (MAE, Table 1b: 512).
        depth: Blocks (MAE, Table 1a: 8).
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over ``embed_dim``.
        fill_in: Whether mask tokens take the place of removed patches; not when the encoder saw mask tokens itself
            (filled in by the algorithm), and then there is no ``mask_token``, which would get no gradient.
        compiled: Compile the blocks in place.
    """

    def __init__(self,
                 in_dim: int,
                 grid_size: Tuple[int, int],
                 out_dim: int,
                 num_prefix_tokens: int = 1,
                 embed_dim: int = 512,
                 depth: int = 8,
                 num_heads: int = 16,
                 mlp_ratio: float = 4.0,
                 fill_in: bool = True,
                 compiled: bool = False,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_prefix_tokens = num_prefix_tokens
        self.num_patches = grid_size[0] * grid_size[1]
        self.decoder_embed = nn.Linear(in_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim)) if fill_in else None
        self.decoder_pos_embed = nn.Parameter(
            sincos_positions(embed_dim, grid_size, num_prefix_tokens), requires_grad=False)
        self.decoder_blocks = build_blocks(embed_dim, depth, num_heads, mlp_ratio, compiled=compiled)
        self.decoder_norm = LayerNorm(embed_dim)
        self.decoder_pred = nn.Linear(embed_dim, out_dim)
        self.apply(init_weights)
        if self.mask_token is not None:
            nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tensor, mask: PatchMask) -> Tensor:
        """Predict every patch.

        Args:
            tokens: ``[B, prefix + L_v, D]`` from the encoder; ``[B, prefix + L, D]`` when it saw mask tokens itself,
                and then nothing is filled in.
            mask: The mask the encoder was given.

        Returns:
            ``[B, L, out_dim]`` in image order.
        """
        x = self.decoder_norm(self.decode(tokens, mask))
        return self.decoder_pred(x[:, self.num_prefix_tokens:])

    def decode(self, tokens: Tensor, mask: PatchMask, num_blocks: Optional[int] = None) -> Tensor:
        """The full set of tokens ``[B, prefix + L, embed_dim]`` after the first ``num_blocks`` blocks (all)."""
        x = self.decoder_embed(tokens)
        prefix, patches = x[:, :self.num_prefix_tokens], x[:, self.num_prefix_tokens:]
        if patches.shape[1] != self.num_patches:
            missing = self.num_patches - patches.shape[1]
            mask_tokens = self.mask_token.to(x.dtype).expand(len(x), missing, -1)
            patches = torch.cat([patches, mask_tokens], dim=1)
            patches = patches.gather(1, mask.ids_restore[..., None].expand(-1, -1, patches.shape[2]))
        x = torch.cat([prefix, patches], dim=1) + self.decoder_pos_embed
        return run_blocks(self.decoder_blocks[:num_blocks], x)
