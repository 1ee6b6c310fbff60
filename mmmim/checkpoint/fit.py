"""Fits the parameters of a file's encoder to a module: positions, tokens, channels, patch and window sizes."""

import re
from typing import Callable, List, Optional, Protocol, Tuple

import torch
from timm.layers import resize_rel_pos_bias_table
from timm.layers.patch_embed import resample_patch_embed
from timm.models import adapt_input_conv
from torch import Tensor

from ..positions import Grid, explain_unknown, find_grid, resize_pos_embed
from .defaults import advice_on_names
from .kinds import describe
from .peel import EncoderMismatchError
from .read import StateDict
from .schemes.beit import TABLE, fit_tables, is_beit, separate
from .schemes.names import encoder_depth

PATCHES = 'patch_embed.proj.weight'
Rebuild = Callable[[int, Grid, int], Optional[Tensor]]


class Sized(Protocol):
    """A backbone: the grid (h, w) of its position table, and the tokens before those of the patches."""

    grid_size: Grid
    num_prefix_tokens: int


def fit_tensors(
    encoder: StateDict,
    wanted: StateDict,
    module: Sized,
    stated: Optional[Grid],
    rebuild: Rebuild,
    resize_patches: bool,
    adapt_channels: bool,
    notes: List[str],
) -> List[str]:
    """Changes ``encoder`` in place to what a module's ``state_dict`` has, as far as that computes the same or as asked.

    Args:
        encoder: Of the file, in timm's names.
        wanted: The module's ``state_dict``.
        module: The module.
        stated: The grid that the file states.
        rebuild: Gives the table that the file's project computes, for a width, a grid and a number of prefix rows.
        resize_patches, adapt_channels: As in :func:`.fill_encoder`.
        notes: What was done is added to it.

    Returns:
        Names that the module has no place for and that nothing depends on: a final norm, a mask token.
    """
    separate(encoder, wanted)
    scales = [key for key in encoder if re.fullmatch(r'blocks\.\d+\.ls[12]\.gamma', key) and key not in wanted]
    if scales:
        _fold_layer_scale(encoder, scales, notes)
    if adapt_channels:
        notes += fit_channels(encoder, wanted.get(PATCHES))
    if resize_patches:
        _fit_patches(encoder, wanted, notes)
    if 'pos_embed' not in encoder:
        _rebuild(encoder, wanted, module, rebuild, notes)
    _fit_positions(encoder, wanted, module, stated, notes)
    if any(key.endswith(TABLE) for key in encoder):
        notes += fit_tables(encoder, wanted, module.grid_size)
        _fit_windows(encoder, wanted, notes)
    unused = [name for name in encoder if re.match(r'(fc_)?norm\.|mask_token$', name) and name not in wanted]
    for name in unused:
        del encoder[name]
    return unused


def _fold_layer_scale(encoder: StateDict, scales: List[str], notes: List[str]) -> None:
    for key in scales:
        gamma = encoder.pop(key)
        layer = key.replace('ls1.gamma', 'attn.proj').replace('ls2.gamma', 'mlp.fc2')
        for name in (f'{layer}.weight', f'{layer}.bias'):
            if name in encoder:
                encoder[name] = gamma.reshape(-1, *[1] * (encoder[name].ndim - 1)) * encoder[name]
    notes.append(f'{len(scales)} layer scales were multiplied into the layers before them.')


def fit_channels(encoder: StateDict, own: Optional[Tensor]) -> List[str]:
    """Adapts the patch projection to the channels of ``own`` ``[D, C, P, P]``, in place; returns notes.

    As in timm: for one channel the weights are summed, for others repeated and scaled.
    """
    kernel = encoder.get(PATCHES)
    if kernel is None or own is None or kernel.ndim != 4 or kernel.shape[1] == own.shape[1]:
        return []
    try:
        encoder[PATCHES] = adapt_input_conv(own.shape[1], kernel)
    except (NotImplementedError, AssertionError):
        raise EncoderMismatchError(
            f'adapt_channels: timm adapts projections of 3 channels, and any to 1; not {kernel.shape[1]} to '
            f'{own.shape[1]}. Give it images of {kernel.shape[1]} channels (in_chans, LoadImage.channels), '
            'or start from another one.'
        ) from None
    return [f'The patch projection was adapted from {kernel.shape[1]} to {own.shape[1]} channels.']


