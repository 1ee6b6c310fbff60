"""Fixed two-dimensional sine-cosine position tables."""

from typing import Tuple

import torch
from torch import Tensor


def sincos_positions(embed_dim: int, grid: Tuple[int, int], num_prefix_tokens: int = 1) -> Tensor:
    """The table of MAE, for any grid.

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
