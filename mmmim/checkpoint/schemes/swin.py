"""Swin Transformer: timm's names, the authors' (also SimMIM's), and mmpretrain's.

Ours are timm's under ``backbone.``. The others differ in three ways: patch merging belongs to the stage before it
instead of the stage after it; mmpretrain merges the four pixels in the order (C, row, column), timm and the authors in
(column, row, C); and index buffers, which follow from the window size, are saved.
"""

import re
from typing import Iterable, List

import torch
from torch import Tensor

from ..read import StateDict
from .base import Translated
from .names import HEADS, Renaming, is_other_head

_BLOCK = (
    ('norm1', 'norm1'),
    ('norm2', 'norm2'),
    ('attn', 'attn.w_msa'),
    ('mlp.fc1', 'ffn.layers.0.0'),
    ('mlp.fc2', 'ffn.layers.1'),
)
_TABLE = Renaming(
    [
        *((f'backbone.layers.#.blocks.#.{ours}', f'backbone.stages.#.blocks.#.{theirs}') for ours, theirs in _BLOCK),
        ('backbone.patch_embed.proj', 'backbone.patch_embed.projection'),
        *(
            (f'backbone.{name}', f'backbone.{name}')
            for name in ('patch_embed.norm', 'mask_token', 'absolute_pos_embed')
        ),
        ('backbone.norm#', 'backbone.norm#'),
        ('neck.decoder.0', 'neck.decoder.0'),
        *HEADS,
    ]
)
_DOWNSAMPLE = r'(.*)\b{}\.(\d+)\.downsample\.(.+)'
_BUFFERS = ('relative_position_index', 'attn_mask')


def is_swin(ours: Iterable[str]) -> bool:
    """Whether the encoder of a state dict in our names is a Swin."""
    return any(re.match(r'backbone\.layers\.\d+\.blocks\.', key) for key in ours)


def is_mmpretrain(key: str) -> bool:
    """Whether a name is one of mmpretrain's Swin (the first version; the second has no table)."""
    return bool(re.match(r'(backbone\.)?stages\.\d+\.blocks\.\d+\.attn\.w_msa\.relative_position_bias_table$', key))


def current_names(state: StateDict) -> StateDict:
    """timm's current names for a Swin of the authors or an older timm, without a prefix; others are unchanged."""
    if 'layers.0.downsample.reduction.weight' not in state:  # timm's first stage has none
        return state
    return {_move(key, 'layers', 'layers', 1): value for key, value in state.items() if not key.endswith(_BUFFERS)}


def from_mmpretrain(state: StateDict) -> StateDict:
    """Our names, from a state dict with the encoder under ``backbone.``."""
    last = max(int(match[1]) for match in (re.match(r'backbone\.stages\.(\d+)\.', key) for key in state) if match)
    result = {}
    for key, value in state.items():
        if key.endswith(_BUFFERS):
            continue
        if '.downsample.' in key:
            result[_move(key, 'stages', 'layers', 1)] = _reorder(value)
            continue
        name = re.sub(rf'^backbone\.norm{last}\.', 'backbone.norm.', key)
        result[_TABLE.to_ours(name) or name] = value
    return result


def to_mmpretrain(ours: StateDict) -> Translated:
    """``(state, left out)``: mmpretrain's Swin, with the index buffers that it saves."""
    last = max(int(match[1]) for match in (re.match(r'backbone\.layers\.(\d+)\.', key) for key in ours) if match)
    result: StateDict = {}
    lost: List[str] = []
    for key, value in ours.items():
        if '.downsample.' in key:
            result[_move(key, 'layers', 'stages', -1)] = _reorder(value, back=True)
            continue
        numbered = re.sub(r'^backbone\.norm\.', f'backbone.norm{last}.', key)
        name = None if is_other_head(key) else _TABLE.from_ours(numbered)
        if name is None:
            lost.append(key)
            continue
        result[name] = value
        if key.endswith('relative_position_bias_table'):
            index = name.replace('_bias_table', '_index')
            result[index] = relative_position_index(round((len(value) ** 0.5 + 1) / 2))
    return result, lost


def relative_position_index(window: int) -> Tensor:
    """Row of the bias table for each pair of positions in a square window, ``[window**2, window**2]``."""
    steps = torch.arange(window)
    rows, columns = (part.flatten() for part in torch.meshgrid(steps, steps, indexing='ij'))
    down = rows[:, None] - rows[None] + window - 1
    across = columns[:, None] - columns[None] + window - 1
    return down * (2 * window - 1) + across


def _move(key: str, old: str, new: str, step: int) -> str:
    match = re.fullmatch(_DOWNSAMPLE.format(old), key)
    return f'{match[1]}{new}.{int(match[2]) + step}.downsample.{match[3]}' if match else key


def _reorder(value: Tensor, back: bool = False) -> Tensor:
    """The last axis (4 * C) of patch merging from (C, row, column) to (column, row, C), or back."""
    shape = (-1, 2, 2) if not back else (2, 2, -1)
    parts = value.reshape(*value.shape[:-1], *shape)
    return parts.movedim((-3, -2, -1), (-1, -2, -3)).flatten(-3).contiguous()
