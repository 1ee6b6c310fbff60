"""Load the encoder of any checkpoint as a timm module that computes features."""

import json
import os
from functools import partial
from typing import Any, Dict, Optional, Tuple

import torch
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from timm.layers.patch_embed import resample_patch_embed
from timm.models import SwinTransformer, VisionTransformer
from timm.models.beit import Beit
from torch import Tensor, nn

from ..checkpoint.config_text import ConfigTextError
from ..checkpoint.encoder import EncoderMismatchError, split_encoder
from ..checkpoint.schemes.beit import SHARED, TABLE, fit_tables, is_beit, table_grid
from ..checkpoint.schemes.names import pooled_norm_name
from ..models.backbones.vit import ARCHITECTURES
from ..models.patches import Size, grid_size, to_2tuple
from ..models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from ..positions import find_grid, rebuild_positions, resize_pos_embed
from .from_checkpoint import stored_config

State = Dict[str, Tensor]
POOLS = ('avg', 'token', '')


def load_encoder(
    path: str,
    *,
    img_size: Optional[Size] = None,
    patch_size: Optional[Size] = None,
    num_heads: Optional[int] = None,
    pool: str = 'avg',
    prefix: str = 'backbone.',
) -> nn.Module:
    """Load the encoder of a checkpoint as a timm ``VisionTransformer`` in evaluation mode.

    The file may be a training checkpoint or an exported encoder of this project, or one of the other projects that
    `mmmim convert` knows. A Swin becomes a ``SwinTransformer``, a ViT with relative positions (BEiT's,
    SimMIM's) a ``Beit``. The module's ``pretrained_cfg`` holds the image size and the normalisation (ImageNet's where
    the file states none), so that ``timm.data.resolve_model_data_config`` finds them.

    Args:
        path: A file or an address. A Hugging Face file's ``config.json`` is read when it lies beside it.
        img_size: If not pre-training's; position embeddings are resampled (bicubic, float32; relative ones as in BEiT).
        patch_size: If not pre-training's; the patch projection is resampled (FlexiViT's "PI-resize").
        num_heads: Number of attention heads. Needed where neither a config nor a width of the papers' ViTs gives it.
        pool: What ``module(images)`` returns: ``'avg'`` the mean of the patch tokens ``[B, D]``, ``'token'`` the class
            token ``[B, D]``, ``''`` all tokens ``[B, T, D]``. (``module.forward_features`` always returns the last.)
        prefix: Prefix of the encoder's parameters in a model of ours.

    Raises:
        FileNotFoundError, CorruptCheckpointError, UnsafeCheckpointError: As :func:`mmmim.checkpoint.read.load_file`.
        EncoderMismatchError: The file holds another architecture.
        ValueError: The number of heads or the grid cannot be inferred, or the encoder has no such pooling.
    """
    if pool not in POOLS:
        raise ValueError(f'pool={pool!r} is not known; use one of {", ".join(map(repr, POOLS))}')
    path = os.fspath(path)
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
    config = encoder_config(checkpoint, path) or {}
    encoder, others, scheme = split_encoder(checkpoint, prefix, owned=True)
    encoder = {key: value.float() if value.is_floating_point() else value for key, value in encoder.items()}
    encoder.pop('mask_token', None)
    others = {pooled_norm_name(key): value for key, value in others.items()}
    if any(key.startswith('layers.') for key in encoder):
        model = _build_swin(encoder, img_size, path)
    elif is_beit(encoder):
        size = config.get('backbone', {}).get('img_size')
        model = _assign(build_beit(encoder, others, img_size, patch_size, size, pool, path), encoder, path)
    else:
        if pool == 'token' and 'cls_token' not in encoder:
            raise ValueError(f"{path} has no class token: use pool='avg'")
        hub = {**_hub_config(path, scheme), **_own_heads(config), **({'num_heads': num_heads} if num_heads else {})}
        options = _describe_vit(encoder, others, hub, path)
        stored = _stored_grid(encoder, options, config, img_size, path)
        grid, patch = _fit(encoder, options, stored, img_size, patch_size, scheme, path)
        model = _build_vit(
            encoder,
            others,
            dict(options, img_size=(grid[0] * patch[0], grid[1] * patch[1]), patch_size=patch, global_pool=pool),
            path,
        )
    _set_data_config(model, config)
    return model.eval()


