"""Our own names: the encoder under ``backbone.``, in timm's names; a decoder under ``neck.``."""

import re
from typing import Collection

from ..read import StateDict
from .base import Scheme, Translated
from .timm import HEADS, current_names

_ENCODER = re.compile(r'backbone\.(blocks\.\d|layers\.\d+\.blocks\.|patch_embed\.proj\.)')
_HEADS = {*HEADS, 'attn_pool', 'fc', 'classifier'}
_CONV_VIT = re.compile(r'patch_embed\.stages\.\d')  # only ours, also without a prefix


class Ours(Scheme):
    """Whole models of this project, and of others that have timm's names under ``backbone.`` (DINO, iBOT, DINOv2)."""

    name = 'mmmim'
    can_write = True
    several_class_tokens = True
    wrapper = 'state_dict'
    beside = r'(generator|discriminator)_backbone(\.|$)'  # the other of two players' encoders (GAN-MAE)

    def recognises(self, names: Collection[str]) -> bool:
        return any(_ENCODER.match(name) or _CONV_VIT.match(name) for name in names)

    def to_ours(self, state: StateDict) -> StateDict:
        if any(map(_CONV_VIT.match, state)):
            return {f'backbone.{name}': value for name, value in state.items()}
        inner = {name[len('backbone.') :]: value for name, value in state.items() if name.startswith('backbone.')}
        heads = {name: value for name, value in inner.items() if name.split('.')[0] in _HEADS}  # a model of timm inside
        encoder = current_names({name: value for name, value in inner.items() if name not in heads})
        others = {name: value for name, value in state.items() if not name.startswith('backbone.')}
        return {**{f'backbone.{name}': value for name, value in encoder.items()}, **heads, **others}

    def from_ours(self, ours: StateDict) -> Translated:
        return ours, []
