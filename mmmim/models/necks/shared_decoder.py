"""A decoder that shares its transformer with another one."""

from typing import Optional

from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from ..layers.blocks import LayerNorm
from ..masking import PatchMask
from .mae_decoder import MAEDecoder


@MODELS.register_module()
class SharedDecoder(BaseModule):
    """The first blocks of the pixel decoder, with a norm and an output layer of its own (CMAE, Table 4c).

    The paper does not say what is shared when the pixel decoder has more blocks than the feature decoder. Both
    readings are configs: ``num_blocks=2`` of a pixel decoder with 8 (the first n), or with 2 (the same depth).

    Args:
        decoder: The pixel decoder (filled in by the algorithm). It is not registered here a second time.
        out_dim: Width of what goes out (filled in by the algorithm).
        num_blocks: How many of its blocks; None: all.
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
