"""DINOv2's ViT: timm's names, but for register tokens, blocks in chunks, and a mask token of one axis less."""

import re

from ..read import StateDict


def current_names(encoder: StateDict) -> StateDict:
    """timm's names, from an encoder without a prefix; other encoders are unchanged.

    ``register_tokens`` is timm's ``reg_token``. Training checkpoints have blocks in chunks that keep the numbers of the
    whole, ``blocks.CHUNK.N.``.
    """
    chunked = any(re.match(r'blocks\.\d+\.\d+\.', name) for name in encoder)
    if not chunked and 'register_tokens' not in encoder and 'mask_token' not in encoder:
        return encoder
    result = {}
    for name, value in encoder.items():
        name = re.sub(r'^blocks\.\d+\.(?=\d+\.)', 'blocks.', name) if chunked else name
        if name == 'mask_token' and value.ndim == 2:  # [1, D]
            value = value[None]
        result['reg_token' if name == 'register_tokens' else name] = value
    return result
