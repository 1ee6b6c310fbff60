"""The SimMIM authors' pre-training files: a ViT or Swin under ``encoder.``, one convolution as the decoder."""

import re
from typing import Collection

from ..read import StateDict
from . import timm
from .base import Scheme


class SimMIM(Scheme):
    """SimMIM's pre-training model; the decoder goes to ``neck.decoder``, as in mmpretrain."""

    name = 'simmim'

    def recognises(self, names: Collection[str]) -> bool:
        encoder = {name.removeprefix('encoder.') for name in names if name.startswith('encoder.')}
        return timm.is_plain(encoder) and any(re.match(r'decoder\.0\.(weight|bias)$', name) for name in names)

    def to_ours(self, state: StateDict) -> StateDict:
        encoder = {name.removeprefix('encoder.'): v for name, v in state.items() if name.startswith('encoder.')}
        rest = {name: value for name, value in state.items() if not name.startswith('encoder.')}
        decoder = {f'neck.{name}' if name.startswith('decoder.') else name: value for name, value in rest.items()}
        return {**timm.Timm().to_ours(encoder), **decoder}
