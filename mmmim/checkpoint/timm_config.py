"""timm's ``config.json``: which model of timm an encoder is, told by its names and shapes."""

import inspect
import json
import math
import os
import os.path as osp
import re
from contextlib import suppress
from typing import Any, Dict, Optional, Sequence, Tuple

import timm
import torch
from timm.models.beit import Beit
from torch import nn

from ..positions import Size, grid_size, to_2tuple
from .fit import PATCHES, count_tokens
from .peel import EncoderMismatchError
from .read import AnyPath, StateDict
from .schemes.beit import SHARED, TABLE, is_beit
from .schemes.names import encoder_depth, list_names
from .write import atomic_write_text

# Entries of timm by width, or by width and number of blocks: all arguments are given, but without arguments (timm
# before 1.0.31 saves none) the papers' sizes come back. The first stands for all other sizes.
_VITS = {
    768: 'vit_base_patch16_224',
    192: 'vit_tiny_patch16_224',
    384: 'vit_small_patch16_224',
    1024: 'vit_large_patch16_224',
    1280: 'vit_huge_patch14_224',
}
_BEITS = {768: 'beit_base_patch16_224', 1024: 'beit_large_patch16_224'}
_SWINS = {
    (128, 24): 'swin_base_patch4_window7_224',
    (96, 12): 'swin_tiny_patch4_window7_224',
    (96, 24): 'swin_small_patch4_window7_224',
    (192, 24): 'swin_large_patch4_window7_224',
}
# Where our encoders are that compute what timm's do; windows over the same parameters do not
_OURS = re.compile(r'mmmim\.models\.backbones\.(vit|relative_vit|swin)')
# What `local-dir:` may read in the place of another file
_PREFERRED = re.compile(r'((open_clip_)?(pytorch_)?model\.(safetensors|bin|pth)|.*\.safetensors)')


def timm_config(
    state: StateDict,
    img_size: Optional[Size],
    num_heads: Optional[int],
    mean: Sequence[float],
    std: Sequence[float],
    pool: str = 'avg',
) -> Dict[str, Any]:
    """The content of ``config.json`` for ``timm.create_model('local-dir:FOLDER')``.

    Args:
        state: An encoder's parameters in timm's names; with a classifier's, the model has one.
        img_size: Of the images whose positions ``state`` has. None for a Swin: one window in the last stage.
        num_heads: Of attention. A Swin and a ``Beit`` tell them.
        mean, std: Of pixels in 0..255.
        pool: timm's ``global_pool``; a Swin has the mean.

    Raises:
        EncoderMismatchError: timm has no such encoder.
    """
    kernel = state.get(PATCHES)
    if kernel is None or kernel.ndim != 4:
        raise EncoderMismatchError('its patch embedding is not one projection')
    common = dict(img_size=img_size, patch_size=_pair(kernel.shape[2:]), in_chans=kernel.shape[1])
    common.update(num_classes=0, global_pool=pool, embed_dim=len(kernel))
    classifier = next((name for name in ('head.fc', 'head') if f'{name}.weight' in state), None)
    if classifier:
        common['num_classes'] = len(state[f'{classifier}.weight'])
    if any(key.startswith('layers.') for key in state):
        architecture, args = _swin(state, common)
    else:
        architecture, args = (_beit if is_beit(state) else _vit)(state, common, num_heads)
    height, width = to_2tuple(args['img_size'])
    args['img_size'] = _pair((height, width))
    channels = args['in_chans']
    cfg = dict(
        input_size=(channels, height, width),
        fixed_input_size=True,
        interpolation='bicubic',
        crop_pct=0.875,
        mean=_of_unit_range(mean, channels),
        std=_of_unit_range(std, channels),
        # what timm adapts to other channels (random ones, before 1.0.31, where it finds neither 1 nor 3) and classes
        first_conv='patch_embed.proj' if channels == 3 else None,
        classifier='head.fc' if architecture.startswith('swin') else 'head',
    )
    return dict(
        architecture=architecture,
        num_classes=args['num_classes'],
        num_features=args['embed_dim'] * 2 ** (len(args.get('depths', [0])) - 1),
        global_pool=args['global_pool'],
        model_args=args,
        pretrained_cfg=cfg,
    )