def _fit_patches(encoder: StateDict, wanted: StateDict, notes: List[str]) -> None:
    kernel, own = encoder.get(PATCHES), wanted.get(PATCHES)
    if kernel is None or own is None or kernel.shape[2:] == own.shape[2:]:
        return
    encoder[PATCHES] = resample_patch_embed(kernel, list(own.shape[2:]))
    notes.append(
        'The patch projection was resampled from {} x {} to {} x {} pixels.'.format(*kernel.shape[2:], *own.shape[2:])
    )


def _rebuild(encoder: StateDict, wanted: StateDict, module: Sized, rebuild: Rebuild, notes: List[str]) -> None:
    own = wanted.get('pos_embed')
    table = None if own is None else rebuild(own.shape[-1], module.grid_size, count_tokens(encoder)[0])
    if table is not None:
        encoder['pos_embed'] = table
        notes.append("The file has no position table: the fixed one of its project's code was rebuilt.")


def count_tokens(encoder: StateDict) -> Tuple[int, List[int]]:
    """Number of class and register tokens; and how many rows of a position table may belong to them: to all, to class
    tokens alone (DINOv2), or none (timm's ``no_embed_class``)."""
    classes, registers = (encoder[name].shape[1] if name in encoder else 0 for name in ('cls_token', 'reg_token'))
    return classes + registers, list(dict.fromkeys((classes + registers, classes, 0)))


def with_prefix_rows(table: Tensor, prefix: int, tokens: int) -> Tensor:
    """A table with a row for each token: zeros for those without a position of their own."""
    zeros = table.new_zeros(1, tokens - prefix, table.shape[2])
    return torch.cat([table[:, :prefix], zeros, table[:, prefix:]], dim=1)


def _fit_positions(
    encoder: StateDict, wanted: StateDict, module: Sized, stated: Optional[Grid], notes: List[str]
) -> None:
    table, own = encoder.get('pos_embed'), wanted.get('pos_embed')
    (tokens, prefixes), dropped = count_tokens(encoder), []
    if not module.num_prefix_tokens and not {'cls_token', 'reg_token'} & set(wanted):
        dropped = [name for name in ('cls_token', 'reg_token') if name in encoder]
        for name in dropped:
            del encoder[name]
    if dropped:
        said = ' and '.join(dict(cls_token='class token', reg_token='register tokens')[name] for name in dropped)
        notes.append(f'The {said} of the file {"was" if dropped == ["cls_token"] else "were"} dropped.')
    if table is None or own is None or table.ndim != 3 or table.shape[-1] != own.shape[-1]:
        return  # check reports it
    grid = module.grid_size
    found = find_grid(table, prefixes, grid, stated)
    if found is None:
        return
    if found.prefix < tokens:
        table = with_prefix_rows(table, found.prefix, tokens)
    table = table[:, tokens if dropped else 0 :]
    encoder['pos_embed'] = resize_pos_embed(table, found.grid, grid, 0 if dropped else tokens)
    if found.grid != grid:
        old = ' x '.join(map(str, found.grid))
        notes.append(f'The position table was resized from {old} to {grid[0]} x {grid[1]} patches (bicubic).')
    elif not found.known and grid[0] != grid[1]:
        notes.append(
            f'Nothing in the file tells the grid of its {grid[0] * grid[1]} positions: it was taken for the '
            f"module's, {grid[0]} x {grid[1]}."
        )


def _fit_windows(encoder: StateDict, wanted: StateDict, notes: List[str]) -> None:
    """Resizes Swin's tables of relative positions for windows of another size, as BEiT's are."""
    resized = []
    for name, table in encoder.items():
        own = wanted.get(name)
        if not re.fullmatch(rf'layers\.\d+\.blocks\.\d+\.attn\.{TABLE}', name) or own is None:
            continue
        if table.shape[0] != own.shape[0] and table.shape[1:] == own.shape[1:]:
            side = round((own.shape[0] ** 0.5 + 1) / 2)
            encoder[name] = resize_rel_pos_bias_table(table.float(), (side, side), own.shape).to(table.dtype)
            resized.append((round((table.shape[0] ** 0.5 + 1) / 2), side))
    for old, new in dict.fromkeys(resized):
        notes.append(
            f'{resized.count((old, new))} tables of relative positions were resized from windows of {old} x {old} to '
            f'{new} x {new} patches.'
        )


