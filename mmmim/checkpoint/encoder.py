"""Extracts the encoder from any checkpoint and loads it, completely or not at all.

The naming schemes are in :mod:`mmmim.checkpoint.schemes`, whose functions can be imported from here, too.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Dict, Iterable, List, Optional, Protocol, Tuple, Union

from mmengine.logging import print_log
from timm.layers.patch_embed import resample_patch_embed

from ..positions import Grid, explain_unknown, find_grid, rebuild_positions, resize_pos_embed
from .config_text import stated_grid
from .read import AnyPath
from .schemes import SCHEMES, StateDict, consume, detect_scheme, first_names, from_mmmim, left_out, to_mmmim, unwrap
from .schemes.beit import fit_tables, is_beit
from .schemes.names import describe
from .schemes.swin import is_swin

__all__ = [
    'SCHEMES',
    'EncoderMismatchError',
    'LoadReport',
    'add_positions',
    'detect_scheme',
    'encoder_state_dict',
    'fill_encoder',
    'from_mmmim',
    'left_out',
    'rebuild_positions',
    'resize_pos_embed',
    'split_encoder',
    'to_mmmim',
    'unwrap',
]


class Encoder(Protocol):
    """What :func:`fill_encoder` needs of a backbone: timm's names, and the grid of its position table."""

    grid_size: Grid
    num_prefix_tokens: int

    def state_dict(self) -> StateDict: ...

    def load_state_dict(self, state_dict: StateDict, strict: bool = True) -> Any: ...


class EncoderMismatchError(RuntimeError):
    """A checkpoint does not fill an encoder completely."""


@dataclass
class LoadReport:
    """Report of :func:`fill_encoder`: number of ``matched`` keys, ``unused`` file keys by first name, and ``notes``."""

    matched: int = 0
    unused: Dict[str, int] = field(default_factory=dict)
    notes: List[str] = field(default_factory=list)

    def __str__(self) -> str:
        unused = ', '.join(f'{name} ({count})' for name, count in sorted(self.unused.items())) or 'none'
        return '\n'.join(
            [f'Encoder loaded: {self.matched} keys matched. Keys of the file not used: {unused}.', *self.notes]
        )


def encoder_state_dict(checkpoint: Dict[str, Any], prefix: str = 'backbone.') -> StateDict:
    """Extracts the encoder from any checkpoint: any naming scheme, wrapped or not, a whole model or an exported
    encoder.

    Args:
        checkpoint: The content of the file.
        prefix: Prefix of the encoder in a model of ours.

    Returns:
        timm's names without a prefix.

    Raises:
        EncoderMismatchError: There is no encoder under ``prefix`` nor under a known scheme's names.
    """
    return split_encoder(checkpoint, prefix)[0]


def split_encoder(
    checkpoint: Dict[str, Any], prefix: str = 'backbone.', owned: bool = False
) -> Tuple[StateDict, StateDict, Optional[str]]:
    """As :func:`encoder_state_dict`, with the other tensors and the scheme.

    Args:
        owned: ``checkpoint`` is not used afterwards: it is emptied, so that its memory can be freed early.

    Returns:
        The encoder's tensors; all others in our names (``neck.``, ``head.``, ``fc_norm.``); the detected scheme, None
        for names that are only known by their prefix.
    """
    state, meta = unwrap(checkpoint), checkpoint.get('meta')
    prefix = prefix and prefix.rstrip('.') + '.'
    scheme = detect_scheme(state)
    if owned:
        checkpoint.clear()
    if prefix != 'backbone.' or scheme in (None, 'mmmim'):
        if prefix and any(key.startswith(prefix) for key in state):
            encoder = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
            others = {key: value for key, value in state.items() if not key.startswith(prefix)}
            inner = detect_scheme(encoder)
            return _encoder_of(encoder)[0] if inner else encoder, others, inner or scheme
        if isinstance(meta, dict) and isinstance(meta.get('config'), dict):  # from export_encoder: only the encoder
            return state, {}, scheme
        if scheme in (None, 'mmmim'):
            kind = describe(state)
            raise EncoderMismatchError(
                f'There is no encoder under {prefix!r} in this checkpoint: its names begin with {first_names(state)}'
                f'{" and are those of " + kind if kind else ""}. Set the prefix to the one that holds the encoder.'
            )
    return *_encoder_of(state), scheme


def _encoder_of(state: StateDict) -> Tuple[StateDict, StateDict]:
    ours = consume(state)
    encoder = {key[len('backbone.') :]: value for key, value in ours.items() if key.startswith('backbone.')}
    return encoder, {key: value for key, value in ours.items() if not key.startswith('backbone.')}


