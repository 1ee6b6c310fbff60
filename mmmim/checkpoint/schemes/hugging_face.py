"""Hugging Face's ViT and ViTMAE, in the names of transformers 4.x."""

import re
from typing import Dict, Iterable, Optional

import torch

from .names import Renaming, StateDict, Translated, head_name, is_classifier, is_other_head

_QKV = ('query', 'key', 'value')
_BLOCK = (
    ('norm1', 'layernorm_before'),
    ('norm2', 'layernorm_after'),
    ('attn.proj', 'attention.output.dense'),
    ('mlp.fc1', 'intermediate.dense'),
    ('mlp.fc2', 'output.dense'),
    ('attn.qkv', 'attention.attention.qkv'),
)
_TABLE = Renaming(
    [
        *((f'backbone.blocks.#.{ours}', f'encoder.layer.#.{theirs}') for ours, theirs in _BLOCK),
        *((f'neck.decoder_blocks.#.{ours}', f'decoder.decoder_layers.#.{theirs}') for ours, theirs in _BLOCK),
        ('backbone.cls_token', 'embeddings.cls_token'),
        ('backbone.pos_embed', 'embeddings.position_embeddings'),
        ('backbone.mask_token', 'embeddings.mask_token'),
        ('backbone.patch_embed.proj', 'embeddings.patch_embeddings.projection'),
        ('backbone.norm', 'layernorm'),
        ('neck.mask_token', 'decoder.mask_token'),
        *((f'neck.decoder_{name}', f'decoder.decoder_{name}') for name in ('pos_embed', 'embed', 'norm', 'pred')),
        ('neck.decoder.0', 'decoder.0'),  # ViTForMaskedImageModeling: SimMIM's decoder
        ('head', 'classifier'),
        ('pooler', 'pooler'),
    ]
)


def detect(keys: Iterable[str]) -> Optional[str]:
    """``'hf'`` or None."""
    return 'hf' if any(re.match(r'(vit\.)?encoder\.layer\.0\.layernorm_before\.', key) for key in keys) else None


def to_ours(state: StateDict) -> StateDict:
    """Joins queries, keys and values, in this order. Empties ``state``, to free each tensor once it is joined.

    Raises:
        ValueError: One of the three is missing.
    """
    result: StateDict = {}
    parts: Dict[str, StateDict] = {}
    for key in list(state):
        value, key = state.pop(key), key.removeprefix('vit.')
        part = re.fullmatch(r'(.*attention\.attention)\.(query|key|value)\.(weight|bias)', key)
        if part:
            key = f'{part[1]}.qkv.{part[3]}'
        name = _TABLE.to_ours(key) or key
        if part:
            parts.setdefault(name, {})[part[2]] = value
            if len(parts[name]) < len(_QKV):
                continue
            tensors = parts.pop(name)
            value = torch.cat([tensors[part] for part in _QKV])  # [3 * D, D] or [3 * D]
            del tensors
        result[name] = value
    for name, tensors in parts.items():
        raise ValueError(
            f'For {name.split(".", 1)[1]} the file must hold query, key and value, but has only {sorted(tensors)}.'
        )
    return result


def from_ours(ours: StateDict) -> Translated:
    """Splits the joint projection: ``(state, left out)``. The encoder is under ``vit.`` if something is beside it."""
    result, lost = {}, []
    has_mae_decoder = any(key.startswith('neck.decoder_') for key in ours)
    beside = any(key.startswith('neck.decoder') or is_classifier(key) for key in ours)
    for key, value in ours.items():
        name = None if is_other_head(key) else _TABLE.from_ours(head_name(key))
        if not name or (has_mae_decoder and key == 'backbone.mask_token'):  # ViTMAE's encoder has none
            lost.append(key)
            continue
        if beside and not name.startswith(('decoder.', 'classifier.')):
            name = f'vit.{name}'
        if '.qkv.' in name:
            for part, tensor in zip(_QKV, value.chunk(3)):  # clones: each view would be saved with all three
                result[name.replace('.qkv.', f'.{part}.')] = tensor.clone()
        else:
            result[name] = value
    return result, lost
