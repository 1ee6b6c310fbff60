"""Decoders of pre-training: MAE's, SimMIM's, and one that several targets share."""

from typing import Any, Optional, Tuple, Union

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from ...positions import sincos_positions
from ...registry import MODELS
from ..layers.blocks import LayerNorm, build_blocks, init_weights, run_blocks
from ..masking import PatchMask, take
from ..patches import Size, to_2tuple


@MODELS.register_module()
class MAEDecoder(BaseModule):
    """Light transformer on the full set of tokens. Parameters carry the original MAE's names.

    Args:
        in_dim: Width of the encoder (filled in by the algorithm).
        grid_size: (h, w) patches (filled in by the algorithm).
        out_dim: Values predicted for a patch (filled in by the algorithm from the target).
        num_prefix_tokens: Class tokens and registers in front of the patches (filled in by the algorithm).
        embed_dim: Width of the decoder (MAE, Table 1b: 512; Pixio's code, too).
        depth: Blocks (MAE, Table 1a: 8; Pixio's code: 32 for encoders of 32 and 48).
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over ``embed_dim``.
        fill_in: Whether mask tokens replace removed patches; False if the encoder saw mask tokens itself (filled in by
            the algorithm), and then there is no ``mask_token``, which would get no gradient.
        learned_positions: As in :class:`.MaskedViT`.
        compiled: Compile the blocks in place; a string names another backend of ``torch.compile`` than Inductor.
        activation_checkpointing: As in :class:`.MaskedViT`.
    """

    can_leave_out_visible = True  # forward has `removed_only`

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if 'forward' in vars(cls) and 'can_leave_out_visible' not in vars(cls):  # it may have no `removed_only`
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
        learned_positions: bool = False,
        compiled: Union[bool, str] = False,
        activation_checkpointing: bool = False,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_prefix_tokens = num_prefix_tokens
        self.num_patches = grid_size[0] * grid_size[1]
        self.decoder_embed = nn.Linear(in_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim)) if fill_in else None
        self.decoder_pos_embed = nn.Parameter(
            sincos_positions(embed_dim, grid_size, num_prefix_tokens), requires_grad=learned_positions
        )
        self.decoder_blocks = build_blocks(
            embed_dim, depth, num_heads, mlp_ratio, 0.0, compiled, activation_checkpointing
        )
        self.decoder_norm = LayerNorm(embed_dim)
        self.decoder_pred = nn.Linear(embed_dim, out_dim)
        self.apply(init_weights)
        if self.mask_token is not None:
            nn.init.normal_(self.mask_token, std=0.02)
        if learned_positions:
            nn.init.normal_(self.decoder_pos_embed, std=0.02)

    def forward(self, tokens: Tensor, mask: PatchMask, removed_only: bool = False) -> Tensor:
        """Predict every patch, or only the removed ones.

        Args:
            tokens: ``[B, prefix + L_v, D]`` from the encoder; ``[B, prefix + L, D]`` when it saw mask tokens itself,
                and then nothing is filled in.
            mask: The mask the encoder was given.
            removed_only: Do not compute predictions of visible patches; they are zeros.

        Returns:
            ``[B, L, out_dim]`` in image order.
        """
        if removed_only and self._lacks_patches(tokens):
            x = self.decoder_pred(self.decoder_norm(self._decode_removed(tokens, mask)))
            ids = mask.ids_removed[..., None].expand_as(x)
            return x.new_zeros(x.shape[0], self.num_patches, x.shape[2]).scatter(1, ids, x)
        x = self.decoder_norm(self.decode(tokens, mask))
        return self.decoder_pred(x[:, self.num_prefix_tokens :])

    def decode(self, tokens: Tensor, mask: PatchMask, num_blocks: Optional[int] = None) -> Tensor:
        """The full set of tokens ``[B, prefix + L, embed_dim]`` after the first ``num_blocks`` blocks (all)."""
        x, prefix = self._fill_in(self.decoder_embed(tokens)), self.num_prefix_tokens
        if self._lacks_patches(tokens):
            x = torch.cat([x[:, :prefix], take(x[:, prefix:], mask.ids_restore)], dim=1)
        return run_blocks(self.decoder_blocks[:num_blocks], x + self.decoder_pos_embed)

    def _decode_removed(self, tokens: Tensor, mask: PatchMask) -> Tensor:
        """``[B, L_m, embed_dim]``. The patches stay in the order of ``mask.ids_shuffle``, as attention is
        order-invariant: the removed ones are last, and neither tokens nor their gradients have to be reordered."""
        ids, prefix, table = mask.ids_shuffle, self.num_prefix_tokens, self.decoder_pos_embed
        x = self._fill_in(self.decoder_embed(tokens))
        positions = torch.cat([table[:, :prefix].expand(x.shape[0], -1, -1), table[0, prefix:][ids]], dim=1)
        return run_blocks(self.decoder_blocks, x + positions, first=tokens.shape[1])

    def _lacks_patches(self, tokens: Tensor) -> bool:
        return tokens.shape[1] - self.num_prefix_tokens != self.num_patches

    def _fill_in(self, x: Tensor) -> Tensor:
        """Append a mask token to the visible ones for every missing patch."""
        missing = self.num_prefix_tokens + self.num_patches - x.shape[1]
        if not missing:
            return x
        if self.mask_token is None:
            raise ValueError(
                f'fill_in=False: the decoder has no mask token for the {missing} patches that the encoder leaves out'
            )
        return torch.cat([x, self.mask_token.to(x.dtype).expand(x.shape[0], missing, -1)], dim=1)


