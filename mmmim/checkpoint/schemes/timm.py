"""timm's names: an encoder without a prefix, with its classifier."""

import re
from typing import Collection

import torch

from ..read import StateDict
from . import beit, dinov2, swin
from .base import Scheme, Translated
from .names import head_name

ENCODER = {
    *('cls_token', 'dist_token', 'reg_token', 'mask_token', 'pos_embed', 'patch_embed', 'norm_pre', 'blocks', 'layers'),
    *('norm', 'absolute_pos_embed', 'rel_pos_bias'),
}  # the mask token only without a decoder, to which it would belong
HEADS = ('head', 'head_dist', 'fc_norm')
# learned in pre-training only; a Swin's table of positions, and its norms after earlier stages
_NOT_IN_TIMM = r'mask_token$|absolute_pos_embed$|norm\d+\.'


def is_plain(names: Collection[str]) -> bool:
    """Whether an encoder with timm's names stands here without a prefix."""
    return 'patch_embed.proj.weight' in names and any(re.match(r'blocks\.|layers\.\d+\.blocks\.', n) for n in names)


# names of those projects that timm has not
_OTHER_NAMES = re.compile(
    r'register_tokens$|mask_token$|masked_embed$|blocks\.\d+\.(\d+\.|gamma_|attn\.[qkv]_bias$)|layers\.0\.downsample\.|'
    r'.*(relative_position_index|attn_mask)$'
)


def current_names(encoder: StateDict) -> StateDict:
    """timm's names for those of the projects that share most of them: DINOv2, BEiT, Swin."""
    if not any(map(_OTHER_NAMES.match, encoder)):
        return encoder
    return beit.current_names(swin.current_names(dinov2.current_names(encoder)))


class Timm(Scheme):
    """timm's ViT, BEiT and Swin; also DINO's, BEiT's, MoCo v3's and other encoders alone, and fine-tuned ones."""

    name = 'timm'
    can_write = True
    several_class_tokens = True  # further ones become registers

    def recognises(self, names: Collection[str]) -> bool:
        return is_plain(names) and not any(name.startswith('decoder_') for name in names)

    def to_ours(self, state: StateDict) -> StateDict:
        state = current_names(state)
        return {f'backbone.{name}' if name.split('.')[0] in ENCODER else name: v for name, v in state.items()}

    def from_ours(self, ours: StateDict) -> Translated:
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
            elif key.split('.')[0] in HEADS:
                name = head_name(key)
                result[name.replace('head.', 'head.fc.') if is_swin else name] = value
            else:
                lost.append(key)
        return one_class_token(result), lost


def one_class_token(encoder: StateDict) -> StateDict:
    """timm's ViT has one class token: further ones, which are computed in the same way, become register tokens."""
    tokens = encoder.get('cls_token')
    if tokens is None or tokens.ndim != 3 or tokens.shape[1] < 2:
        return encoder
    registers = [tokens[:, 1:], *([encoder['reg_token']] if 'reg_token' in encoder else [])]
    return {**encoder, 'cls_token': tokens[:, :1].clone(), 'reg_token': torch.cat(registers, dim=1)}
