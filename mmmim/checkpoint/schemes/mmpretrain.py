"""mmpretrain's MAE, VisionTransformer, BEiT, and the authors' CMAE, which builds on them.

BEiT without relative positions is written back as a VisionTransformer, which computes the same: our names do not
distinguish them. With relative positions it is read as timm's ``Beit``, and cannot be written.
"""

import re
from typing import Collection, List, Optional, Tuple

from . import beit, swin
from .names import HEADS, Renaming, StateDict, Translated, is_other_head

_BLOCK = (
    ('norm1', 'ln1'),
    ('norm2', 'ln2'),
    ('mlp.fc1', 'ffn.layers.0.0'),
    ('mlp.fc2', 'ffn.layers.1'),
    ('ls1.gamma', 'attn.gamma1.weight'),
    ('ls2.gamma', 'ffn.gamma2.weight'),
    ('attn.qkv', 'attn.qkv'),
    ('attn.proj', 'attn.proj'),
)
_BEIT_BLOCK = (('gamma_1', 'gamma_1'), ('gamma_2', 'gamma_2'), ('attn', 'attn'))  # beit.current_names does the rest


def _encoder(part: str) -> List[Tuple[str, str]]:
    return [
        *((f'{part}.blocks.#.{ours}', f'{part}.layers.#.{theirs}') for ours, theirs in _BLOCK),
        (f'{part}.patch_embed.proj', f'{part}.patch_embed.projection'),
        (f'{part}.norm_pre', f'{part}.pre_norm'),
        (f'{part}.norm', f'{part}.ln1'),
        *((f'{part}.{name}', f'{part}.{name}') for name in ('cls_token', 'pos_embed', 'mask_token')),
    ]


def _decoder(ours: str, theirs: str) -> List[Tuple[str, str]]:
    names = ('mask_token', 'decoder_pos_embed', 'decoder_embed', 'decoder_pred')
    return [
        *((f'{ours}.decoder_blocks.#.{a}', f'{theirs}.decoder_blocks.#.{b}') for a, b in _BLOCK),
        (f'{ours}.decoder_norm', f'{theirs}.ln1'),
        *((f'{ours}.{name}', f'{theirs}.{name}') for name in names),
    ]


_TABLE = Renaming(
    [
        *_encoder('backbone'),
        ('fc_norm', 'backbone.ln2'),
        *_decoder('neck', 'neck'),
        ('neck.decoder.0', 'neck.decoder.0'),
        *HEADS,
    ]
)
_CMAE = Renaming(
    [
        *_encoder('backbone'),
        *_encoder('target_backbone'),
        *_decoder('neck', 'pixel_decoder'),
        *_decoder('feature_decoder', 'feature_decoder'),
        ('projector', 'projector'),
        ('target_projector', 'target_projector'),
        ('predictor', 'head.predictor'),
    ]
)
_BEIT = Renaming([(f'backbone.blocks.#.{ours}', f'backbone.layers.#.{theirs}') for ours, theirs in _BEIT_BLOCK])


def detect(keys: Collection[str]) -> Optional[str]:
    """``'mmpretrain'``, ``'cmae'`` or None."""
    if not any(re.match(r'(backbone\.)?layers\.\d+\.ln1\.', key) or swin.is_mmpretrain(key) for key in keys):
        return None
    return 'cmae' if any(key.startswith(('pixel_decoder.', 'feature_decoder.')) for key in keys) else 'mmpretrain'


def to_ours(state: StateDict) -> StateDict:
    """Our names, from a whole model or from a backbone without a prefix."""
    if not any(key.startswith('backbone.') for key in state):
        state = {f'backbone.{key}': value for key, value in state.items()}
    if any(map(swin.is_mmpretrain, state)):
        return swin.from_mmpretrain(state)
    table = _CMAE if detect(state) == 'cmae' else _TABLE
    renamed = {}
    for key, value in state.items():
        renamed[table.to_ours(key) or _BEIT.to_ours(key) or key] = value
    return beit.current_names(renamed)


def from_ours(ours: StateDict) -> Translated:
    """``(state, left out)``: encoder under ``backbone.``, MAE's decoder under ``neck.``, classifier in ``head.fc``."""
    if swin.is_swin(ours):
        return swin.to_mmpretrain(ours)
    return _write(ours, _TABLE)


def to_cmae(ours: StateDict) -> Translated:
    """``(state, left out)`` in the names of the authors' CMAE."""
    return _write(ours, _CMAE)


def _write(ours: StateDict, table: Renaming) -> Translated:
    result, lost = {}, []
    for key, value in ours.items():
        # mmpretrain's names have only a linear classifier as head
        name = None if is_other_head(key) else table.from_ours(key)
        if name is None:
            lost.append(key)
        else:
            result[name] = value
    return result, lost