def check(encoder: StateDict, wanted: StateDict, grid: Grid, path: str = '') -> None:
    """Whether names and shapes are those of the module.

    Raises:
        EncoderMismatchError: With what is missing, unexpected, or of another shape.
    """
    missing = [key for key in wanted if key not in encoder]
    unexpected = [key for key in encoder if key not in wanted]
    shapes = [
        f'{key}: file {list(encoder[key].shape)}, module {list(wanted[key].shape)}'
        for key in wanted
        if key in encoder and encoder[key].shape != wanted[key].shape
    ]
    if not (missing or unexpected or shapes):
        return
    lines = [
        f'{f"{path}: the" if path else "The"} encoder of the checkpoint does not match the module; nothing was loaded. '
        f'The file holds {_architecture(encoder)}, the module is {_architecture(wanted)}.'
    ]
    for title, keys in (
        ('Missing in the file', missing),
        ('Unexpected in the file', unexpected),
        ('Different shapes', shapes),
    ):
        if keys:
            more = f', and {len(keys) - 10} more' if len(keys) > 10 else ''
            lines.append(f'{title} ({len(keys)}): {"; ".join(keys[:10])}{more}')
    unknown = '' if missing else explain_unknown(encoder.get('pos_embed'), wanted.get('pos_embed'), grid)
    lines += [unknown] if unknown and not unexpected and len(shapes) == 1 else _advice(encoder, wanted)
    raise EncoderMismatchError('\n'.join(lines))


def _advice(encoder: StateDict, wanted: StateDict) -> List[str]:
    lines = advice_on_names(encoder, wanted)
    explained = bool(lines)
    if is_beit(encoder) and not is_beit(wanted):
        lines.append("Its positions are relative, as BEiT's: mmmim.RelativeViT is the backbone for them, to classify.")
    if is_beit(wanted) and 'pos_embed' in encoder and 'pos_embed' not in wanted:
        lines.append(
            'Its positions are absolute: mmmim.MaskedViT is the backbone for them, or, for a ViT with a layer scale as '
            "CAE's, absolute_positions=True beside relative ones."
        )
    for name, key in (('cls_token', 'num_class_tokens'), ('reg_token', 'num_register_tokens')):
        theirs, own = (state[name].shape[1] if name in state else 0 for state in (encoder, wanted))
        if theirs != own and (theirs > 1 or own > 1 or name == 'reg_token'):
            lines.append(f'The backbone needs {key}={theirs}.')
    kernel, own_kernel = encoder.get(PATCHES), wanted.get(PATCHES)
    if kernel is not None and own_kernel is not None and kernel.shape[1] != own_kernel.shape[1]:
        lines.append('Another number of channels is adapted by adapt_channels=True beside the checkpoint in init_cfg.')
    same = kernel is not None and own_kernel is not None and kernel.shape == own_kernel.shape
    if not (same or explained) or encoder_depth(encoder) != encoder_depth(wanted):
        lines.append(
            'Build the module with the width, depth and patch size of the file, or name the right file or prefix.'
        )
    if kernel is not None and own_kernel is not None and kernel.shape[2:] != own_kernel.shape[2:]:
        lines.append('(Another patch size can be resampled: resize_patches=True beside the checkpoint in init_cfg.)')
    return lines


def _architecture(state: StateDict) -> str:
    """``a ViT of 12 blocks of width 768, patches of 16 x 16``, inferred from names and shapes."""
    depth, kernel = encoder_depth(state), state.get(PATCHES)
    if not depth or kernel is None or kernel.ndim != 4:
        return describe(state)[0] or f'{len(state)} parameters of another kind'
    relative = ', relative positions' if any('relative_position' in key for key in state) else ''
    registers = f', {state["reg_token"].shape[1]} register tokens' if 'reg_token' in state else ''
    return (
        f'a ViT of {depth} blocks of width {kernel.shape[0]}, patches of {kernel.shape[2]} x {kernel.shape[3]}, '
        f'{kernel.shape[1]} channels{registers}{relative}'
    )