def fill_encoder(
    module: Encoder,
    checkpoint: Union[AnyPath, Dict[str, Any]],
    prefix: str = 'backbone.',
    resize_patches: bool = False,
    logger: Any = None,
) -> LoadReport:
    """Loads an encoder into a module of ours completely or not at all, and logs a report.

    Position embeddings of another grid (see :func:`mmmim.positions.find_grid`), also relative ones, are resized; an
    absent one is rebuilt. A class token that the module does not have is dropped. A final norm (mean-pooled or dense
    models) or a mask token that the module does not have is not used. A layer scale that it does not have is multiplied
    into the layers before it, which computes the same.

    Args:
        module: A backbone with timm's names, ``grid_size`` (h, w) and ``num_prefix_tokens``.
        checkpoint: From :func:`mmmim.checkpoint.read.load_file`, or a path or address.
        prefix: Prefix of the encoder in a model of ours.
        resize_patches: Resample a patch projection of another patch size, by FlexiViT's pseudo-inverse
            (Beyer et al., 2023, "PI-resize"), instead of refusing it.
        logger: As in MMEngine's ``print_log``.

    Raises:
        EncoderMismatchError: With the missing and unexpected names, and both shapes of those that differ.
    """
    if isinstance(checkpoint, (str, PathLike)):
        from mmengine.runner.checkpoint import CheckpointLoader

        content = CheckpointLoader.load_checkpoint(str(checkpoint), map_location='cpu', logger=logger)
    else:
        content = checkpoint
    stated = stated_grid(content, prefix)
    encoder, others, scheme = split_encoder(content, prefix, owned=content is not checkpoint)
    report, unused = LoadReport(), _file_names(others, scheme)
    wanted = module.state_dict()
    _fold_layer_scale(encoder, wanted, report)
    if resize_patches:
        _fit_patch_projection(encoder, wanted, report)
    dropped = _drop_class_token(encoder, wanted, module, report)
    if 'pos_embed' in encoder:
        _fit_position_table(encoder, wanted, module, dropped, stated, report)
    else:
        _rebuild_position_table(encoder, wanted, module, scheme, report)
    report.notes += fit_tables(encoder, wanted, module.grid_size)
    for key in [key for key in encoder if re.match(r'(fc_)?norm\.|mask_token$', key) and key not in wanted]:
        del encoder[key]
        unused.append(key)
    report.matched = len(encoder)
    if 'mask_token' in wanted and 'mask_token' not in encoder:  # other encoders do not learn one
        encoder['mask_token'] = wanted['mask_token']
        report.notes.append('The file has no mask token for the encoder: the module keeps its own.')
    _check(encoder, wanted, module.grid_size)
    module.load_state_dict(encoder, strict=True)
    report.unused = dict(Counter(key.split('.')[0] for key in unused))
    print_log(str(report), logger=logger)
    return report


def _file_names(others: Iterable[str], scheme: Optional[str]) -> List[str]:
    """First names as in the file, where the original MAE's decoder is not under ``neck.``"""
    return [key.removeprefix('neck.') if scheme in ('mae', 'hf', 'simmim') else key for key in others]


def _fold_layer_scale(encoder: StateDict, wanted: StateDict, report: LoadReport) -> None:
    scales = [key for key in encoder if re.fullmatch(r'blocks\.\d+\.ls[12]\.gamma', key) and key not in wanted]
    for key in scales:
        gamma = encoder.pop(key)
        layer = key.replace('ls1.gamma', 'attn.proj').replace('ls2.gamma', 'mlp.fc2')
        for name in (f'{layer}.weight', f'{layer}.bias'):
            if name in encoder:
                encoder[name] = gamma.reshape(-1, *[1] * (encoder[name].ndim - 1)) * encoder[name]
    if scales:
        report.notes.append(f'{len(scales)} layer scales were multiplied into the layers before them.')


def _fit_patch_projection(encoder: StateDict, wanted: StateDict, report: LoadReport) -> None:
    key = 'patch_embed.proj.weight'
    kernel, own = encoder.get(key), wanted.get(key)
    if kernel is None or own is None or kernel.shape[2:] == own.shape[2:]:
        return
    encoder[key] = resample_patch_embed(kernel, list(own.shape[2:]))
    report.notes.append(
        'The patch projection was resampled from {} x {} to {} x {} pixels.'.format(*kernel.shape[2:], *own.shape[2:])
    )


def _drop_class_token(encoder: StateDict, wanted: StateDict, module: Encoder, report: LoadReport) -> bool:
    if 'cls_token' not in encoder or module.num_prefix_tokens > 0 or 'cls_token' in wanted:
        return False
    del encoder['cls_token']
    report.notes.append('The class token of the file was dropped: the module has none.')
    return True


