"""Load the encoder of any checkpoint as a timm module that computes features."""

import os
from typing import Any, Dict, List, Optional, Tuple

from mmengine.logging import print_log
from timm.layers.patch_embed import resample_patch_embed
from timm.models.beit import Beit
from torch import Tensor, nn

from ..checkpoint.encoder import EncoderFile, EncoderMismatchError, Unused, open_encoder
from ..checkpoint.fit import count_tokens, fit_channels, with_prefix_rows
from ..checkpoint.schemes.beit import TABLE, fit_tables, is_beit, table_grid
from ..checkpoint.schemes.names import pooled_norm_name
from ..checkpoint.schemes.timm import one_class_token
from ..checkpoint.timm_config import build_timm, check_timm, timm_config
from ..positions import find_grid, resize_pos_embed
from .backbones.vit import ARCHITECTURES
from .patches import Size, grid_size, to_2tuple
from .preprocess import IMAGENET_MEAN, IMAGENET_STD

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
    model, _, notes = timm_module(
        file,
        img_size=img_size,
        patch_size=patch_size,
        in_chans=in_chans,
        num_heads=num_heads,
        pool=pool,
        adapt_channels=adapt_channels,
    )
    for note in notes:
        print_log(f'{file.path}: {note}', 'current')
    return model


def timm_module(
    file: EncoderFile,
    *,
    img_size: Optional[Size] = None,
    patch_size: Optional[Size] = None,
    in_chans: Optional[int] = None,
    num_heads: Optional[int] = None,
    pool: str = 'avg',
    adapt_channels: bool = False,
    classifier: Optional[State] = None,
) -> Tuple[nn.Module, Dict[str, Any], List[str]]:
    """The timm module of an open file, the content of timm's ``config.json`` for it, and notes.

    The arguments are those of :func:`load_encoder`; ``classifier``: parameters of a linear one, in timm's names.
    """
    encoder = {key: value for key, value in {**file.encoder, **(classifier or {})}.items() if key != 'mask_token'}
    others = {pooled_norm_name(key): value for key, value in file.others.items()}
    norm, notes = {key: value for key, value in others.items() if key.startswith('fc_norm.')}, list(file.notes)
    if 'norm.weight' not in encoder:
        encoder.update(norm)
    elif norm:
        notes.append('The file has a norm before the classifier besides the final one: it is left out.')
    encoder = {key: value.float() if value.is_floating_point() else value for key, value in encoder.items()}
    if in_chans is not None:
        notes += _set_channels(encoder, in_chans, adapt_channels, file.path)
    counts = [encoder[name].shape[1] if name in encoder else 0 for name in ('cls_token', 'reg_token')]
    is_vit = not is_beit(encoder) and not any(key.startswith('layers.') for key in encoder)
    if is_vit and pool == 'token' and not counts[0]:
        raise ValueError(f"{file.path} has no class token: use pool='avg'")
    try:
        if is_vit:
            num_heads = _num_heads(encoder, num_heads, file)
            img_size = _fit_vit(encoder, img_size, patch_size, file, notes)
            encoder = one_class_token(encoder)
        elif is_beit(encoder):
            img_size = _fit_beit(encoder, img_size, patch_size, file)
        elif img_size is None:
            img_size = file.model.get(file.part, {}).get('img_size')
        config = timm_config(encoder, img_size, num_heads, *_statistics(file), pool)
    except EncoderMismatchError as error:
        raise EncoderMismatchError(f'{file.path}: {error}') from None
    # a ViT has no buffers: the file's weights become the module's, and nothing is initialised or copied
    model: Any = build_timm(config, 'meta' if is_vit else 'cpu')
    if is_vit:
        model.num_class_tokens, model.num_register_tokens = counts
        _set_eps(model, file, notes)
    model.model_args = config['model_args']
    if isinstance(model, Beit):
        _finish_beit(model, encoder, config, pool, notes)
    return _assign(model, encoder, file.path).eval(), config, notes


def _set_channels(encoder: State, in_chans: int, adapt: bool, path: str) -> List[str]:
    kernel = encoder['patch_embed.proj.weight']
    if in_chans != kernel.shape[1] and not adapt:
        raise EncoderMismatchError(
            f'{path} was trained on images of {kernel.shape[1]} channels, not {in_chans}: adapt_channels=True sums or '
            "repeats the weights of its patch projection, as timm's in_chans does."
        )
    return fit_channels(encoder, kernel.new_zeros(1, in_chans, 1, 1))


def _num_heads(encoder: State, num_heads: Optional[int], file: EncoderFile) -> int:
    kernel = encoder.get('patch_embed.proj.weight')
    width = 0 if kernel is None else len(kernel)
    stated = file.num_heads()
    if num_heads and stated and num_heads != stated:
        raise ValueError(f'{file.path} states {stated} attention heads, and num_heads={num_heads} was given.')
    heads = num_heads or stated or {sizes[0]: sizes[2] for sizes in ARCHITECTURES.values()}.get(width)
    if width and (heads is None or heads < 1 or width % heads):
        raise ValueError(
            f'{file.path}: a file does not say its number of attention heads, and {width} is the width of none '
            f'of {", ".join(ARCHITECTURES)}: give num_heads=N (a divisor of {width})'
        )
    return heads or 0


def _set_eps(model: nn.Module, file: EncoderFile, notes: List[str]) -> None:
    eps = file.hub_facts().get('eps', 1e-6)
    if eps != 1e-6:
        notes.append(f'Its layer norms have eps={eps}. timm saves no eps: saved and loaded by timm, they have 1e-6.')
        for part in model.modules():
            if isinstance(part, nn.LayerNorm):
                part.eps = eps


