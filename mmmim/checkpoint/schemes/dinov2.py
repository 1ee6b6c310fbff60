"""DINOv2's ViT: timm's names, but for register tokens, blocks in chunks, and a mask token of one axis less."""

import re

from ..read import StateDict


def current_names(encoder: StateDict) -> StateDict:
    """timm's names, from an encoder without a prefix; other encoders are unchanged.

    ``register_tokens`` is timm's ``reg_token``. Training checkpoints have blocks in chunks that keep the numbers of the
    whole, ``blocks.CHUNK.N.``. iBOT calls its mask token ``masked_embed``.
    """
    chunked = any(re.match(r'blocks\.\d+\.\d+\.', name) for name in encoder)
    if not chunked and not {'register_tokens', 'mask_token', 'masked_embed'} & encoder.keys():
        return encoder
    result = {}
    for name, value in encoder.items():
        name = re.sub(r'^blocks\.\d+\.(?=\d+\.)', 'blocks.', name) if chunked else name
        name = {'register_tokens': 'reg_token', 'masked_embed': 'mask_token'}.get(name, name)
        result[name] = value[None] if name == 'mask_token' and value.ndim == 2 else value  # [1, D]
    return result
