"""The grid that a position table in a file was made for, which the number of its rows alone does not tell.

64 rows may be 8 x 8, 4 x 16 or 16 x 4 patches. Told apart by what the file says of itself, then by the values of a
fixed sine-cosine table. A learned table of a file that says nothing is taken for the wanted grid or a square.
"""

import math
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

from torch import Tensor

from .config_text import ConfigTextError, parse_config_text

Grid = Tuple[int, int]
# Rounding to bfloat16 changes a value by 0.002 at most; tables of different grids differ by more than 0.8 somewhere.
TOLERANCE = 0.01


class TableGrid(NamedTuple):
    """What :func:`find_grid` found."""

    prefix: int  # rows before those of the patches
    grid: Grid  # (h, w) patches
    known: bool  # False: nothing in the file tells it


def stated_grid(checkpoint: Any, prefix: str = 'backbone.') -> Optional[Grid]:
    """The grid by the image and patch size in a checkpoint's own config; None where it says nothing usable.

    Args:
        checkpoint: As :func:`mmmim.safe_load.load_file` returned it. The config is a text (a training checkpoint) that
            is parsed and never executed, or a dict (an exported encoder).
        prefix: Of the encoder's names, which is the key of its config in the model's. ``backbone`` stands for others.
    """
    from .models.patches import grid_size  # the models import translate, which imports this module

    model = _stated_model(checkpoint)
    cfg = model.get((prefix or '').split('.')[0])
    cfg = cfg if isinstance(cfg, dict) else model.get('backbone')
    if not isinstance(cfg, dict) or 'img_size' not in cfg:
        return None
    try:
        return grid_size(cfg['img_size'], cfg.get('patch_size', 16))  # the default of our ViTs and of mmpretrain's
    except (TypeError, ValueError, OverflowError):
        return None


def _stated_model(checkpoint: Any) -> Dict[str, Any]:
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if not isinstance(meta, dict):
        return {}
    exported, text = meta.get('config'), meta.get('cfg_text', meta.get('cfg'))
    if isinstance(exported, dict):
        return dict(backbone=exported.get('backbone', exported))
    try:
        model = parse_config_text(text).get('model') if isinstance(text, str) else None
    except ConfigTextError:  # more than plain values: counts as absent
        model = None
    return model if isinstance(model, dict) else {}


def sincos_grid(rows: Tensor) -> Optional[Grid]:
    """The grid (h, w) for which ``rows`` ``[h * w, D]`` are the fixed sine-cosine table; None when they are none.

    The halves of the channels may stand in either order: see :func:`mmmim.translate.rebuild_positions`. Only
    for a single row or column of patches that is ambiguous: ours is tried first.
    """
    from .models.positions import sincos_positions

    count, width = rows.shape
    if count < 1 or width % 4:
        return None
    half = width // 2
    for table in (rows.float(), rows.float().roll(half, -1)):
        # the second half encodes the row of a patch: it is constant until the second row begins
        first_row = ((table[:, half:] - table[0, half:]).abs() < TOLERANCE).all(dim=1).cumprod(dim=0)
        w = int(first_row.sum())
        if w < 1 or count % w:
            continue
        expected = sincos_positions(width, (count // w, w), 0)[0].to(table)
        if (table - expected).abs().max() < TOLERANCE:
            return count // w, w
    return None


def find_grid(
    table: Tensor, prefixes: Sequence[int], wanted: Optional[Grid] = None, stated: Optional[Grid] = None
) -> Optional[TableGrid]:
    """Reads a position table ``[1, prefix + h * w, D]``.

    Args:
        table: Of the file.
        prefixes: How many rows may stand before those of the patches, the likeliest number first.
        wanted: The model's grid, for which a table is taken that has as many rows and says nothing else.
        stated: From :func:`stated_grid`. One of another number of patches counts for nothing.

    Returns:
        None when nothing tells the sides and the patches do not fill a square.
    """
    patches = {prefix: table.shape[1] - prefix for prefix in prefixes}
    for prefix, count in patches.items():
        if stated is not None and math.prod(stated) == count:
            return TableGrid(prefix, stated, True)
    for prefix in prefixes:
        grid = sincos_grid(table[0, prefix:])
        if grid is not None:
            return TableGrid(prefix, grid, True)
    for prefix, count in patches.items():
        if wanted is not None and math.prod(wanted) == count:
            return TableGrid(prefix, wanted, False)
    for prefix, count in patches.items():
        side = math.isqrt(max(count, 0))
        if side > 0 and side**2 == count:
            return TableGrid(prefix, (side, side), False)
    return None


def explain_unknown(table: Optional[Tensor], own: Optional[Tensor], wanted: Grid) -> str:
    """Why a table that :func:`find_grid` could not read is refused; empty when that is not what is wrong with it.

    Args:
        table: Of the file.
        own: Of the model, for its grid ``wanted``.
    """
    if table is None or own is None or table.shape == own.shape or table.shape[::2] != own.shape[::2]:
        return ''
    rows, prefix = table.shape[1], own.shape[1] - math.prod(wanted)
    return (
        f"The file's position table has {rows} rows, {rows - prefix} for patches and {prefix} before them; the "
        f"model's grid is {wanted[0]} x {wanted[1]} patches. The table can not be resized, as its own grid is not "
        'known: no config in the file tells it, the values are not the sine-cosine ones, and it is no square. Give '
        'the file as training wrote it (epoch_N.pth or encoder.safetensors, with the config inside), or build the '
        f'model with the img_size=(height, width) of the pre-training, which makes {rows - prefix} patches.'
    )
