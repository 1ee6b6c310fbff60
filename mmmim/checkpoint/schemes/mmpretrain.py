"""mmpretrain's MAE, VisionTransformer, BEiT and Swin, and the authors' CMAE, which builds on them."""

import re
from typing import Collection, List, Optional, Tuple

from torch import Tensor

from ...positions import sincos_positions
from ..read import StateDict
from . import beit, swin
from .base import Scheme, Translated
from .names import HEADS, Renaming, is_other_head

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


class MMPretrain(Scheme):
    """mmpretrain's MAE, VisionTransformer, BEiT and Swin: whole models, or a backbone without a prefix.

    BEiT without relative positions is written back as a VisionTransformer, which computes the same: our names do not
    distinguish them. With relative positions it is read as timm's ``Beit``, and cannot be written.
    """

    name = 'mmpretrain'
    can_write = True
    wrapper = 'state_dict'
    table = _TABLE

    def recognises(self, names: Collection[str]) -> bool:
        encoder = any(re.match(r'(backbone\.)?layers\.\d+\.ln1\.', n) or swin.is_mmpretrain(n) for n in names)
        return encoder and not _is_cmae(names)

    def absent_positions(
        self, names: Collection[str], width: int, grid: Tuple[int, int], prefix: int
    ) -> Optional[Tensor]:
        """MAE's: rows in the first half of the channels, columns in the second, the other way round than elsewhere."""
        is_mae = any(name.startswith('neck.decoder_') for name in names)
        return sincos_positions(width, grid, prefix).roll(width // 2, -1) if is_mae else None

    def to_ours(self, state: StateDict) -> StateDict:
        if not any(name.startswith('backbone.') for name in state):
            state = {f'backbone.{name}': value for name, value in state.items()}
        if any(map(swin.is_mmpretrain, state)):
            return swin.from_mmpretrain(state)
        renamed = {self.table.to_ours(name) or _BEIT.to_ours(name) or name: value for name, value in state.items()}
        return beit.current_names(renamed)

    def from_ours(self, ours: StateDict) -> Translated:
        """Encoder under ``backbone.``, MAE's decoder under ``neck.``, classifier in ``head.fc``."""
        return swin.to_mmpretrain(ours) if swin.is_swin(ours) else _write(ours, self.table)


class CMAE(MMPretrain):
    """The authors' CMAE, which builds on mmpretrain's MAE."""

    name = 'cmae'
    table = _CMAE

    def recognises(self, names: Collection[str]) -> bool:
        return _is_cmae(names)

    def from_ours(self, ours: StateDict) -> Translated:
        return _write(ours, self.table)


def _is_cmae(names: Collection[str]) -> bool:
    decoder = any(name.startswith(('pixel_decoder.', 'feature_decoder.')) for name in names)
    return decoder and any(re.match(r'(backbone\.)?layers\.\d+\.ln1\.', name) for name in names)


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
