"""MAE's decoder: mask tokens join the encoded visible patches, and every patch is predicted."""

from typing import Any, Optional, Tuple, Union

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...positions import sincos_positions
from ...registry import MODELS
from ..layers.blocks import LayerNorm, build_blocks, init_weights, run_blocks
from ..masking import PatchMask, take


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
        compiled: Compile the blocks in place; a string names another backend of ``torch.compile`` than Inductor.
    """

    can_leave_out_visible = True  # forward has `removed_only`

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if 'forward' in vars(cls) and 'can_leave_out_visible' not in vars(cls):  # which may have no `removed_only`
            cls.can_leave_out_visible = False

    def __init__(
        self,
        in_dim: int,
        grid_size: Tuple[int, int],
        out_dim: int,
        num_prefix_tokens: int = 1,
        embed_dim: int = 512,
        depth: int = 8,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        fill_in: bool = True,
        compiled: Union[bool, str] = False,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_prefix_tokens = num_prefix_tokens
        self.num_patches = grid_size[0] * grid_size[1]
        self.decoder_embed = nn.Linear(in_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim)) if fill_in else None
        self.decoder_pos_embed = nn.Parameter(
            sincos_positions(embed_dim, grid_size, num_prefix_tokens), requires_grad=False
        )
        self.decoder_blocks = build_blocks(embed_dim, depth, num_heads, mlp_ratio, compiled=compiled)
        self.decoder_norm = LayerNorm(embed_dim)
        self.decoder_pred = nn.Linear(embed_dim, out_dim)
        self.apply(init_weights)
        if self.mask_token is not None:
            nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tensor, mask: PatchMask, removed_only: bool = False) -> Tensor:
        """Predict every patch, or only the removed ones.

        Args:
            tokens: ``[B, prefix + L_v, D]`` from the encoder; ``[B, prefix + L, D]`` when it saw mask tokens itself,
                and then nothing is filled in.
            mask: The mask the encoder was given.
            removed_only: Compute nothing that only predictions of visible patches need; zeros stand in their place.

        Returns:
            ``[B, L, out_dim]`` in image order.
        """
        if removed_only and self._lacks_patches(tokens):
            x = self.decoder_pred(self.decoder_norm(self._decode_removed(tokens, mask)))
            ids = mask.ids_removed[..., None].expand_as(x)
            return x.new_zeros(len(x), self.num_patches, x.shape[2]).scatter(1, ids, x)
        x = self.decoder_norm(self.decode(tokens, mask))
        return self.decoder_pred(x[:, self.num_prefix_tokens :])

    def decode(self, tokens: Tensor, mask: PatchMask, num_blocks: Optional[int] = None) -> Tensor:
        """The full set of tokens ``[B, prefix + L, embed_dim]`` after the first ``num_blocks`` blocks (all)."""
        x, prefix = self._fill_in(self.decoder_embed(tokens)), self.num_prefix_tokens
        if self._lacks_patches(tokens):
            x = torch.cat([x[:, :prefix], take(x[:, prefix:], mask.ids_restore)], dim=1)
        return run_blocks(self.decoder_blocks[:num_blocks], x + self.decoder_pos_embed)

    def _decode_removed(self, tokens: Tensor, mask: PatchMask) -> Tensor:
        """``[B, L_m, embed_dim]``. The patches stay in the order of ``mask.ids_shuffle``, for which attention does not
        care: the removed ones are the last, and neither tokens nor their gradients have to be put in order."""
        ids, prefix, table = mask.ids_shuffle, self.num_prefix_tokens, self.decoder_pos_embed
        x = self._fill_in(self.decoder_embed(tokens))
        positions = torch.cat([table[:, :prefix].expand(len(x), -1, -1), table[0, prefix:][ids]], dim=1)
        return run_blocks(self.decoder_blocks, x + positions, first=tokens.shape[1])

    def _lacks_patches(self, tokens: Tensor) -> bool:
        return tokens.shape[1] - self.num_prefix_tokens != self.num_patches

    def _fill_in(self, x: Tensor) -> Tensor:
        """Mask tokens behind the visible ones, for every patch that is missing."""
        missing = self.num_prefix_tokens + self.num_patches - x.shape[1]
        if not missing:
            return x
        if self.mask_token is None:
            raise ValueError(
                f'fill_in=False: the decoder has no mask token for the {missing} patches that the encoder leaves out'
            )
        return torch.cat([x, self.mask_token.to(x.dtype).expand(len(x), missing, -1)], dim=1)
