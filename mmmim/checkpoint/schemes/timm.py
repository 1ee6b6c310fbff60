"""timm's names, which the original MAE shares: an encoder without a prefix, perhaps a decoder beside it."""

import re
from typing import Iterable, Optional

from . import beit, swin
from .names import StateDict, Translated, head_name

_ENCODER = (
    'cls_token',
    'dist_token',
    'reg_token',
    'pos_embed',
    'patch_embed',
    'norm_pre',
    'blocks',
    'layers',
    'norm',
    'absolute_pos_embed',
    'rel_pos_bias',
    'mask_token',
)  # the last one only without a decoder, to which it would belong
_HEADS = ('head', 'head_dist', 'fc_norm')
# learned in pre-training only; a Swin's table of positions, and its norms after earlier stages
_NOT_IN_TIMM = r'mask_token$|absolute_pos_embed$|norm\d+\.'
_MAE_BLOCK = r'(decoder_)?blocks\.\d+\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.'


def detect(keys: Iterable[str]) -> Optional[str]:
    """``'mmmim'``, ``'mae'``, ``'timm'`` or None."""
    keys = set(keys)
    if any(re.match(r'backbone\.(blocks\.\d|layers\.\d+\.blocks\.|patch_embed\.proj\.)', key) for key in keys):
        return 'mmmim'
    if 'patch_embed.proj.weight' in keys and any(re.match(r'blocks\.|layers\.\d+\.blocks\.', key) for key in keys):
        return 'mae' if any(key.startswith('decoder_') for key in keys) else 'timm'
    return None


def is_decoder(key: str) -> bool:
    """Whether a name of the original MAE belongs to its decoder."""
    return key.startswith('decoder_') or key == 'mask_token'


def to_ours(state: StateDict) -> StateDict:
    """Adds the prefixes ``backbone.`` and ``neck.``."""
    state = beit.current_names(swin.current_names(state))
    has_decoder = any(key.startswith('decoder_') for key in state)
    return {_add_prefix(key, has_decoder): value for key, value in state.items()}


def _add_prefix(key: str, has_decoder: bool) -> str:
    if has_decoder and is_decoder(key):
        return f'neck.{key}'
    return f'backbone.{key}' if key.split('.')[0] in _ENCODER else key


def to_timm(ours: StateDict) -> Translated:
    """An encoder with its classifier: ``(state, left out)``."""
    result, lost = {}, []
    is_swin = swin.is_swin(ours)
    has_tables = is_swin or beit.is_beit(ours)
    for key, value in ours.items():
        name = key.removeprefix('backbone.')
        if name != key:
            if re.match(_NOT_IN_TIMM, name) or ('relative_position' in name and not has_tables):
                lost.append(key)
            else:
                result[name] = value
        elif key.split('.')[0] in _HEADS:
            name = head_name(key)
            result[name.replace('head.', 'head.fc.') if is_swin else name] = value
        else:
            lost.append(key)
    return result, lost


def to_mae(ours: StateDict) -> Translated:
    """The original MAE's pre-training model, or its encoder: ``(state, left out)``."""
    result, lost = {}, []
    outside = ('cls_token', 'pos_embed', 'patch_embed.proj.', 'norm.')
    for key, value in ours.items():
        name = head_name(re.sub(r'^(backbone|neck)\.', '', key))
        known = (
            key.startswith('backbone.')
            and (name.startswith(outside) or re.match(_MAE_BLOCK, name))
            or key.startswith('neck.')
            and is_decoder(name)
            or re.match(r'(fc_norm|head)\.', key)
        )
        if known:
            result[name] = value
        else:
            lost.append(key)
    return result, lost
