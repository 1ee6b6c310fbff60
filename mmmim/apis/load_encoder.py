"""Load the encoder of any checkpoint as a timm module that computes features."""

import os
from functools import partial
from typing import Any, Dict, List, Optional, Tuple

import torch
from mmengine.logging import print_log
from timm.layers.patch_embed import resample_patch_embed
from timm.models import SwinTransformer, VisionTransformer
from timm.models.beit import Beit
from torch import Tensor, nn

from ..checkpoint.encoder import EncoderFile, EncoderMismatchError, Unused, open_encoder
from ..checkpoint.fit import count_tokens, fit_channels, with_prefix_rows
from ..checkpoint.schemes.beit import SHARED, TABLE, fit_tables, is_beit, table_grid
from ..checkpoint.schemes.names import encoder_depth, pooled_norm_name
from ..checkpoint.schemes.timm import one_class_token
from ..models.backbones.vit import ARCHITECTURES
from ..models.patches import Size, grid_size, to_2tuple
from ..models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from ..positions import find_grid, resize_pos_embed

State = Dict[str, Tensor]
POOLS = ('avg', 'token', '')


def load_encoder(
    path: str,
    *,
    img_size: Optional[Size] = None,
    patch_size: Optional[Size] = None,
    in_chans: Optional[int] = None,
    num_heads: Optional[int] = None,
    pool: str = 'avg',
    prefix: Optional[str] = None,
    part: Optional[str] = None,
    adapt_channels: bool = False,
    allow_unused: Unused = False,
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
        in_chans: If not pre-training's; needs ``adapt_channels``.
        num_heads: Number of attention heads. Needed where neither a config nor a width of the papers' ViTs gives it.
        pool: What ``module(images)`` returns: ``'avg'`` the mean of the patch tokens ``[B, D]``, ``'token'`` the class
            token ``[B, D]``, ``''`` all tokens ``[B, T, D]``. (``module.forward_features`` always returns the last.)
        prefix: Which network, where the file holds several: ``'student'``, ``'target_backbone'``. None takes the one
            that its project evaluates, and says so.
        part: Another name of ``prefix``.
        adapt_channels: Adapt the patch projection to ``in_chans`` as timm does: summed for one, repeated for others.
        allow_unused: True, or beginnings of names, for what stands beside the encoder and is not known.

    Returns:
        The module. ``num_class_tokens`` and ``num_register_tokens`` say what stands before the patch tokens in the
        file; timm's ViT has one class token, so that further ones are among its registers.

    Raises:
        FileNotFoundError, CorruptCheckpointError, UnsafeCheckpointError: As :func:`mmmim.checkpoint.load_file`.
        EncoderMismatchError: The file holds another architecture.
        ValueError: The number of heads or the grid cannot be inferred, or the encoder has no such pooling.
    """
    if pool not in POOLS:
        raise ValueError(f'pool={pool!r} is not known; use one of {", ".join(map(repr, POOLS))}')
    file = open_encoder(os.fspath(path), prefix, part)
    file.check(allow_unused)
    encoder = {key: value.float() if value.is_floating_point() else value for key, value in file.encoder.items()}
    encoder.pop('mask_token', None)
    notes = list(file.notes)
    if in_chans is not None:
        notes += _set_channels(encoder, in_chans, adapt_channels, file.path)
    others = {pooled_norm_name(key): value for key, value in file.others.items()}
    if any(key.startswith('layers.') for key in encoder):
        model = _build_swin(encoder, img_size, file.path)
    elif is_beit(encoder):
        model = build_beit(encoder, others, img_size, patch_size, file, pool)
    else:
        model = _build_vit(encoder, others, img_size, patch_size, num_heads, file, pool, notes)
    for note in notes:
        print_log(f'{file.path}: {note}', 'current')
    set_data_config(model, file)
    return model.eval()


def _set_channels(encoder: State, in_chans: int, adapt: bool, path: str) -> List[str]:
    kernel = encoder['patch_embed.proj.weight']
    if in_chans != kernel.shape[1] and not adapt:
        raise EncoderMismatchError(
            f'{path} was trained on images of {kernel.shape[1]} channels, not {in_chans}: adapt_channels=True sums or '
            "repeats the weights of its patch projection, as timm's in_chans does."
        )
    return fit_channels(encoder, kernel.new_zeros(1, in_chans, 1, 1))


def _build_vit(
    encoder: State,
    others: State,
    img_size: Optional[Size],
    patch_size: Optional[Size],
    num_heads: Optional[int],
    file: EncoderFile,
    pool: str,
    notes: List[str],
) -> nn.Module:
    """A timm ``VisionTransformer`` of the parameters, whose number and shapes tell its arguments."""
    classes = encoder['cls_token'].shape[1] if 'cls_token' in encoder else 0
    registers = encoder['reg_token'].shape[1] if 'reg_token' in encoder else 0
    if pool == 'token' and not classes:
        raise ValueError(f"{file.path} has no class token: use pool='avg'")
    options = _describe_vit(encoder, others, num_heads, file)
    stored = _fit_prefix(encoder, img_size, file)
    grid, patch = _fit_sizes(encoder, stored, img_size, patch_size, file, notes)
    if options['fc_norm']:
        encoder.update({key: value.float() for key, value in others.items() if key.startswith('fc_norm.')})
    elif 'fc_norm.weight' in others:
        notes.append('The file has a norm before the classifier besides the final one: it is left out.')
    encoder = one_class_token(encoder)
    with torch.device('meta'):  # the weights of the file become the module's: nothing is initialised or copied
        model = VisionTransformer(
            weight_init='skip',
            img_size=(grid[0] * patch[0], grid[1] * patch[1]),
            patch_size=patch,
            global_pool=pool,
            class_token=classes > 0,
            reg_tokens=registers + max(classes - 1, 0),
            **options,
        )
    model.num_class_tokens, model.num_register_tokens = classes, registers
    return _assign(model, encoder, file.path)


def _describe_vit(encoder: State, others: State, num_heads: Optional[int], file: EncoderFile) -> Dict[str, Any]:
    """The arguments of timm's VisionTransformer, inferred from names and shapes."""
    kernel = encoder.get('patch_embed.proj.weight')
    relative = [key for key in encoder if 'relative_position' in key]
    if relative or kernel is None or kernel.ndim != 4 or 'blocks.0.mlp.fc1.weight' not in encoder:
        reason = f'has relative positions ({relative[0]})' if relative else 'is none'
        raise EncoderMismatchError(
            f"{file.path}: timm's VisionTransformer is what is loaded, and the encoder in this file {reason}"
        )
    width, hub = kernel.shape[0], file.hub_config()
    arch = file.model.get(file.part, {}).get('arch')
    stated = arch.get('num_heads') if isinstance(arch, dict) else hub.get('num_heads')
    heads = num_heads or stated or {sizes[0]: sizes[2] for sizes in ARCHITECTURES.values()}.get(width)
    if heads is None or width % heads:
        raise ValueError(
            f'{file.path}: a file does not say its number of attention heads, and {width} is the width of none '
            f'of {", ".join(ARCHITECTURES)}: give num_heads=N (a divisor of {width})'
        )
    return dict(
        in_chans=kernel.shape[1],
        embed_dim=width,
        num_heads=heads,
        num_classes=0,
        depth=encoder_depth(encoder),
        mlp_ratio=encoder['blocks.0.mlp.fc1.weight'].shape[0] / width,
        qkv_bias='blocks.0.attn.qkv.bias' in encoder,
        qk_norm='blocks.0.attn.q_norm.weight' in encoder,
        init_values=1.0 if 'blocks.0.ls1.gamma' in encoder else None,
        pre_norm='norm_pre.weight' in encoder,
        final_norm='norm.weight' in encoder or 'fc_norm.weight' in others,
        fc_norm='fc_norm.weight' in others and 'norm.weight' not in encoder,
        norm_layer=partial(nn.LayerNorm, eps=hub.get('eps', 1e-6)),
    )


def _fit_prefix(encoder: State, img_size: Optional[Size], file: EncoderFile) -> Optional[Tuple[int, int]]:
    """The grid of the file's position table, None without one; gives the table a row for each class and register token.

    It is that of the config in the file, or of a fixed sine-cosine table; or else square, or else that of the wanted
    image size, if that has as many patches.
    """
    table, patch = encoder.get('pos_embed'), tuple(encoder['patch_embed.proj.weight'].shape[2:])
    (tokens, prefixes), known = count_tokens(encoder), file.grid()
    if table is None:
        return known
    wanted = tuple(side // length for side, length in zip(to_2tuple(img_size), patch)) if img_size is not None else None
    found = find_grid(table, prefixes, stated=known) or find_grid(table, prefixes, wanted)
    if found is None:
        raise ValueError(
            f'{file.path}: its {table.shape[1] - prefixes[0]} positions are no square grid, and no config in the '
            'file tells the sides: give the img_size of pre-training'
        )
    encoder['pos_embed'] = with_prefix_rows(table, found.prefix, tokens)
    return found.grid


def _fit_sizes(
    encoder: State,
    stored: Optional[Tuple[int, int]],
    img_size: Optional[Size],
    patch_size: Optional[Size],
    file: EncoderFile,
    notes: List[str],
) -> Tuple[Tuple[int, int], Tuple[int, int]]:
    """Resize position embedding and patch projection to the wanted sizes, in place; returns grid and patch size."""
    kernel, tokens = encoder['patch_embed.proj.weight'], count_tokens(encoder)[0]
    patch = to_2tuple(patch_size) if patch_size is not None else tuple(kernel.shape[2:])
    if img_size is None and stored is None:
        raise ValueError(
            f'{file.path} has no position table, and nothing in it tells the size of its images: give img_size'
        )
    if img_size is None:
        img_size = (stored[0] * kernel.shape[2], stored[1] * kernel.shape[3])
    grid, table = grid_size(img_size, patch), encoder.get('pos_embed')
    if table is None:
        encoder['pos_embed'] = file.rebuilt_positions(len(kernel), grid, tokens)
        notes.append("The file has no position table: the fixed one of its project's code was rebuilt.")
    else:
        encoder['pos_embed'] = resize_pos_embed(table, stored, grid, tokens)
    encoder['patch_embed.proj.weight'] = resample_patch_embed(kernel, list(patch))
    return grid, patch


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


def set_data_config(model: nn.Module, file: EncoderFile) -> None:
    """Set what ``timm.data.resolve_model_data_config`` reads; timm's statistics are of images in 0..1."""
    height, width = to_2tuple(model.patch_embed.img_size)
    stated = file.model.get('data_preprocessor') or {}
    mean, std = stated.get('mean') or IMAGENET_MEAN, stated.get('std') or IMAGENET_STD
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
    file: EncoderFile,
    pool: str,
) -> nn.Module:
    """A timm ``Beit`` of the parameters of an encoder, whose tables are resized.

    Args:
        encoder: In timm's names.
        others: Other parameters of the file: a norm after pooling is added to ``encoder``.
        img_size, patch_size, pool: As in :func:`.load_encoder`.
        file: Tells the grid; else it is taken to be square.

    Raises:
        EncoderMismatchError: Sizes cannot be inferred.
    """
    kernel = encoder['patch_embed.proj.weight']
    table = next(value for key, value in encoder.items() if key.endswith(TABLE))
    file_patch = tuple(kernel.shape[2:])
    stored = file.grid() or table_grid(table)
    if stored is None or len(table) != (2 * stored[0] - 1) * (2 * stored[1] - 1) + 3:
        raise EncoderMismatchError(
            f'{file.path}: its tables of relative positions have {len(table)} rows, which fit no '
            'square map with a class token, and no config in the file tells the map'
        )
    patch = to_2tuple(patch_size) if patch_size is not None else file_patch
    size = to_2tuple(img_size) if img_size is not None else tuple(n * side for n, side in zip(stored, file_patch))
    grid = grid_size(size, patch)
    if grid != stored and stored[0] != stored[1]:
        raise EncoderMismatchError(
            f'{file.path}: tables of relative positions are resized from square maps only, and '
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
        depth=encoder_depth(encoder),
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
    return _assign(model, encoder, file.path)