def encoder_config(checkpoint: Any, path: str) -> Optional[Dict[str, Any]]:
    """``backbone`` (its config), ``mean`` and ``std`` (0-255), as far as the checkpoint states them; else None.

    A config text that is more than plain values is not executed: it counts as absent.
    """
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    try:
        cfg = stored_config(meta if isinstance(meta, dict) else {}, path)
    except ConfigTextError:
        return None
    if cfg is None:
        return None
    preprocessor = cfg['model'].get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    return dict(
        backbone=cfg['model']['backbone'],
        **{key: preprocessor[key] for key in ('mean', 'std') if preprocessor.get(key) is not None},
    )


def _own_heads(config: Dict[str, Any]) -> Dict[str, Any]:
    arch = config.get('backbone', {}).get('arch')
    return dict(num_heads=arch['num_heads']) if isinstance(arch, dict) and 'num_heads' in arch else {}


def _hub_config(path: str, scheme: Optional[str]) -> Dict[str, Any]:
    """Settings from Hugging Face's ``config.json`` that the weights do not show."""
    beside = os.path.join(os.path.dirname(path), 'config.json')
    if scheme != 'hf' or not os.path.isfile(beside):
        return {}
    with open(beside, encoding='utf-8') as file:
        cfg = json.load(file)
    known = dict(num_heads=cfg.get('num_attention_heads'), eps=cfg.get('layer_norm_eps'))
    return {key: value for key, value in known.items() if value is not None}


def _describe_vit(encoder: State, others: State, known: Dict[str, Any], path: str) -> Dict[str, Any]:
    """The arguments of timm's VisionTransformer, inferred from names and shapes."""
    kernel = encoder.get('patch_embed.proj.weight')
    relative = [key for key in encoder if 'relative_position' in key]
    if relative or kernel is None or kernel.ndim != 4 or 'blocks.0.mlp.fc1.weight' not in encoder:
        reason = f'has relative positions ({relative[0]})' if relative else 'is none'
        raise EncoderMismatchError(
            f"{path}: timm's VisionTransformer is what is loaded, and the encoder in this file {reason}"
        )
    width = kernel.shape[0]
    heads = known.get('num_heads') or {sizes[0]: sizes[2] for sizes in ARCHITECTURES.values()}.get(width)
    if heads is None or width % heads:
        raise ValueError(
            f'{path}: a file does not say its number of attention heads, and {width} is the width of none '
            f'of {", ".join(ARCHITECTURES)}: give num_heads=N (a divisor of {width})'
        )
    return dict(
        in_chans=kernel.shape[1],
        embed_dim=width,
        num_heads=heads,
        num_classes=0,
        depth=1 + max(int(key.split('.')[1]) for key in encoder if key.startswith('blocks.')),
        mlp_ratio=encoder['blocks.0.mlp.fc1.weight'].shape[0] / width,
        qkv_bias='blocks.0.attn.qkv.bias' in encoder,
        qk_norm='blocks.0.attn.q_norm.weight' in encoder,
        init_values=1.0 if 'blocks.0.ls1.gamma' in encoder else None,
        class_token='cls_token' in encoder,
        reg_tokens=encoder['reg_token'].shape[1] if 'reg_token' in encoder else 0,
        pre_norm='norm_pre.weight' in encoder,
        final_norm='norm.weight' in encoder or 'fc_norm.weight' in others,
        fc_norm='fc_norm.weight' in others and 'norm.weight' not in encoder,
        norm_layer=partial(nn.LayerNorm, eps=known.get('eps', 1e-6)),
    )


