"""Takes an encoder out of any checkpoint and loads it, completely or not at all.

The naming schemes themselves are in :mod:`mmmim.naming`, whose functions are found here, too.
"""
import re
from collections import Counter
from dataclasses import dataclass, field
from os import PathLike

import torch
import torch.nn.functional as F
from mmengine.logging import print_log

from .naming import SCHEMES, detect_scheme, first_names, from_mmmim, to_mmmim, unwrap

__all__ = ['SCHEMES', 'EncoderMismatchError', 'LoadReport', 'detect_scheme', 'encoder_state_dict', 'from_mmmim',
           'load_encoder', 'resize_pos_embed', 'to_mmmim', 'unwrap']


class EncoderMismatchError(RuntimeError):
    """A checkpoint does not fill an encoder completely."""


@dataclass
class LoadReport:
    """What :func:`load_encoder` did: number of ``matched`` keys, ``unused`` file keys by first name, and ``notes``."""
    matched: int = 0
    unused: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)

    def __str__(self) -> str:
        unused = ', '.join(f'{name} ({count})' for name, count in sorted(self.unused.items())) or 'none'
        return '\n'.join([f'Encoder loaded: {self.matched} keys matched. Keys of the file not used: {unused}.',
                          *self.notes])


def encoder_state_dict(checkpoint, prefix: str = 'backbone.') -> dict:
    """Takes the encoder out of any checkpoint: any scheme, wrapped or not, a whole model or an exported encoder.

    Args:
        checkpoint (dict): As it was read from the file.
        prefix (str): Where the encoder is in a model of ours.

    Returns:
        dict[str, Tensor]: timm's names without a prefix.

    Raises:
        EncoderMismatchError: There is no encoder under ``prefix`` nor under a known scheme's names.
    """
    return _split(checkpoint, prefix)[0]


def _split(checkpoint, prefix):
    """Returns the encoder's tensors and the names of all others."""
    state = unwrap(checkpoint)
    prefix = prefix and prefix.rstrip('.') + '.'
    if prefix and any(key.startswith(prefix) for key in state):
        encoder = {key[len(prefix):]: value for key, value in state.items() if key.startswith(prefix)}
        return encoder, [key for key in state if not key.startswith(prefix)]
    meta = checkpoint.get('meta')
    if isinstance(meta, dict) and isinstance(meta.get('config'), dict):  # written by export_encoder: nothing else in it
        return state, []
    scheme = detect_scheme(state)
    if scheme in (None, 'mmmim'):
        raise EncoderMismatchError(f'There is no encoder under {prefix!r} in this checkpoint: its names begin with '
                                   f'{first_names(state)}. Set the prefix to the one that holds the encoder.')
    ours = to_mmmim(state)
    encoder = {key[len('backbone.'):]: value for key, value in ours.items() if key.startswith('backbone.')}
    return encoder, [key.removeprefix('neck.') for key in ours if not key.startswith('backbone.')]


def load_encoder(module, checkpoint, prefix: str = 'backbone.', logger=None) -> LoadReport:
    """Loads an encoder completely or not at all, and says what it did.

    A position table of another grid is resized. A class token that the module does not have is dropped. A final norm
    (mean-pooled or dense models) or a mask token that the module does not have stays unused.

    Args:
        module (nn.Module): A backbone with timm's names, ``grid_size`` (h, w) and ``num_prefix_tokens``.
        checkpoint (dict or str): What :func:`mmmim.safe_load.load_file` returned, or a path or address.
        prefix (str): Where the encoder is in a model of ours.
        logger: As in MMEngine's ``print_log``.

    Raises:
        EncoderMismatchError: With the missing and unexpected names, and both shapes of those that differ.
    """
    if isinstance(checkpoint, (str, PathLike)):
        from mmengine.runner.checkpoint import CheckpointLoader
        checkpoint = CheckpointLoader.load_checkpoint(str(checkpoint), map_location='cpu', logger=logger)
    encoder, others = _split(checkpoint, prefix)
    report = LoadReport()
    wanted = module.state_dict()
    _drop_class_token(encoder, wanted, module, report)
    _fit_position_table(encoder, wanted, module, report)
    for key in [key for key in encoder if re.match(r'(fc_)?norm\.|mask_token$', key) and key not in wanted]:
        del encoder[key]
        others.append(key)
    report.matched = len(encoder)
    if 'mask_token' in wanted and 'mask_token' not in encoder:  # says nothing about images: not learned elsewhere
        encoder['mask_token'] = wanted['mask_token']
        report.notes.append('The file has no mask token for the encoder: the module keeps its own.')
    _check(encoder, wanted)
    module.load_state_dict(encoder, strict=True)
    report.unused = dict(Counter(key.split('.')[0] for key in others))
    print_log(str(report), logger=logger)
    return report


