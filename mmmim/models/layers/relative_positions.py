"""Relative position biases in attention: a term of the logits for the offset between two patches.

Both kinds are initialised with zeros, so that an encoder that was pre-trained without them computes the same as before.
Tables have a row for each offset (query minus key) from ``-(n - 1)`` to ``n - 1`` patches. For a map of another size
they are interpolated, as in ViTDet; windows read the middle, as their offsets count the same patches.
"""

from typing import Tuple, Union

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...positions import Grid


class PositionBias(nn.Module):
    """Relative position bias: a number for each head and offset (BEiT, Bao et al., 2022).

    Args:
        num_heads: Attention heads.
        size: (h, w) patches of the map or window.
        num_prefix_tokens: With a class token there are three rows more, at the end: from it to a patch, from a patch
            to it, and to itself. Several prefix tokens (class tokens, registers) share them.
    """

    def __init__(self, num_heads: int, size: Grid, num_prefix_tokens: int = 0) -> None:
        super().__init__()
        self.size, self.num_prefix_tokens = size, num_prefix_tokens
        rows = (2 * size[0] - 1) * (2 * size[1] - 1) + 3 * (num_prefix_tokens > 0)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, num_heads))

    def forward(self, size: Grid, stretch: bool = True) -> Tensor:
        """The bias added to logits of a map (``stretch``) or window of ``size``: ``[heads, P + h*w, P + h*w]``."""
        return bias_of_table(self.relative_position_bias_table, self.size, size, self.num_prefix_tokens, stretch)

    def fit(self, table: Tensor) -> Tensor:
        """A file's table, of a square map, resized to this one's size."""
        rows = table.shape[0] - 3 * (self.num_prefix_tokens > 0)
        side = (round(max(rows, 0) ** 0.5) + 1) // 2
        if table.shape == self.relative_position_bias_table.shape or (2 * side - 1) ** 2 != rows:
            return table
        return resize_bias_table(table, (side, side), self.size)


class DecomposedPositions(nn.Module):
    """Products of the query with a vector for the offset down and one for the offset across (ViTDet, MViTv2).

    Instead of a bias as large as the attention weights, queries and keys are made longer: a query by its products
    for every row and column of the map, a key by ones at its own row and column. The logits are the same, and fused
    attention needs no mask.

    Args:
        head_dim: Width of a head.
        size: (h, w) patches of the map or window.
    """

    def __init__(self, head_dim: int, size: Grid) -> None:
        super().__init__()
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size[0] - 1, head_dim))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size[1] - 1, head_dim))

    def forward(self, q: Tensor, k: Tensor, scale: float, size: Grid, stretch: bool = True) -> Tuple[Tensor, Tensor]:
        """Scaled queries and keys whose products are the logits with relative positions.

        Args:
            q, k: ``[B, heads, P + h*w, d]``; prefix tokens have no relative positions.
            scale: Scale of the products of queries and keys, not of those with positions (as in ViTDet).
            size: (h, w) of the map or window.
            stretch: Whether it is a map, for which tables of another size are interpolated, or a window.

        Returns:
            ``[B, heads, P + h*w, d + h + w]``, twice.
        """
        (h, w), prefix = size, q.shape[2] - size[0] * size[1]
        tables = [
            _vectors(table, length, stretch).to(q.dtype) for table, length in ((self.rel_pos_h, h), (self.rel_pos_w, w))
        ]  # [h, h, d] and [w, w, d]
        queries = q[:, :, prefix:].unflatten(2, size)
        down = torch.einsum('bnhwd,hkd->bnhwk', queries, tables[0])
        across = torch.einsum('bnhwd,wkd->bnhwk', queries, tables[1])
        positions = torch.cat([down, across], dim=-1).flatten(2, 3)  # [B, heads, h*w, h + w]
        places = torch.cat(
            [
                torch.eye(h, dtype=q.dtype, device=q.device).repeat_interleave(w, dim=0),
                torch.eye(w, dtype=q.dtype, device=q.device).repeat(h, 1),
            ],
            dim=1,
        )  # [h*w, h + w]
        places = F.pad(places, (0, 0, prefix, 0)).expand(*k.shape[:3], h + w)
        return torch.cat([q * scale, F.pad(positions, (0, 0, prefix, 0))], dim=-1), torch.cat([k, places], dim=-1)

    def fit(self, table: Tensor, name: str) -> Tensor:
        """A file's table of this ``name``, resized to the length of this one's."""
        own = getattr(self, name)
        return table if table.shape == own.shape else resize_offsets(table, (len(own) + 1) // 2)


RelativePositions = Union[PositionBias, DecomposedPositions]


def bias_of_table(table: Tensor, own: Grid, size: Grid, prefix: int, stretch: bool = True) -> Tensor:
    """The bias that a :class:`PositionBias` table gives: ``[heads, P + h*w, P + h*w]``.

    Args:
        table: ``[offsets (+ 3), heads]``.
        own: (h, w) of the map or window that the table is for.
        size: (h, w) of the map or window that the bias is for.
        prefix: Number P of tokens before the patches; with any, the table has three rows for them.
        stretch: Whether it is a map, for which a table of another size is interpolated, or a window.
    """
    if stretch and size != own:
        table = resize_bias_table(table, own, size)
    (h, w), (table_h, table_w) = size, size if stretch else own
    rows, columns = offsets(h, table_h, table.device), offsets(w, table_w, table.device)
    index = rows[:, None, :, None] * (2 * table_w - 1) + columns[None, :, None, :]
    index = index.reshape(h * w, h * w)  # row by row: query, key
    if prefix:
        patches = len(table) - 3
        index = F.pad(index, (prefix, 0), value=patches + 1)
        index = F.pad(index, (0, 0, prefix, 0), value=patches)
        index[:prefix, :prefix] = patches + 2
    return table.t()[:, index]


def offsets(length: int, table_length: int, device: torch.device) -> Tensor:
    """Row of a table of ``2 * table_length - 1`` offsets for each query and key in a line: ``[length, length]``."""
    places = torch.arange(length, device=device)
    return places[:, None] - places[None] + table_length - 1


def _vectors(table: Tensor, length: int, stretch: bool) -> Tensor:
    """``[length, length, d]``: the vector for each query and key in a line."""
    if stretch:
        table = resize_offsets(table, length)
    return table[offsets(length, (len(table) + 1) // 2, table.device)]


def resize_offsets(table: Tensor, length: int) -> Tensor:
    """``[2*n - 1, d] -> [2*length - 1, d]``, linear; offset 0 stays in the middle."""
    if len(table) == 2 * length - 1:
        return table
    resized = F.interpolate(table.float().t()[None], size=2 * length - 1, mode='linear')
    return resized[0].t().to(table.dtype)


def resize_bias_table(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """A :class:`PositionBias` table of ``old`` (h, w) for maps of ``new``, bicubic; rows of prefix tokens stay."""
    patches = (2 * old[0] - 1) * (2 * old[1] - 1)
    grid = table[:patches].float().t().reshape(1, -1, 2 * old[0] - 1, 2 * old[1] - 1)
    grid = F.interpolate(grid, size=(2 * new[0] - 1, 2 * new[1] - 1), mode='bicubic')
    return torch.cat([grid[0].flatten(1).t().to(table.dtype), table[patches:]])