def _pair(sides: Sequence[int]) -> Any:
    """An int for a square, as timm's own configs have it; else (height, width)."""
    height, width = sides
    return height if height == width else (height, width)


def _of_unit_range(values: Sequence[float], channels: int) -> Tuple[float, ...]:
    """Statistics of pixels in 0..1, one a channel: their mean, where there are not as many."""
    values = values if len(values) == channels else [sum(values) / len(values)] * channels
    return tuple(value / 255 for value in values)


def _ratio(state: StateDict, block: str, width: int) -> float:
    """timm's ``mlp_ratio``, of which it takes ``int(width * ratio)``."""
    hidden = len(state[f'{block}.mlp.fc1.weight'])
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


def _vit(state: StateDict, args: Dict[str, Any], num_heads: Optional[int]) -> Tuple[str, Dict[str, Any]]:
    relative = [key for key in state if 'relative_position' in key]
    if relative or 'blocks.0.mlp.fc1.weight' not in state:
        reason = f'has relative positions ({relative[0]})' if relative else 'is none'
        raise EncoderMismatchError(f"timm's VisionTransformer is what is known here, and this encoder {reason}")
    width, tokens = args['embed_dim'], count_tokens(state)[0]
    rows, grid = (
        state['pos_embed'].shape[1] if 'pos_embed' in state else 0,
        grid_size(args['img_size'], args['patch_size']),
    )
    pooled = 'fc_norm.weight' in state
    args.update(
        depth=encoder_depth(state),
        num_heads=num_heads,
        mlp_ratio=_ratio(state, 'blocks.0', width),
        qkv_bias='blocks.0.attn.qkv.bias' in state,
        qk_norm='blocks.0.attn.q_norm.weight' in state,
        init_values=1.0 if 'blocks.0.ls1.gamma' in state else 0.0,
        class_token='cls_token' in state,
        reg_tokens=tokens - ('cls_token' in state),
        no_embed_class=tokens > 0 and rows == grid[0] * grid[1],
        pre_norm='norm_pre.weight' in state,
        final_norm=pooled or 'norm.weight' in state,
        fc_norm=pooled,
    )
    return _VITS.get(width, _VITS[768]), args


def _beit(state: StateDict, args: Dict[str, Any], _: Optional[int]) -> Tuple[str, Dict[str, Any]]:
    table = next(value for key, value in state.items() if key.endswith(TABLE))
    pooled = 'norm.weight' not in state
    args.update(
        depth=encoder_depth(state),
        num_heads=table.shape[1],
        mlp_ratio=_ratio(state, 'blocks.0', args['embed_dim']),
        qkv_bias='blocks.0.attn.q_bias' in state,
        init_values=1.0 if 'blocks.0.gamma_1' in state else 0.0,  # create_model() drops a None
        use_abs_pos_emb='pos_embed' in state,
        use_rel_pos_bias=f'blocks.0.attn.{TABLE}' in state,
        use_shared_rel_pos_bias=SHARED in state,
    )
    if 'use_fc_norm' in inspect.signature(Beit).parameters:
        args['use_fc_norm'] = pooled
    elif pooled != (args['global_pool'] == 'avg'):  # before timm 1.0.31 the pooling decides which norm there is
        args['global_pool'] = 'avg' if pooled else ''
    return _BEITS.get(args['embed_dim'], _BEITS[768]), args


def _swin(state: StateDict, args: Dict[str, Any]) -> Tuple[str, Dict[str, Any]]:
    stages = 1 + max(int(key.split('.')[1]) for key in state if key.startswith('layers.'))
    tables = [state.get(f'layers.{stage}.blocks.0.attn.{TABLE}') for stage in range(stages)]
    found = [table for table in tables if table is not None]
    if 'absolute_pos_embed' in state or len(found) < stages:
        raise EncoderMismatchError(
            "timm's SwinTransformer, the first version, is what is known here, and this encoder has other positions"
        )
    window = round((len(found[0]) ** 0.5 + 1) / 2)
    depths = [encoder_depth(state, f'layers.{stage}.blocks.') for stage in range(stages)]
    if args['img_size'] is None:
        args['img_size'] = tuple(side * window * 2 ** (stages - 1) for side in to_2tuple(args['patch_size']))
    args.update(
        global_pool='avg',
        depths=depths,
        window_size=window,
        num_heads=[table.shape[1] for table in found],
        mlp_ratio=_ratio(state, 'layers.0.blocks.0', args['embed_dim']),
    )
    return _SWINS.get((args['embed_dim'], sum(depths)), _SWINS[128, 24]), args