def _drop_class_token(encoder, wanted, module, report):
    if 'cls_token' not in encoder or module.num_prefix_tokens > 0 or 'cls_token' in wanted:
        return
    del encoder['cls_token']
    table = encoder.get('pos_embed')
    h, w = module.grid_size
    # Tables without a row for the class token exist, too (timm's no_embed_class).
    rows = 0 if table is None else table.shape[1]
    if rows != h * w and (rows == h * w + 1 or _is_square(rows - 1)):
        encoder['pos_embed'] = table[:, 1:]
    report.notes.append('The class token of the file was dropped: the module has none.')


def _fit_position_table(encoder, wanted, module, report):
    table, own = encoder.get('pos_embed'), wanted.get('pos_embed')
    if table is None or own is None or table.shape == own.shape or table.shape[-1] != own.shape[-1]:
        return
    h, w = module.grid_size
    rows = own.shape[1] - h * w  # of class and register tokens
    patches = table.shape[1] - rows
    if not _is_square(patches):  # a file does not say its grid; _check reports both shapes
        return
    side = int(patches ** 0.5 + 0.5)
    encoder['pos_embed'] = resize_pos_embed(table, (side, side), (h, w), rows)
    report.notes.append(f'The position table was resized from {side} x {side} to {h} x {w} patches (bicubic).')


def _is_square(number) -> bool:
    return number > 0 and int(number ** 0.5 + 0.5) ** 2 == number


def resize_pos_embed(table, old_grid, new_grid, prefix: int):
    """Resizes a position table, bicubic with antialiasing as in timm's ``resample_abs_pos_embed``.

    That function returns the table unchanged when a grid becomes square with as many patches (4 x 16 -> 8 x 8), hence
    this one.

    Args:
        table (Tensor): [1, prefix + h * w, D] of ``old_grid`` = (h, w).
        new_grid (tuple[int, int]): (h', w').
        prefix (int): Leading rows (class token) that are kept as they are.

    Returns:
        Tensor: [1, prefix + h' * w', D].
    """
    old_grid, new_grid = tuple(old_grid), tuple(new_grid)
    if table.shape[1] != prefix + old_grid[0] * old_grid[1]:
        raise ValueError(f'A position table of {table.shape[1]} rows is not {prefix} + {old_grid[0]} x {old_grid[1]}.')
    if old_grid == new_grid:
        return table
    rows = table[:, prefix:].float().reshape(1, *old_grid, -1).permute(0, 3, 1, 2)  # [1, D, h, w]
    rows = F.interpolate(rows, size=new_grid, mode='bicubic', antialias=True)
    rows = rows.permute(0, 2, 3, 1).flatten(1, 2).to(table.dtype)  # [1, h' * w', D]
    return torch.cat([table[:, :prefix], rows], dim=1)


def _check(encoder, wanted):
    missing = [key for key in wanted if key not in encoder]
    unexpected = [key for key in encoder if key not in wanted]
    shapes = [f'{key}: file {list(encoder[key].shape)}, module {list(wanted[key].shape)}'
              for key in wanted if key in encoder and encoder[key].shape != wanted[key].shape]
    if not (missing or unexpected or shapes):
        return
    lines = ['The encoder of the checkpoint does not match the module; nothing was loaded.']
    for title, keys in (('Missing in the file', missing), ('Unexpected in the file', unexpected),
                        ('Different shapes', shapes)):
        if keys:
            more = f', and {len(keys) - 10} more' if len(keys) > 10 else ''
            lines.append(f'{title} ({len(keys)}): {"; ".join(keys[:10])}{more}')
    lines.append('Build the module with the width, depth and patch size of the file, or name the right file or prefix.')
    raise EncoderMismatchError('\n'.join(lines))
