"""Networks that no encoder here computes, though their names may look like a ViT's: told by names and shapes."""

import json
import os.path as osp
import re
from typing import Any, Collection, Dict, Iterable, List, Optional, Tuple

import timm
import torch
from timm.layers import Mlp
from timm.models import Beit, SwinTransformer
from timm.models.vision_transformer import Block
from torch import nn

from .read import StateDict

_IN_TIMM = " Frozen, it can be used by timm: timm.create_model(NAME, checkpoint_path='FILE')."
_ROTARY, _GATED = 'a ViT with rotary positions', 'a ViT with a gated MLP'
# a name that tells the kind, the kind, what can be done
_KINDS = (
    (
        r'(.*[._])?flat_param(_\d+)?$',
        'flat shards of FSDP',
        ' Save one file with the program that wrote them: StateDictOptions(full_state_dict=True).',
    ),
    (r'(.*\.)?(channel_embed|patch_embed\.0\.proj\.weight)$', "SatMAE's ViT, which embeds its channels in groups", ''),
    (r'(.*\.)?(fcn_high|mask_token_decoder)\b', "Scale-MAE's ViT, whose positions follow from the resolution", ''),
    (r'(.*\.)?(encoder_norm|multi_scale_fusion_heads|pos_embed_spatial)\b', 'Hiera', _IN_TIMM),
    (r'.*\.(cpb_mlp|logit_scale)\b', 'a Swin V2', _IN_TIMM),
    (r'(.*[._])?(rope\w*|rotary\w*|freqs_cis|storage_tokens)\b', _ROTARY, _IN_TIMM),
    (r'(.*\.)?embeddings\.patch_embeddings\.weight$', _ROTARY, _IN_TIMM),  # DINOv3 in transformers
    (r'(.*\.)?attn\.(q_proj|inner_attn_ln)\.', _ROTARY, _IN_TIMM),  # EVA-02
    (r'(.*\.)?(blocks|layers)\.\d+\.attn\.rel_pos_[hw]$', 'a ViT with decomposed relative positions', _IN_TIMM),
    (r'(.*\.)?(dist_token|distillation_token)$', 'a distilled DeiT, which has a second token', _IN_TIMM),
    (r'(.*\.)?mlp\.(w12|weights_in|gate_proj|fc1_g)\.', _GATED, _IN_TIMM),
)
_OTHERS = (
    (r'(.*\.)?patch_embed\.stages\.\d+\.blocks\.\d+\.depthwise\.', 'a convolutional ViT', ''),
    (r'(.*\.)?layer1\.0\.conv1\.weight', 'a ResNet', ''),
    (r'(.*\.)?stages\.\d+\.(blocks\.)?\d+\.(conv_dw|depthwise_conv|dwconv)\.', 'a ConvNeXt', ''),
    (r'.*(stages|layers)\.\d+\.blocks\.\d+\..*relative_position_bias_table', 'a Swin', ''),
    (r'(.*\.)?(wte|word_embeddings|embed_tokens|tok_embeddings|token_embedding)\.weight', 'a language model', ''),
)


# of timm's models, beside their encoders
_HEADS = r'(head|head_dist|fc_norm|attn_pool|mask_token)(\.|$)'


def describe(names: Iterable[str], kinds: Tuple[Tuple[str, str, str], ...] = (*_KINDS, *_OTHERS)) -> Tuple[str, str]:
    """The kind of network with such names, and what can be done with it, for a message; else two empty texts."""
    names = list(names)
    found = ((kind, advice) for pattern, kind, advice in kinds if any(re.match(pattern, name) for name in names))
    return next(found, ('', ''))


