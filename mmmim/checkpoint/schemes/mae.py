"""The original MAE: timm's names for the encoder, the decoder beside it."""

import re
from typing import Collection, Optional, Tuple

from torch import Tensor

from ...positions import sincos_positions
from ..read import StateDict
from . import timm
from .base import Scheme, Translated
from .names import head_name

_BLOCK = r'(decoder_)?blocks\.\d+\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.'
_OUTSIDE = ('cls_token', 'pos_embed', 'patch_embed.proj.', 'norm.')


def _is_decoder(name: str) -> bool:
    return name.startswith('decoder_') or name == 'mask_token'


class MAE(Scheme):
    """A pre-training model of the original MAE, or of Pixio; their encoders alone have timm's names."""

    name = 'mae'
    can_write = True
    several_class_tokens = True  # Pixio's code; the original MAE's has one
    wrapper = 'model'

    def recognises(self, names: Collection[str]) -> bool:
        return timm.is_plain(names) and any(name.startswith('decoder_') for name in names)

    def absent_positions(
        self, names: Collection[str], width: int, grid: Tuple[int, int], prefix: int
    ) -> Optional[Tensor]:
        return sincos_positions(width, grid, prefix)

    def to_ours(self, state: StateDict) -> StateDict:
        state, decoder = timm.current_names(state), {f'neck.{n}': v for n, v in state.items() if _is_decoder(n)}
        rest = {n: v for n, v in state.items() if not _is_decoder(n)}
        return {**{f'backbone.{n}' if n.split('.')[0] in timm.ENCODER else n: v for n, v in rest.items()}, **decoder}

    def from_ours(self, ours: StateDict) -> Translated:
        result, lost = {}, []
        for key, value in ours.items():
            name = head_name(re.sub(r'^(backbone|neck)\.', '', key))
            known = (
                key.startswith('backbone.')
                and (name.startswith(_OUTSIDE) or re.match(_BLOCK, name))
                or key.startswith('neck.')
                and _is_decoder(name)
                or re.match(r'(fc_norm|head)\.', key)
            )
            if known:
                result[name] = value
            else:
                lost.append(key)
        return result, lost