def _fit_prefix(encoder: State, img_size: Optional[Size], file: EncoderFile) -> Optional[Tuple[int, int]]:
    """The grid of the file's position table, None without one; gives the table a row for each class and register token.

    It is that of the config in the file, or of a fixed sine-cosine table; or else square, or else that of the wanted
    image size, if that has as many patches.
    """
    table, (height, width) = encoder.get('pos_embed'), encoder['patch_embed.proj.weight'].shape[2:]
    (tokens, prefixes), known = count_tokens(encoder), file.grid
    if table is None:
        return known
    sides = None if img_size is None else to_2tuple(img_size)
    wanted = None if sides is None else (sides[0] // height, sides[1] // width)
    found = find_grid(table, prefixes, stated=known) or find_grid(table, prefixes, wanted)
    if found is None:
        raise ValueError(
            f'{file.path}: its {table.shape[1] - prefixes[0]} positions are no square grid, and no config in the '
            'file tells the sides: give the img_size of pre-training'
        )
    encoder['pos_embed'] = with_prefix_rows(table, found.prefix, tokens)
    return found.grid


def _fit_vit(
    encoder: State, img_size: Optional[Size], patch_size: Optional[Size], file: EncoderFile, notes: List[str]
) -> Size:
    """Resize position embedding and patch projection to the wanted sizes, in place; returns the image size."""
    kernel = encoder.get('patch_embed.proj.weight')
    if kernel is None or kernel.ndim != 4:
        raise EncoderMismatchError('its patch embedding is not one projection')
    stored, tokens = _fit_prefix(encoder, img_size, file), count_tokens(encoder)[0]
    patch = (kernel.shape[2], kernel.shape[3]) if patch_size is None else to_2tuple(patch_size)
    if img_size is None and stored is not None:
        img_size = (stored[0] * kernel.shape[2], stored[1] * kernel.shape[3])
    if img_size is None:
        raise ValueError(
            f'{file.path} has no position table, and nothing in it tells the size of its images: give img_size'
        )
    grid, table = grid_size(img_size, patch), encoder.get('pos_embed')
    if table is None:
        rebuilt = file.rebuilt_positions(len(kernel), grid, tokens)
        assert rebuilt is not None  # file.check() has seen to it
        encoder['pos_embed'] = rebuilt
        notes.append("The file has no position table: the fixed one of its project's code was rebuilt.")
    else:
        assert stored is not None  # of a table
        encoder['pos_embed'] = resize_pos_embed(table, stored, grid, tokens)
    encoder['patch_embed.proj.weight'] = resample_patch_embed(kernel, list(patch))
    return img_size


def _fit_beit(encoder: State, img_size: Optional[Size], patch_size: Optional[Size], file: EncoderFile) -> Size:
    """Resize tables and patch projection to the wanted sizes, in place; returns the image size.

    The file's map is that of its config, or else square.
    """
    kernel = encoder['patch_embed.proj.weight']
    tables = {key: value for key, value in encoder.items() if key.endswith(TABLE)}
    rows, file_patch = len(next(iter(tables.values()))), (kernel.shape[2], kernel.shape[3])
    stored = file.grid or table_grid(next(iter(tables.values())))
    if stored is None or rows != (2 * stored[0] - 1) * (2 * stored[1] - 1) + 3:
        raise EncoderMismatchError(
            f'its tables of relative positions have {rows} rows, which fit no square map with a class token, and no '
            'config in the file tells the map'
        )
    patch = to_2tuple(patch_size) if patch_size is not None else file_patch
    size = (stored[0] * file_patch[0], stored[1] * file_patch[1]) if img_size is None else to_2tuple(img_size)
    grid = grid_size(size, patch)
    if grid != stored and stored[0] != stored[1]:
        raise EncoderMismatchError(
            'tables of relative positions are resized from square maps only, and these are for '
            f'{stored[0]} x {stored[1]} patches: leave img_size out'
        )
    new_rows = (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3
    fit_tables(encoder, {key: value.new_empty(new_rows, value.shape[1]) for key, value in tables.items()}, grid)
    if 'pos_embed' in encoder:
        encoder['pos_embed'] = resize_pos_embed(encoder['pos_embed'], stored, grid, 1)
    encoder['patch_embed.proj.weight'] = resample_patch_embed(kernel, list(patch))
    return size


def _statistics(file: EncoderFile) -> Tuple[Any, Any]:
    """Mean and standard deviation of pixels in 0..255; ImageNet's where the file states none."""
    stated = file.model.get('data_preprocessor')
    stated = stated if isinstance(stated, dict) else {}
    return stated.get('mean') or IMAGENET_MEAN, stated.get('std') or IMAGENET_STD


def _finish_beit(model: Any, encoder: State, config: Dict[str, Any], pool: str, notes: List[str]) -> None:
    """What timm has no arguments for: the pooling (before timm 1.0.31), and an encoder without a final norm."""
    model.global_pool = pool
    if not {'norm.weight', 'fc_norm.weight'} & set(encoder):
        model.fc_norm = nn.Identity()
    try:
        check_timm(config, encoder)
    except EncoderMismatchError as error:
        del model.pretrained_cfg['architecture']
        notes.append(f'timm can not save it: {error}')


def _assign(model: nn.Module, state: State, path: str) -> nn.Module:
    try:
        model.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        reason = ' '.join(str(error).split())
        raise EncoderMismatchError(f'{path} does not fit a timm {type(model).__name__}: {reason}') from None
    return model