def unsupported(
    state: StateDict, timms: Any = None, hub: Optional[Dict[str, Any]] = None, config: Optional[Dict[str, Any]] = None
) -> str:
    """Why no encoder here computes a network, and what can be done; empty where one does.

    Args:
        state: Its parameters, in timm's names.
        timms: :func:`timm_model` of the file: tells what the parameters do not, such as an activation.
        hub: transformers' ``config.json`` of the file.
        config: The one in the file.
    """
    kind, advice = describe(state, _KINDS)
    kernel = state.get('patch_embed.proj.weight')
    first, second = (state.get(f'blocks.0.mlp.{name}.weight') for name in ('fc1', 'fc2'))
    if not kind:
        advice = _IN_TIMM
        if kernel is not None and kernel.ndim == 5:
            kind = 'a ViT for video'
        elif first is not None and second is not None and first.shape[0] != second.shape[1]:
            kind = _GATED
        elif timms is not None:
            kind = _other_than_assumed(timms)
        else:
            kind = _other_activation(hub or {}, config or {})
    return f'It holds {kind}: none of the encoders here computes the same.{advice}' if kind else ''


def _other_activation(hub: Dict[str, Any], config: Dict[str, Any]) -> str:
    """Of transformers' ``hidden_act``, and of mmpretrain's ``layer_cfgs``."""
    layers = config.get('model', {}).get('backbone', {}).get('layer_cfgs')
    stated = layers.get('act_cfg') if isinstance(layers, dict) else None
    name = stated.get('type') if isinstance(stated, dict) else hub.get('hidden_act')
    known = name is None or str(name).lower() in ('gelu', 'gelu_python')
    return '' if known else f'a ViT with another activation than GELU ({name})'


def ambiguous(names: Collection[str]) -> List[str]:
    """Sentences on names that other networks of timm have, too; its ``config.json`` beside a file would tell."""
    found = set(names)
    if {'pos_embed', 'blocks.0.gamma_1', 'blocks.0.attn.qkv.bias'} <= found:
        taken, other = "DeiT III's files", 'rope_ape models, which have rotary positions'
    elif {'pos_embed', 'blocks.0.attn.q_bias'} <= found and not any('relative_position' in name for name in found):
        taken, other = "BEiT's blocks with a position table", 'Eva models, some with rotary positions or later norms'
    elif 'norm_pre.weight' in found:
        taken, other = 'a ViT with a norm before its blocks', "CLIPs of OpenAI's activation, and Perception Encoders"
    else:
        return []
    return [f"It is taken for {taken}; timm's {other}, have the same names. timm's config.json beside it would tell."]


def is_same_network(model: Any, names: Collection[str], state: StateDict) -> bool:
    """Whether a model of timm is that of a file, heads apart.

    Args:
        model: Of timm.
        names: Of the file's parameters, without what stood in front of them.
        state: The encoder in it, in our names.
    """
    own, key = model.state_dict(), 'patch_embed.proj.weight'
    sets = [{name for name in parts if not re.match(_HEADS, name)} for parts in (own, names)]
    return sets[0] == sets[1] and key in own and key in state and own[key].shape == state[key].shape


def hub_config(path: str) -> Dict[str, Any]:
    """The ``config.json`` of Hugging Face or timm beside a file; empty without one."""
    try:
        with open(osp.join(osp.dirname(path), 'config.json'), encoding='utf-8') as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def timm_model(config: Dict[str, Any]) -> Any:
    """The model that timm's ``config.json`` names, without values; None for other configs."""
    if not timm.is_model(str(config.get('architecture', ''))):
        return None
    try:
        with torch.device('meta'):
            return timm.create_model(config['architecture'], pretrained=False, **(config.get('model_args') or {}))
    except Exception:  # arguments of another version of timm: then the parameters have to tell
        return None


def _other_than_assumed(model: Any) -> str:
    """The kind of a model of timm that has a ViT's names and computes something else."""
    if isinstance(model, (Beit, SwinTransformer)):
        return ''
    name = f'{type(model).__name__} of timm ({model.pretrained_cfg.get("architecture")})'
    block: Any = next(iter(getattr(model, 'blocks', [])), None)
    plain_eva = type(block).__name__ == 'EvaBlock' and getattr(model, 'rope', None) is None and type(block.mlp) is Mlp
    if type(block) is not Block and not plain_eva:
        return name
    return '' if isinstance(block.mlp.act, nn.GELU) else f'{name} with another activation than GELU'