def build_timm(config: Dict[str, Any], device: str = 'cpu') -> nn.Module:
    """The module that ``timm.create_model('local-dir:FOLDER')`` builds with this ``config.json``."""
    cfg = dict(config['pretrained_cfg'], architecture=config['architecture'], num_classes=config['num_classes'])
    with torch.device(device):
        return timm.create_model(config['architecture'], pretrained_cfg=cfg, **config['model_args'])


def unfit(folder: AnyPath, weights: str) -> str:
    """Why timm's ``local-dir:`` could not have ``config.json`` and ``weights`` in a folder; empty where it could."""
    others = sorted(name for name in os.listdir(folder) if name != weights and _PREFERRED.fullmatch(name))
    if others:
        return f'{folder} holds {", ".join(others)}, which timm could read in the place of {weights}'
    path = osp.join(folder, 'config.json')
    if osp.exists(path) and not is_timm_config(path):
        return f'{path} is of something else than timm'
    return ''


def is_timm_config(path: AnyPath) -> bool:
    """Whether a file is a ``config.json`` of timm, and not one of transformers, or of a run."""
    with suppress(OSError, ValueError), open(path, encoding='utf-8') as file:
        content = json.load(file)
        return isinstance(content, dict) and {'architecture', 'pretrained_cfg'} <= set(content)
    return False


def write_timm_config(
    path: str, encoder: nn.Module, mean: Sequence[float], std: Sequence[float], crop_pct: float = 0.875
) -> str:
    """Writes ``config.json`` beside an exported encoder, where timm has one of exactly its parameters.

    Args:
        path: Of the export.
        encoder: The backbone; has ``img_size``.
        mean, std: Of pixels in 0..255.
        crop_pct: Share of the image's shorter side that evaluation looks at.

    Returns:
        A sentence on what was written, or why nothing.
    """
    folder, name = osp.split(osp.abspath(path))
    target = osp.join(folder, 'config.json')
    heads: Any = next((part.num_heads for part in encoder.modules() if hasattr(part, 'num_heads')), None)
    state = {key: value for key, value in encoder.state_dict().items() if key != 'mask_token'}
    reason = unfit(folder, name)
    if not reason:
        try:
            if not _OURS.fullmatch(type(encoder).__module__):
                raise EncoderMismatchError(f'it is a {type(encoder).__name__}')
            config = timm_config(state, getattr(encoder, 'img_size', None), heads, mean, std)
            check_timm(config, state)
            config['pretrained_cfg']['crop_pct'] = crop_pct
            atomic_write_text(target, json.dumps(config, indent=2))
            return (
                f"config.json beside it is for timm: timm.create_model('local-dir:{folder}', checkpoint_path={path!r})"
            )
        except EncoderMismatchError as error:
            reason = f'timm has no such encoder: {error}'
        if osp.exists(target):  # of an earlier export
            os.remove(target)
    return f'No config.json for timm was written beside {path}: {reason}'


def check_timm(config: Dict[str, Any], state: StateDict) -> None:
    """Raises EncoderMismatchError unless timm builds exactly these names and shapes, and takes them as they are."""
    args = config['model_args']
    height, width = grid_size(args['img_size'], args['patch_size'])
    offsets = (2 * height - 1) * (2 * width - 1)
    if config['architecture'].startswith('beit') and height != width and math.isqrt(offsets) ** 2 == offsets:
        raise EncoderMismatchError(f'timm would take its tables for {height} x {width} patches for those of a square')
    try:
        built = {key: value.shape for key, value in build_timm(config, 'meta').state_dict().items()}
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise EncoderMismatchError(f'its {config["architecture"]}: {error}') from None
    shapes = {key: value.shape for key, value in state.items()}
    different = [key for key in {**built, **shapes} if built.get(key) != shapes.get(key)]
    if different:
        raise EncoderMismatchError(f'its {config["architecture"]} differs in {list_names(different)}')
