"""Attention of dense backbones: inside windows or over the whole map, with or without relative positions.

It replaces ``attn`` in timm's ``Block`` and keeps its layers. ViTDet (Li et al., 2022) pads a map that windows do not
divide; here the windows at the lower and right edge are cut instead. So there are no padded tokens that patches could
attend to, and nothing is computed for them.
"""

from typing import Any, Dict, List, Optional, Tuple

import torch
from timm.models.vision_transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from ...positions import Grid
from .blocks import prefers_fused_attention
from .relative_positions import DecomposedPositions, PositionBias, RelativePositions

# Where plain matrix products are faster than a fused kernel (on a CPU in bf16), they keep the attention weights for the
# backward pass, which grow with the square of the tokens. Above this number of tokens they are used only if all blocks
# with global attention keep no more than this number of bytes.
LONG = 1536
KEPT = 2 << 30
# Heads are computed together as long as their attention weights take no more bytes than this: a step temporarily needs
# several times as much, and more heads at once are not faster.
TOGETHER = 128 << 20


class DenseAttention(nn.Module):
    """Multi-head attention on the tokens of a map of any size.

    Args:
        attn: timm's attention, whose ``qkv`` and ``proj`` are used.
        window: (h, w) patches; None attends over the whole map.
        rel_pos: Relative positions of this block alone.

    Attributes:
        grid: (h, w) of the next map; set it before a call.
        fused_attn: Whether to use a fused kernel or plain matrix products. None: the faster one, and fused where the
            attention weights would take too much memory or code is traced.
        alike: Number of blocks with the same attention that keep their weights at the same time.
        biases: Shared relative position biases: ``[heads, P + h*w, P + h*w]`` for each ((h, w) of map or window,
            whether a map).
    """

    def __init__(
        self, attn: Attention, window: Optional[Grid] = None, rel_pos: Optional[RelativePositions] = None
    ) -> None:
        super().__init__()
        self.num_heads, self.qkv, self.proj = attn.num_heads, attn.qkv, attn.proj
        self.head_dim = self.qkv.in_features // self.num_heads
        self.window, self.rel_pos = window, rel_pos
        self.grid: Grid = (0, 0)
        self.fused_attn: Optional[bool] = None
        self.alike = 1
        self.biases: Dict[Tuple[Grid, bool], Tensor] = {}

    def forward(self, x: Tensor, **_: Any) -> Tensor:
        """``[B, P + h*w, D]`` to the same; prefix tokens (P) only without windows. timm's mask is ignored."""
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, self.head_dim))  # [B, T, 3, heads, d]
        if self.window is None:
            x = self.attend(qkv.permute(2, 0, 3, 1, 4), self.grid).transpose(1, 2).flatten(2)
        else:
            groups = [self._attend_in(cells) for cells in split_windows(qkv.unflatten(1, self.grid), self.window)]
            x = join_windows(groups, self.grid, self.window).flatten(3).flatten(1, 2)
        return self.proj(x)

    def _attend_in(self, cells: Tensor) -> Tensor:
        """``[B, rows, columns, h, w, 3, heads, d]``, a view of the map, to such a view without the 3; one copy."""
        (*places, h, w), heads_first = cells.shape[:5], cells.permute(5, 0, 1, 2, 6, 3, 4, 7)
        x = self.attend(heads_first.flatten(5, 6).flatten(1, 3), (h, w))
        return x.unflatten(2, (h, w)).unflatten(0, places).permute(0, 1, 2, 4, 5, 3, 6)

    def attend(self, qkv: Tensor, size: Grid) -> Tensor:
        """``[3, B, heads, P + h*w, d] -> [B, heads, P + h*w, d]`` for maps or windows of ``size`` (h, w)."""
        q, k, v = qkv
        scale, stretch = self.head_dim**-0.5, self.window is None
        bias = self.biases.get((size, stretch))
        if isinstance(self.rel_pos, DecomposedPositions):
            q, k = self.rel_pos(q, k, scale, size, stretch)
            scale = 1.0
        elif isinstance(self.rel_pos, PositionBias):
            bias = self.rel_pos(size, stretch)
        if bias is not None:
            bias = bias.to(q.dtype)
        fused = self.fused_attn
        if fused is None and torch.compiler.is_compiling():
            fused = True  # what follows depends on the batch, which is not known in an exported encoder
        if fused is None:
            blocks = self.alike if torch.is_grad_enabled() and q.requires_grad else 1  # without gradient none are kept
            weights = blocks * q.shape[0] * q.shape[1] * q.shape[2] ** 2 * q.element_size()
            fused = prefers_fused_attention(q.device.type, q.dtype) or (q.shape[2] > LONG and weights > KEPT)
        if fused:
            # one width for all three, as memory-efficient kernels require
            x = F.scaled_dot_product_attention(q, k, F.pad(v, (0, q.shape[3] - v.shape[3])), bias, scale=scale)
            x = x[..., : self.head_dim]
        else:
            heads = max(1, TOGETHER // max(1, q.shape[0] * q.shape[2] ** 2 * q.element_size()))
            biases = [None] * len(q.split(heads, dim=1)) if bias is None else bias.split(heads)
            parts = zip(*(part.split(heads, dim=1) for part in (q * scale, k, v)), biases)
            x = torch.cat([_by_products(*part) for part in parts], dim=1)
        return x


def _by_products(q: Tensor, k: Tensor, v: Tensor, bias: Optional[Tensor]) -> Tensor:
    """Attention by plain matrix products, queries already scaled: ``[B, heads, T, d]`` to the same."""
    products = q @ k.transpose(2, 3)
    products = products if bias is None else products + bias
    with torch.autocast(q.device.type, enabled=False):  # computed in float32 anyway, but not kept in float32
        weights = products.softmax(-1)
    return weights @ v


def _bands(length: int, step: int) -> List[Tuple[int, int, int]]:
    """``(start, end, step)`` of the whole windows along an axis, and of the cut one at its end."""
    whole = length - length % step
    return [band for band in ((0, whole, step), (whole, length, length - whole)) if band[0] < band[1]]


def group_sizes(grid: Grid, window: Grid) -> List[Grid]:
    """Sizes of the windows that a map is cut into: whole ones, then those that an edge cuts."""
    return [(h, w) for _, _, h in _bands(grid[0], window[0]) for _, _, w in _bands(grid[1], window[1])]


def split_windows(x: Tensor, window: Grid) -> List[Tensor]:
    """Cut a map into windows.

    Args:
        x: ``[B, H, W, ...]``.
        window: (h, w) positions.

    Returns:
        One to four groups ``[B, rows, columns, h', w', ...]``, in the order of :func:`group_sizes`: views of the map.
    """
    groups = []
    rows, columns = _bands(x.shape[1], window[0]), _bands(x.shape[2], window[1])
    # split, not sliced: the gradient of each slice is a whole map of zeros; that of a split is one copy
    for band, (_, _, h) in zip(x.split([bottom - top for top, bottom, _ in rows], dim=1), rows):
        for cells, (_, _, w) in zip(band.split([right - left for left, right, _ in columns], dim=2), columns):
            groups.append(cells.unflatten(2, (-1, w)).unflatten(1, (-1, h)).transpose(2, 3))
    return groups


def join_windows(groups: List[Tensor], grid: Grid, window: Grid) -> Tensor:
    """Inverse of :func:`split_windows`: ``[B, H, W, ...]`` for a map of ``grid`` (H, W)."""
    remaining, rows = iter(groups), []
    for _ in _bands(grid[0], window[0]):
        cells = [next(remaining).transpose(2, 3) for _ in _bands(grid[1], window[1])]  # [B, rows, h, columns, w, ...]
        rows.append(torch.cat([cell.flatten(3, 4).flatten(1, 2) for cell in cells], dim=2))
    return torch.cat(rows, dim=1)
