"""Features on grids of different fineness: one is a whole multiple of the other."""

from typing import Tuple

from torch import Tensor

Grid = Tuple[int, int]


def cells_per_place(fine: Grid, coarse: Grid) -> Grid:
    """How many cells of the fine grid lie in a place of the coarse one, down and across.

    Raises:
        ValueError: Not a whole number of them.
    """
    if min(coarse) < 1 or fine[0] % coarse[0] or fine[1] % coarse[1]:
        raise ValueError(f'a grid of {fine[0]}x{fine[1]} is no whole multiple of one of {coarse[0]}x{coarse[1]}')
    return fine[0] // coarse[0], fine[1] // coarse[1]


def split_cells(x: Tensor, coarse: Grid, cells: Grid) -> Tensor:
    """``[B, h*w, ch*cw*D]``, for each place its cells row by row, to ``[B, (h*ch)*(w*cw), D]`` row by row."""
    (h, w), (down, across) = coarse, cells
    x = x.reshape(len(x), h, w, down, across, -1)
    return x.transpose(2, 3).reshape(len(x), h * down * w * across, -1)


def join_cells(x: Tensor, coarse: Grid, cells: Grid) -> Tensor:
    """Inverse of :func:`split_cells`."""
    (h, w), (down, across) = coarse, cells
    x = x.reshape(len(x), h, down, w, across, -1)
    return x.transpose(2, 3).reshape(len(x), h * w, -1)


def pool_cells(x: Tensor, coarse: Grid, cells: Grid) -> Tensor:
    """Mean over the cells of each place: ``[B, (h*ch)*(w*cw), D] -> [B, h*w, D]``."""
    (h, w), (down, across) = coarse, cells
    return x.reshape(len(x), h, down, w, across, -1).mean(dim=(2, 4)).flatten(1, 2)
