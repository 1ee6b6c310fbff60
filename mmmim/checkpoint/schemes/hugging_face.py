"""transformers' ViT, ViTMAE, DINOv2, I-JEPA and Pixio, of versions 4 and 5."""

import re
from typing import Collection, Dict, Optional, Tuple

import torch
from torch import Tensor

from ...positions import sincos_positions
from ..read import StateDict
from .base import Scheme, Translated
from .names import Renaming, head_name, is_classifier, is_other_head

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
# DINOv2's and Pixio's, which are read and not written
_DINOV2 = Renaming(
    [
        *((f'backbone.blocks.#.norm{n}', f'encoder.layer.#.norm{n}') for n in (1, 2)),
        *((f'backbone.blocks.#.ls{n}.gamma', f'encoder.layer.#.layer_scale{n}.lambda1') for n in (1, 2)),
        ('backbone.reg_token', 'embeddings.register_tokens'),
    ]
)
_OUTER = re.compile(r'(vit|dinov2\w*|ijepa|pixio)\.')
# Version 5 renames a model in memory (torch.save of its state dict) and, from 5.16 on, a decoder in saved files.
_VERSION_5 = (
    (r'^layers\.', 'encoder.layer.'),
    (r'^decoder\.decoder_encoder\.layer\.', 'decoder.decoder_layers.'),
    (r'\.attention\.q_proj\.', '.attention.attention.query.'),
    (r'\.attention\.k_proj\.', '.attention.attention.key.'),
    (r'\.attention\.v_proj\.', '.attention.attention.value.'),
    (r'\.attention\.o_proj\.', '.attention.output.dense.'),
    (r'\.mlp\.fc1\.', '.intermediate.dense.'),
    (r'\.mlp\.fc2\.', '.output.dense.'),
)


def _version_4(name: str) -> str:
    """The name in files of version 4, without the model's own prefix."""
    name = _OUTER.sub('', name, count=1) if _OUTER.match(name) else name
    for newer, older in _VERSION_5:
        name = re.sub(newer, older, name)
    return name


class HuggingFace(Scheme):
    """transformers' ViT and ViTMAE, read and written; DINOv2, I-JEPA and Pixio, read."""

    name = 'hf'
    can_write = True

    def recognises(self, names: Collection[str]) -> bool:
        bare = {_OUTER.sub('', name, count=1) if _OUTER.match(name) else name for name in names}
        block = r'(encoder\.layer|layers)\.0\.(layernorm_before|norm1)\.'
        return 'embeddings.patch_embeddings.projection.weight' in bare and any(re.match(block, n) for n in bare)

    def absent_positions(
        self, names: Collection[str], width: int, grid: Tuple[int, int], prefix: int
    ) -> Optional[Tensor]:
        is_mae = any(name.startswith('neck.decoder_') for name in names)
        return sincos_positions(width, grid, prefix) if is_mae else None

    def to_ours(self, state: StateDict) -> StateDict:
        """Joins queries, keys and values, in this order. Empties ``state``, to free each tensor once it is joined.

        Raises:
            ValueError: One of the three is missing.
        """
        if any(name.endswith('.lambda_1') for name in state):
            raise ValueError("BEiT in transformers' names is not read: take the file of its authors, or timm's.")
        result: StateDict = {}
        parts: Dict[str, StateDict] = {}
        for key in list(state):
            value, key = state.pop(key), _version_4(key)
            part = re.fullmatch(r'(.*attention\.attention)\.(query|key|value)\.(weight|bias)', key)
            if part:
                key = f'{part[1]}.qkv.{part[3]}'
            name = _TABLE.to_ours(key) or _DINOV2.to_ours(key) or key
            if part:
                parts.setdefault(name, {})[part[2]] = value
                if len(parts[name]) < len(_QKV):
                    continue
                tensors = parts.pop(name)
                value = torch.cat([tensors[part] for part in _QKV])  # [3 * D, D] or [3 * D]
                del tensors
            result[name] = value[None] if name == 'backbone.mask_token' and value.ndim == 2 else value
        for name, tensors in parts.items():
            raise ValueError(
                f'For {name.split(".", 1)[1]} the file must hold query, key and value, but has only {sorted(tensors)}.'
            )
        return result

    def from_ours(self, ours: StateDict) -> Translated:
        """Splits the joint projection. The encoder is under ``vit.`` if something is beside it."""
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
