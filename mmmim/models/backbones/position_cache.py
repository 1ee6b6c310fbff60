"""Position tables of other grids, resampled once for each size."""

from collections import OrderedDict
from typing import Optional, Tuple

import torch
from torch import Tensor

from ...translate import resize_pos_embed

Grid = Tuple[int, int]


class PositionCache:
    """Resampled tables (bicubic, in float32) of the sizes seen last.

    Not a part of the module's state: copies, pickles and state dicts leave it out. A table that was written in place,
    moved, converted or replaced is resampled again; one that is trained is never kept.

    Args:
        keep: Number of sizes. A table of a 1024 x 1024 image takes 12 MiB for ViT-B.
    """

    def __init__(self, keep: int = 8) -> None:
        self.keep = keep
        self._source: Optional[tuple] = None
        self._held: Optional[Tensor] = None  # so that the source's address can't become another table's
        self._tables: 'OrderedDict[Grid, Tensor]' = OrderedDict()

    def __call__(self, table: Tensor, old_grid: Grid, new_grid: Grid, prefix: int) -> Tensor:
        """``[1, prefix + h*w, D]`` of ``old_grid`` for ``new_grid`` (h', w')."""
        if old_grid == new_grid:
            return table
        if table.requires_grad or table.is_inference():
            return resize_pos_embed(table, old_grid, new_grid, prefix)
        source = (table.data_ptr(), table._version, table.dtype, table.device)
        if source != self._source:
            self._source, self._held = source, table.detach()
            self._tables.clear()
        if new_grid not in self._tables:
            with torch.inference_mode(False), torch.no_grad():  # to be of use in training, too
                self._tables[new_grid] = resize_pos_embed(table, old_grid, new_grid, prefix)
            if len(self._tables) > self.keep:
                self._tables.popitem(last=False)
        self._tables.move_to_end(new_grid)
        return self._tables[new_grid]

    def __reduce__(self) -> tuple:
        return PositionCache, (self.keep,)
