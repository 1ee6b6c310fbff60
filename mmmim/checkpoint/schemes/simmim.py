"""The SimMIM authors' pre-training files: a ViT or Swin under ``encoder.``, one convolution as the decoder."""

import re
from typing import Iterable, Optional

from . import timm
from .names import StateDict


def detect(keys: Iterable[str]) -> Optional[str]:
    """``'simmim'`` or None."""
    pattern = r'encoder\.(blocks\.\d+\.|layers\.\d+\.blocks\.\d+\.|patch_embed\.proj\.)'
    return 'simmim' if any(re.match(pattern, key) for key in keys) else None


def to_ours(state: StateDict) -> StateDict:
    """The decoder goes to ``neck.decoder``, as in mmpretrain."""
    encoder = {key.removeprefix('encoder.'): value for key, value in state.items() if key.startswith('encoder.')}
    rest = {
        f'neck.{key}' if key.startswith('decoder.') else key: value
        for key, value in state.items()
        if not key.startswith('encoder.')
    }
    return {**timm.to_ours(encoder), **rest}