@MODELS.register_module()
class SimMIMDecoder(BaseModule):
    """A 1 x 1 convolution and a pixel shuffle (Xie et al., 2022), as one product with the tokens.

    The parameter is SimMIM's, ``decoder.0``, whose outputs are in the order (C, P, P) of a pixel shuffle.

    Args:
        in_dim: Width of the encoder (filled in by the algorithm).
        out_dim: Values predicted for a patch (filled in by the algorithm from the target).
        patch_size: P (filled in by the algorithm).
        num_prefix_tokens: Class tokens and registers in front of the patches (filled in by the algorithm).
        fill_in: Whether mask tokens would have to replace removed patches here (filled in by the algorithm).

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


@MODELS.register_module()
class SharedDecoder(BaseModule):
    """The first blocks of the pixel decoder, with a separate norm and output layer (CMAE, Table 4c).

    The paper does not say what is shared when the pixel decoder has more blocks than the feature decoder. Both
    readings are configs: ``num_blocks=2`` of a pixel decoder with 8 (the first n), or with 2 (the same depth).

    Args:
        decoder: The pixel decoder (filled in by the algorithm). It is not registered here a second time.
        out_dim: Output width (filled in by the algorithm).
        num_blocks: Number of shared blocks; None: all.
    """

    def __init__(
        self, decoder: MAEDecoder, out_dim: int, num_blocks: Optional[int] = None, init_cfg: Optional[dict] = None
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        depth = len(decoder.decoder_blocks)
        self.num_blocks = depth if num_blocks is None else num_blocks
        if not 1 <= self.num_blocks <= depth:
            raise ValueError(f'num_blocks={num_blocks}: the decoder that is shared has {depth} blocks')
        self._decoder = (decoder,)
        width = decoder.decoder_embed.out_features
        self.decoder_norm, self.decoder_pred = LayerNorm(width), nn.Linear(width, out_dim)
        nn.init.xavier_uniform_(self.decoder_pred.weight)
        nn.init.zeros_(self.decoder_pred.bias)

    def forward(self, tokens: Tensor, mask: PatchMask) -> Tensor:
        """``[B, prefix + L_v, D] -> [B, L, out_dim]``, in image order."""
        decoder = self._decoder[0]
        x = decoder.decode(tokens, mask, self.num_blocks)
        return self.decoder_pred(self.decoder_norm(x[:, decoder.num_prefix_tokens :]))