def _rebuild_position_table(
    encoder: StateDict, wanted: StateDict, module: Encoder, scheme: Optional[str], report: LoadReport
) -> None:
    own = wanted.get('pos_embed')
    if own is None or any('relative_position' in key for key in encoder):
        return
    encoder['pos_embed'] = rebuild_positions(own.shape[-1], module.grid_size, module.num_prefix_tokens, scheme)
    report.notes.append('The file has no position table: the fixed sine-cosine table was rebuilt.')


def _fit_position_table(
    encoder: StateDict, wanted: StateDict, module: Encoder, dropped: bool, stated: Optional[Grid], report: LoadReport
) -> None:
    table, own = encoder['pos_embed'], wanted.get('pos_embed')
    if own is None or table.ndim != 3 or table.shape[-1] != own.shape[-1]:
        return
    h, w = module.grid_size
    rows = own.shape[1] - h * w  # of class and register tokens
    # Some tables have no row for the class token (timm's no_embed_class).
    found = find_grid(table, (rows + 1, rows) if dropped else (rows,), (h, w), stated)
    if found is None:  # _check reports it
        return
    encoder['pos_embed'] = resize_pos_embed(table[:, found.prefix - rows :], found.grid, (h, w), rows)
    if found.grid != (h, w):
        old = ' x '.join(map(str, found.grid))
        report.notes.append(f'The position table was resized from {old} to {h} x {w} patches (bicubic).')
    elif not found.known and h != w:
        report.notes.append(
            f"Nothing in the file tells the grid of its {h * w} positions: it was taken for the module's, {h} x {w}."
        )


def add_positions(ours: StateDict, scheme: Optional[str]) -> List[str]:
    """Adds the fixed position tables that are missing in a file in our names, in place; returns notes.

    Args:
        ours: From :func:`to_mmmim`.
        scheme: The file's, see :func:`rebuild_positions`.
    """
    layers = {'backbone.pos_embed': 'backbone.patch_embed.proj', 'neck.decoder_pos_embed': 'neck.decoder_embed'}
    widths = {table: len(ours[f'{layer}.weight']) for table, layer in layers.items() if f'{layer}.weight' in ours}
    if is_swin(ours) or any('relative_position' in key for key in ours):
        return []
    absent = [table for table in widths if table not in ours]
    if not absent:
        return []
    present = next((ours[table] for table in widths if table in ours), None)
    prefix = int('backbone.cls_token' in ours)
    found = None if present is None else find_grid(present, (prefix,))
    if found is None:
        return [f'{" and ".join(absent)} can not be rebuilt, as nothing in the file tells the grid']
    for table in absent:
        ours[table] = rebuild_positions(widths[table], found.grid, prefix, scheme)
    return [
        f'{table} was absent: the fixed sine-cosine table of {found.grid[0]} x {found.grid[1]} patches was rebuilt'
        for table in absent
    ]


def _check(encoder: StateDict, wanted: StateDict, grid: Grid) -> None:
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
        f'The encoder of the checkpoint does not match the module; nothing was loaded. The file holds '
        f'{_architecture(encoder)}, the module is {_architecture(wanted)}.'
    ]
    for title, keys in (
        ('Missing in the file', missing),
        ('Unexpected in the file', unexpected),
        ('Different shapes', shapes),
    ):
        if keys:
            more = f', and {len(keys) - 10} more' if len(keys) > 10 else ''
            lines.append(f'{title} ({len(keys)}): {"; ".join(keys[:10])}{more}')
    if is_beit(encoder) and not is_beit(wanted):
        lines.append("Its positions are relative, as BEiT's: mmmim.RelativeViT is the backbone for them, to classify.")
    unknown = '' if missing else explain_unknown(encoder.get('pos_embed'), wanted.get('pos_embed'), grid)
    lines.append(
        unknown
        if unknown and not unexpected and len(shapes) == 1
        else 'Build the module with the width, depth and patch size of the file, or name the right file or prefix. '
        '(Another patch size can be resampled: resize_patches=True beside the checkpoint in init_cfg.)'
    )
    raise EncoderMismatchError('\n'.join(lines))


def _architecture(state: StateDict) -> str:
    """``a ViT of 12 blocks of width 768, patches of 16 x 16``, inferred from names and shapes."""
    depth = len({key.split('.')[1] for key in state if key.startswith('blocks.')})
    kernel = state.get('patch_embed.proj.weight')
    if not depth or kernel is None or kernel.ndim != 4:
        return describe(state) or f'{len(state)} parameters of another kind'
    relative = ', relative positions' if any('relative_position' in key for key in state) else ''
    return (
        f'a ViT of {depth} blocks of width {kernel.shape[0]}, patches of {kernel.shape[2]} x {kernel.shape[3]}, '
        f'{kernel.shape[1]} channels{relative}'
    )