def _stored_grid(
    encoder: State, options: Dict[str, Any], config: Dict[str, Any], img_size: Optional[Size], path: str
) -> Optional[Tuple[int, int]]:
    """The grid of the file's position embedding, None if unknown; sets ``no_embed_class`` in ``options``.

    It is that of the config in the file, or of a fixed sine-cosine table; or else square, or else that of the wanted
    image size, if that has as many patches. In timm's ``no_embed_class`` models the prefix tokens have no rows in the
    table.
    """
    prefix, table = int(options['class_token']) + options['reg_tokens'], encoder.get('pos_embed')
    patch, size = tuple(encoder['patch_embed.proj.weight'].shape[2:]), config.get('backbone', {}).get('img_size')
    known = grid_size(size, patch) if size is not None else None
    if table is None:
        return known
    wanted = tuple(side // length for side, length in zip(to_2tuple(img_size), patch)) if img_size is not None else None
    found = find_grid(table, (prefix, 0), stated=known) or find_grid(table, (prefix, 0), wanted)
    if found is None:
        raise ValueError(
            f'{path}: its {table.shape[1] - prefix} positions are no square grid, and no config in the '
            'file tells the sides: give the img_size of pre-training'
        )
    options['no_embed_class'] = found.prefix < prefix
    return found.grid


def _fit(
    encoder: State,
    options: Dict[str, Any],
    stored: Optional[Tuple[int, int]],
    img_size: Optional[Size],
    patch_size: Optional[Size],
    scheme: Optional[str],
    path: str,
) -> Tuple[Tuple[int, int], Tuple[int, int]]:
    """Resize position embedding and patch projection to the wanted sizes, in place; returns grid and patch size."""
    file_patch = tuple(encoder['patch_embed.proj.weight'].shape[2:])
    patch = to_2tuple(patch_size) if patch_size is not None else file_patch
    prefix = 0 if options.get('no_embed_class') else int(options['class_token']) + options['reg_tokens']
    if img_size is None and stored is None:
        raise ValueError(f'{path} has no position table, and nothing in it tells the size of its images: give img_size')
    if img_size is None:
        img_size = (stored[0] * file_patch[0], stored[1] * file_patch[1])
    grid, table = grid_size(img_size, patch), encoder.get('pos_embed')
    if table is None:
        encoder['pos_embed'] = rebuild_positions(options['embed_dim'], grid, prefix, scheme)
        print_log(f'{path} has no position table: the fixed sine-cosine table was rebuilt.', 'current')
    else:
        encoder['pos_embed'] = resize_pos_embed(table, stored, grid, prefix)
    encoder['patch_embed.proj.weight'] = resample_patch_embed(encoder['patch_embed.proj.weight'], list(patch))
    return grid, patch


def _build_vit(encoder: State, others: State, options: Dict[str, Any], path: str) -> nn.Module:
    if options['fc_norm']:
        encoder.update({key: value.float() for key, value in others.items() if key.startswith('fc_norm.')})
    elif 'fc_norm.weight' in others:
        print_log(f'{path} has a norm before the classifier besides the final one: it is left out.', 'current')
    with torch.device('meta'):  # the weights of the file become the module's: nothing is initialised or copied
        model = VisionTransformer(weight_init='skip', **options)
    return _assign(model, encoder, path)


def _build_swin(encoder: State, img_size: Optional[Size], path: str) -> nn.Module:
    table = 'layers.{}.blocks.0.attn.relative_position_bias_table'
    stages = 1 + max(int(key.split('.')[1]) for key in encoder if key.startswith('layers.'))
    tables = [encoder.get(table.format(stage)) for stage in range(stages)]
    if 'absolute_pos_embed' in encoder or any(one is None for one in tables):
        raise EncoderMismatchError(
            f"{path}: timm's SwinTransformer, the first version, is what is loaded; the encoder "
            'in this file has other positions'
        )
    kernel = encoder['patch_embed.proj.weight']
    window = round((len(tables[0]) ** 0.5 + 1) / 2)
    depths = [
        len({key.split('.')[3] for key in encoder if key.startswith(f'layers.{stage}.blocks.')})
        for stage in range(stages)
    ]
    default = window * kernel.shape[-1] * 2 ** (stages - 1)  # one window in the last stage
    model = SwinTransformer(
        img_size=to_2tuple(img_size if img_size is not None else default),
        patch_size=kernel.shape[-1],
        num_classes=0,
        in_chans=kernel.shape[1],
        embed_dim=kernel.shape[0],
        depths=depths,
        window_size=window,
        num_heads=[one.shape[1] for one in tables],
        mlp_ratio=encoder['layers.0.blocks.0.mlp.fc1.weight'].shape[0] / kernel.shape[0],
    )
    return _assign(model, encoder, path)


def _assign(model: nn.Module, state: State, path: str) -> nn.Module:
    try:
        model.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        reason = ' '.join(str(error).split())
        raise EncoderMismatchError(f'{path} does not fit a timm {type(model).__name__}: {reason}') from None
    return model


def _set_data_config(model: nn.Module, config: Dict[str, Any]) -> None:
    """Set what ``timm.data.resolve_model_data_config`` reads; timm's statistics are of images in 0..1."""
    height, width = to_2tuple(model.patch_embed.img_size)
    mean, std = config.get('mean', IMAGENET_MEAN), config.get('std', IMAGENET_STD)
    model.pretrained_cfg = dict(
        input_size=(model.patch_embed.proj.in_channels, height, width),
        fixed_input_size=True,
        num_classes=0,
        mean=tuple(value / 255 for value in mean),
        std=tuple(value / 255 for value in std),
        interpolation='bicubic',
        crop_pct=0.875,
    )


def build_beit(
    encoder: State,
    others: State,
    img_size: Optional[Size],
    patch_size: Optional[Size],
    known_size: Optional[Size],
    pool: str,
    path: str,
) -> nn.Module:
    """A timm ``Beit`` for the parameters of an encoder, which are resized in place; they are not loaded into it yet.

    Args:
        encoder: In timm's names.
        others: Other parameters of the file: a norm after pooling is added to ``encoder``.
        img_size, patch_size, pool: As in :func:`.load_encoder`.
        known_size: Image size of the file, if known; else its grid is taken to be square.
        path: For messages.

    Raises:
        EncoderMismatchError: Sizes cannot be inferred.
    """
    kernel = encoder['patch_embed.proj.weight']
    table = next(value for key, value in encoder.items() if key.endswith(TABLE))
    file_patch = tuple(kernel.shape[2:])
    stored = grid_size(known_size, file_patch) if known_size is not None else table_grid(table)
    if stored is None or len(table) != (2 * stored[0] - 1) * (2 * stored[1] - 1) + 3:
        raise EncoderMismatchError(
            f'{path}: its tables of relative positions have {len(table)} rows, which fit no '
            'square map with a class token, and no config in the file tells the map'
        )
    patch = to_2tuple(patch_size) if patch_size is not None else file_patch
    size = to_2tuple(img_size) if img_size is not None else tuple(n * side for n, side in zip(stored, file_patch))
    grid = grid_size(size, patch)
    if grid != stored and stored[0] != stored[1]:
        raise EncoderMismatchError(
            f'{path}: tables of relative positions are resized from square maps only, and '
            f'these are for {stored[0]} x {stored[1]} patches: leave img_size out'
        )
    pooled = 'norm.weight' not in encoder
    if pooled:
        encoder.update({key: value.float() for key, value in others.items() if key.startswith('fc_norm.')})
    model = Beit(
        size,
        patch,
        kernel.shape[1],
        num_classes=0,
        global_pool='avg' if pooled else '',
        embed_dim=kernel.shape[0],
        depth=1 + max(int(key.split('.')[1]) for key in encoder if key.startswith('blocks.')),
        num_heads=table.shape[1],
        qkv_bias='blocks.0.attn.q_bias' in encoder,
        mlp_ratio=encoder['blocks.0.mlp.fc1.weight'].shape[0] / kernel.shape[0],
        init_values=1.0 if 'blocks.0.gamma_1' in encoder else None,
        use_abs_pos_emb='pos_embed' in encoder,
        use_rel_pos_bias=f'blocks.0.attn.{TABLE}' in encoder,
        use_shared_rel_pos_bias=SHARED in encoder,
    )
    if pooled and 'fc_norm.weight' not in encoder:
        model.fc_norm = nn.Identity()
    fit_tables(encoder, model.state_dict(), grid)
    if 'pos_embed' in encoder:
        encoder['pos_embed'] = resize_pos_embed(encoder['pos_embed'], stored, grid, 1)
    encoder['patch_embed.proj.weight'] = resample_patch_embed(kernel, list(patch))
    model.global_pool = pool
    return model
