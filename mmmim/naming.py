"""Names of parameters: ours, the original MAE's, timm's and Hugging Face's.

    scheme       encoder                                    decoder
    mmmim        backbone.blocks.N.attn.qkv.weight          neck.decoder_blocks.N.attn.qkv.weight
    mae          blocks.N.attn.qkv.weight                   decoder_blocks.N.attn.qkv.weight
    timm         blocks.N.attn.qkv.weight                   none
    hf_vit_mae   vit.encoder.layer.N.attention.attention.   decoder.decoder_layers.N.attention.attention.
                 {query, key, value}.weight                 {query, key, value}.weight

Translation renames, concatenates q, k, v in this order or splits them; values are never computed. Position tables are
copied: sine-cosine tables of different codes differ in the order of their halves.
"""
import re
from collections import Counter

import torch

SCHEMES = ('mmmim', 'mae', 'timm', 'hf_vit_mae')
ENCODER_NAMES = ('cls_token', 'dist_token', 'reg_token', 'pos_embed', 'patch_embed', 'norm_pre', 'blocks', 'norm',
                 'mask_token')  # the last one only where there is no decoder that it belongs to
HEAD_NAMES = ('head', 'head_dist', 'fc_norm', 'classifier', 'pooler')  # of fine-tuned models; travel along unchanged

# Hugging Face's name -> timm's, inside a block
_HF_BLOCK = {'layernorm_before': 'norm1', 'layernorm_after': 'norm2', 'attention.output.dense': 'attn.proj',
             'intermediate.dense': 'mlp.fc1', 'output.dense': 'mlp.fc2'}
# and outside of the blocks
_HF_REST = {'embeddings.cls_token': 'cls_token', 'embeddings.position_embeddings': 'pos_embed',
            'embeddings.patch_embeddings.projection': 'patch_embed.proj', 'layernorm': 'norm',
            'decoder.mask_token': 'mask_token', 'decoder.decoder_pos_embed': 'decoder_pos_embed',
            'decoder.decoder_embed': 'decoder_embed', 'decoder.decoder_norm': 'decoder_norm',
            'decoder.decoder_pred': 'decoder_pred'}
_HF_STACKS = {'encoder.layer': 'blocks', 'decoder.decoder_layers': 'decoder_blocks'}
_QKV = ('query', 'key', 'value')


def unwrap(checkpoint) -> dict:
    """Returns the state dict inside ``checkpoint``: under ``state_dict`` or ``model``, without ``module.`` prefixes.

    Raises:
        ValueError: There is no dictionary of tensors.
    """
    state = checkpoint
    for key in ('state_dict', 'model'):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict):
        raise ValueError(f'A checkpoint is a dictionary of tensors, but this one is a {type(state).__name__}.')
    state = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
    if state and all(key.startswith('module.') for key in state):  # saved from inside a DistributedDataParallel
        state = {key[len('module.'):]: value for key, value in state.items()}
    if not state:
        raise ValueError('The checkpoint holds no named tensors.')
    return state


def detect_scheme(state_dict):
    """Tells whose names a state dict uses.

    Returns:
        ``'mmmim'``, ``'mae'`` (has a decoder), ``'timm'`` (an encoder only; MAE's own encoder files have the same
        names), ``'hf_vit_mae'`` or None.
    """
    keys = set(unwrap(state_dict))
    if any(re.match(r'backbone\.(blocks\.\d|patch_embed\.proj\.)', key) for key in keys):
        return 'mmmim'
    if any(re.match(r'(vit\.)?encoder\.layer\.0\.layernorm_before\.', key) for key in keys):
        return 'hf_vit_mae'
    if 'patch_embed.proj.weight' in keys and any(key.startswith('blocks.') for key in keys):
        return 'mae' if any(key.startswith('decoder_') for key in keys) else 'timm'
    return None


def to_mmmim(state_dict) -> dict:
    """Translates from whichever scheme is detected to ours. Names that belong to no encoder or decoder stay.

    Raises:
        ValueError: The scheme is unknown, or one of query, key and value is missing.
    """
    state = unwrap(state_dict)
    scheme = detect_scheme(state)
    if scheme is None:
        raise ValueError(f'The names of these parameters belong to none of {", ".join(SCHEMES)}: they begin with '
                         f'{first_names(state)}.')
    if scheme == 'mmmim':
        return state
    if scheme == 'hf_vit_mae':
        state = _from_hf(state)
    has_decoder = any(key.startswith('decoder_') for key in state)
    return {_add_prefix(key, has_decoder): value for key, value in state.items()}


