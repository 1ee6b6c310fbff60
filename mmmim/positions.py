"""Position embeddings (position tables): built, recognised, resized, cached.

The number of rows of a table does not determine its grid: 64 rows may be 8 x 8, 4 x 16 or 16 x 4 patches. The grid is
read from the file's config, else from the values of a fixed sine-cosine table. A learned table without a config is
taken for the wanted grid or a square.
"""

import math
from collections import OrderedDict
from typing import NamedTuple, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor

Grid = Tuple[int, int]  # patches down and across
Size = Union[int, Tuple[int, int]]  # pixels, (height, width) or one int for both


def to_2tuple(size: Size) -> Tuple[int, int]:
    """``16 -> (16, 16)``; pairs (height, width) stay."""
    if isinstance(size, int):
        return size, size
    height, width = size
    return int(height), int(width)


def grid_size(img_size: Size, patch_size: Size) -> Tuple[int, int]:
    """Patches down and across.

    Raises:
        ValueError: The patch does not divide the image.
    """
    (h, w), (ph, pw) = to_2tuple(img_size), to_2tuple(patch_size)
    if min(h, w, ph, pw) < 1 or h % ph or w % pw:
        raise ValueError(
            f'an image of {h}x{w} pixels cannot be cut into patches of {ph}x{pw}: the patch size must '
            f'divide the image size. Nearest image size that fits: '
            f'{max(1, round(h / max(ph, 1))) * ph}x{max(1, round(w / max(pw, 1))) * pw}'
        )
    return h // ph, w // pw


def sincos_positions(embed_dim: int, grid: Tuple[int, int], num_prefix_tokens: int = 1) -> Tensor:
    """The sine-cosine position embedding of MAE, for any grid.

    The first half of the channels encodes the column, the second half the row (the original's order, "w goes
    first"), each as sines then cosines of 10000**(-i / (D/4)). Prefix tokens get zeros.

    Returns:
        ``[1, num_prefix_tokens + h*w, D]`` in the default dtype.

    Raises:
        ValueError: ``embed_dim`` is no multiple of 4.
    """
    if embed_dim % 4:
        raise ValueError(f'sine-cosine positions need a width divisible by 4, not {embed_dim}')
    h, w = grid
    quarter = embed_dim // 4
    omega = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    rows, cols = torch.meshgrid(torch.arange(h), torch.arange(w), indexing='ij')
    halves = []
    for position in (cols, rows):
        angle = position.flatten().double()[:, None] * omega
        halves += [angle.sin(), angle.cos()]
    table = torch.cat(halves, dim=1)
    table = torch.cat([table.new_zeros(num_prefix_tokens, embed_dim), table])
    return table[None].to(torch.get_default_dtype())


# Rounding to bfloat16 changes a value by 0.002 at most; tables of different grids differ by more than 0.8 somewhere.
TOLERANCE = 0.01


class TableGrid(NamedTuple):
    """The result of :func:`find_grid`."""

    prefix: int  # rows before those of the patches
    grid: Grid  # (h, w) patches
    known: bool  # False: nothing in the file states it


def sincos_grid(rows: Tensor) -> Optional[Grid]:
    """The grid (h, w) for which ``rows`` ``[h * w, D]`` are the fixed sine-cosine table; None if they are not one.

    The halves of the channels may be in either order (mmpretrain, MoCo v3 and CAE have their rows first). That is
    ambiguous only for a single row or column of patches: our order is tried first.
    """

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
    """Finds prefix and grid of a position table ``[1, prefix + h * w, D]``.

    Args:
        table: The file's.
        prefixes: Possible numbers of rows before those of the patches, the likeliest first.
        wanted: The model's grid, which is assumed for a table with as many rows and no other information.
        stated: From :func:`stated_grid`. Ignored if it has another number of patches.

    Returns:
        None if nothing states the sides and the patches do not fill a square.
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
    """Why a table with an unknown grid (:func:`find_grid`) is refused; empty if its grid is not the problem.

    Args:
        table: The file's.
        own: The model's, for its grid ``wanted``.
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


class PositionCache:
    """Cache of resampled position tables (bicubic, in float32) for the last sizes.

    Not part of the module's state: copies, pickles and state dicts leave it out. A table that was written in place,
    moved, converted or replaced is resampled again; a trained one is never cached, nor any in traced code.

    Args:
        keep: Number of sizes. A table of a 1024 x 1024 image takes 12 MiB for ViT-B.
    """

    def __init__(self, keep: int = 8) -> None:
        self.keep = keep
        self._source: Optional[tuple] = None
        self._held: Optional[Tensor] = None  # keeps the source alive, so that another table can't get its address
        self._tables: 'OrderedDict[Grid, Tensor]' = OrderedDict()

    def __call__(self, table: Tensor, old_grid: Grid, new_grid: Grid, prefix: int) -> Tensor:
        """``[1, prefix + h*w, D]`` of ``old_grid`` for ``new_grid`` (h', w')."""
        if old_grid == new_grid:
            return table
        if table.requires_grad or table.is_inference() or torch.compiler.is_compiling():
            return resize_pos_embed(table, old_grid, new_grid, prefix)
        source = (table.data_ptr(), table._version, table.dtype, table.device)
        if source != self._source:
            self._source, self._held = source, table.detach()
            self._tables.clear()
        if new_grid not in self._tables:
            with torch.inference_mode(False), torch.no_grad():  # so that it can be used in training, too
                self._tables[new_grid] = resize_pos_embed(table, old_grid, new_grid, prefix)
            if len(self._tables) > self.keep:
                self._tables.popitem(last=False)
        self._tables.move_to_end(new_grid)
        return self._tables[new_grid]

    def __reduce__(self) -> tuple:
        return PositionCache, (self.keep,)


def resize_pos_embed(table: Tensor, old_grid: Grid, new_grid: Grid, prefix: int) -> Tensor:
    """Resizes a position table, bicubic with antialiasing as in timm's ``resample_abs_pos_embed``.

    That function returns the table unchanged for a new square grid with as many patches (4 x 16 -> 8 x 8), hence this
    one.

    Args:
        table: [1, prefix + h * w, D] of ``old_grid`` = (h, w).
        new_grid: (h', w').
        prefix: Leading rows (class token) that are kept as they are.

    Returns:
        [1, prefix + h' * w', D].
    """
    (h, w), (new_h, new_w) = old_grid, new_grid
    if table.shape[1] != prefix + h * w:
        raise ValueError(f'A position table of {table.shape[1]} rows is not {prefix} + {h} x {w}.')
    if (h, w) == (new_h, new_w):
        return table
    rows = table[:, prefix:].float().reshape(1, h, w, -1).permute(0, 3, 1, 2)  # [1, D, h, w]
    rows = F.interpolate(rows, size=(new_h, new_w), mode='bicubic', antialias=True)
    rows = rows.permute(0, 2, 3, 1).flatten(1, 2).to(table.dtype)  # [1, h' * w', D]
    return torch.cat([table[:, :prefix], rows], dim=1)
