"""BEiT's and SimMIM's ViTs: biases for queries and values only, a layer scale, relative positions.

Without relative positions they compute the same as timm's VisionTransformer, and get its names. With them they equal
timm's ``Beit``: ``attn.q_bias``, ``gamma_1`` and the tables keep the names that BEiT, SimMIM, mmpretrain and timm agree
on. Pre-training has one table for all blocks (``rel_pos_bias``), fine-tuning one for each.
"""

import math
import re
from typing import Collection, List, Optional, Tuple

import torch
from timm.layers import resize_rel_pos_bias_table
from torch import Tensor

from ..read import StateDict

TABLE = 'relative_position_bias_table'
SHARED = f'rel_pos_bias.{TABLE}'


def current_names(state: StateDict) -> StateDict:
    """Names of timm's VisionTransformer or ``Beit`` for those of BEiT's and SimMIM's blocks; others are unchanged.

    Dropped are index buffers, which follow from the size of a table, and timm's zero bias of the keys.
    """
    state = {key: value for key, value in state.items() if not key.endswith(('relative_position_index', 'attn.k_bias'))}
    return state if any(key.endswith(TABLE) for key in state) else _merge(state)


def _merge(state: StateDict) -> StateDict:
    result = {}
    for key, value in state.items():
        match = re.fullmatch(r'(.*\bblocks\.\d+)\.(gamma_([12])|attn\.([qv])_bias)', key)
        if match is None:
            result[key] = value
        elif match[3]:
            result[f'{match[1]}.ls{match[3]}.gamma'] = value
        elif match[4] == 'q':
            other = state.get(f'{match[1]}.attn.v_bias')
            if other is None:
                raise ValueError(
                    f'For {match[1]}.attn.qkv.bias the file must hold q_bias and v_bias, but has only the first.'
                )
            result[f'{match[1]}.attn.qkv.bias'] = torch.cat([value, torch.zeros_like(value), other])
    return result


def separate(encoder: StateDict, wanted: StateDict) -> None:
    """The inverse of what :func:`current_names` merges, in place, for a module with names of ``Beit`` and a position
    table: layer scales and the biases of queries and values. A bias of the keys goes: it adds the same to all logits of
    a query."""
    for key in list(encoder) if 'pos_embed' in wanted else []:
        match = re.fullmatch(r'(blocks\.\d+)\.(ls([12])\.gamma|attn\.qkv\.bias)', key)
        if match is None or key in wanted or f'{match[1]}.attn.q_bias' not in wanted:
            continue
        value = encoder.pop(key)
        if match[3]:
            encoder[f'{match[1]}.gamma_{match[3]}'] = value
        else:
            encoder[f'{match[1]}.attn.q_bias'], _, encoder[f'{match[1]}.attn.v_bias'] = value.chunk(3)


def is_beit(keys: Collection[str]) -> bool:
    """Whether an encoder's names, with or without a prefix, are those of timm's ``Beit`` with relative positions.

    Our dense ViTs have tables, too, but one joint bias of queries, keys and values.
    """
    tables = re.compile(rf'(backbone\.)?(blocks\.\d+\.attn|rel_pos_bias)\.{TABLE}$')
    return any(map(tables.match, keys)) and not any(key.endswith('blocks.0.attn.qkv.bias') for key in keys)


def table_grid(table: Tensor) -> Optional[Tuple[int, int]]:
    """(h, w) of the square map of a table with three rows for the class token; None if it is not square."""
    side = math.isqrt(max(len(table) - 3, 0))
    return ((side + 1) // 2,) * 2 if side % 2 and side**2 + 3 == len(table) else None


def fit_tables(encoder: StateDict, wanted: StateDict, grid: Tuple[int, int]) -> List[str]:
    """Fits a file's tables of relative positions to a module, in place.

    A table that all blocks share becomes one for each block where the module has those, as BEiT and SimMIM start
    fine-tuning. Tables for another square map are resized as in BEiT: between offsets that grow geometrically.

    Args:
        encoder: The file's state dict, without prefix.
        wanted: The module's state dict.
        grid: (h, w) patches of the module's images.

    Returns:
        Notes on what was done.
    """
    notes, own = [], [key for key in wanted if key.endswith(f'attn.{TABLE}')]
    if SHARED in encoder and SHARED not in wanted and own and not any(key in encoder for key in own):
        table = encoder.pop(SHARED)
        encoder.update({key: table.clone() for key in own})
        notes.append(f'The table of relative positions that all blocks share was copied to each of {len(own)} blocks.')
    resized = [
        key
        for key in (*own, SHARED)
        if key in encoder
        and key in wanted
        and encoder[key].shape[0] != wanted[key].shape[0]
        and encoder[key].shape[1:] == wanted[key].shape[1:]
        and table_grid(encoder[key])
    ]
    for key in resized:
        table = encoder[key]
        encoder[key] = resize_rel_pos_bias_table(table.float(), grid, wanted[key].shape).to(table.dtype)
    if resized:
        side = table_grid(table)
        assert side is not None  # only square ones are resized
        notes.append(
            f'{len(resized)} tables of relative positions were resized from {side[0]} x {side[1]} to '
            f'{grid[0]} x {grid[1]} patches.'
        )
    return notes