def from_mmmim(state_dict, scheme: str) -> dict:
    """Translates our names to ``scheme``; the inverse of :func:`to_mmmim`.

    What the scheme has no place for is left out: the decoder for ``'timm'``, an encoder's own mask token (in ``'mae'``
    that name is the decoder's), projectors, momentum encoders. Heads of fine-tuned models stay as they are.
    ``'hf_vit_mae'`` gives the names of ``ViTMAEForPreTraining`` when there is a decoder, else those of ``ViTMAEModel``.
    """
    if scheme not in SCHEMES:
        raise ValueError(f'Unknown scheme {scheme!r}: use one of {", ".join(SCHEMES)}.')
    state = unwrap(state_dict)
    if scheme == 'mmmim':
        return state
    plain = {}
    for key, value in state.items():
        if key == 'backbone.mask_token':
            continue
        if key.startswith('backbone.'):
            plain[key[len('backbone.'):]] = value
        elif key.startswith('neck.') and _is_decoder(key[len('neck.'):]) and scheme != 'timm':
            plain[key[len('neck.'):]] = value
        elif key.split('.')[0] in HEAD_NAMES:
            plain[key] = value
    return _to_hf(plain) if scheme == 'hf_vit_mae' else plain


def _is_decoder(key) -> bool:
    return key.startswith('decoder_') or key == 'mask_token'


def _add_prefix(key, has_decoder) -> str:
    if has_decoder and _is_decoder(key):
        return f'neck.{key}'
    return f'backbone.{key}' if key.split('.')[0] in ENCODER_NAMES else key


def _from_hf(state) -> dict:
    result, parts = {}, {}
    for key, value in state.items():
        key = key.removeprefix('vit.')
        stack = re.fullmatch(r'(encoder\.layer|decoder\.decoder_layers)\.(\d+)\.(.+)\.(weight|bias)', key)
        if stack is None:
            stem = re.sub(r'\.(weight|bias)$', '', key)
            result[_HF_REST.get(stem, stem) + key[len(stem):]] = value
            continue
        block = f'{_HF_STACKS[stack[1]]}.{stack[2]}'
        if stack[3].startswith('attention.attention.'):
            target = f'{block}.attn.qkv.{stack[4]}'
            parts.setdefault(target, {})[stack[3].rsplit('.', 1)[1]] = value
            result[target] = None  # keeps the order of the file; filled below
        else:
            result[f'{block}.{_HF_BLOCK.get(stack[3], stack[3])}.{stack[4]}'] = value
    for target, tensors in parts.items():
        if set(tensors) != set(_QKV):
            raise ValueError(f'For {target} the file must hold query, key and value, but has only {sorted(tensors)}.')
        result[target] = torch.cat([tensors[name] for name in _QKV])  # [3 * D, D] or [3 * D]
    return result


def _to_hf(plain) -> dict:
    has_decoder = any(_is_decoder(key) for key in plain)
    prefix = 'vit.' if has_decoder or any(key.startswith('classifier.') for key in plain) else ''
    block_names = {ours: theirs for theirs, ours in _HF_BLOCK.items()}
    rest_names = {ours: theirs for theirs, ours in _HF_REST.items()}
    stacks = {ours: theirs for theirs, ours in _HF_STACKS.items()}
    result = {}
    for key, value in plain.items():
        stack = re.fullmatch(r'(blocks|decoder_blocks)\.(\d+)\.(.+)\.(weight|bias)', key)
        head = '' if _is_decoder(key) or key.split('.')[0] in HEAD_NAMES else prefix
        if stack is None:
            stem = re.sub(r'\.(weight|bias)$', '', key)
            result[head + rest_names.get(stem, stem) + key[len(stem):]] = value
            continue
        block = f'{head}{stacks[stack[1]]}.{stack[2]}'
        if stack[3] == 'attn.qkv':
            for name, part in zip(_QKV, value.chunk(3)):  # clones: views would each be saved with all three
                result[f'{block}.attention.attention.{name}.{stack[4]}'] = part.clone()
        else:
            result[f'{block}.{block_names.get(stack[3], stack[3])}.{stack[4]}'] = value
    return result


def first_names(keys) -> str:
    """Sums up names for a message: ``backbone (150), neck (30)``."""
    names = Counter(key.split('.')[0] for key in keys)
    return ', '.join(f'{name} ({count})' for name, count in sorted(names.items())[:12])
