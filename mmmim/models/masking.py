"""Which patches are removed: from noise to a :class:`PatchMask`.

Every strategy is a pure function of ``noise``, keeps the same number of patches in every image, and declares the shape
of its noise (without the batch). Noise lies in [0, 1); small means: stays visible.
"""

import math
from typing import NamedTuple, Tuple

import torch
from torch import Tensor


class PatchMask(NamedTuple):
    """Which of L patches stay.

    Attributes:
        ids_keep: ``[B, L_v]`` indices of the visible patches, in the order in which the encoder sees them.
        ids_restore: ``[B, L]``; ``cat(visible, mask tokens)`` gathered by it is in image order.
        mask: ``[B, L]`` float, 1 = removed, 0 = kept.
    """

    ids_keep: Tensor
    ids_restore: Tensor
    mask: Tensor

    @property
    def ids_shuffle(self) -> Tensor:
        """``[B, L]``, the inverse of ``ids_restore``: the visible patches, then the removed ones."""
        places = torch.arange(self.ids_restore.shape[1], device=self.ids_restore.device).expand_as(self.ids_restore)
        return torch.empty_like(self.ids_restore).scatter_(1, self.ids_restore, places)

    @property
    def ids_removed(self) -> Tensor:
        """``[B, L_m]`` indices of the removed patches, in the order of their mask tokens."""
        return self.ids_shuffle[:, self.ids_keep.shape[1] :]


def take(values: Tensor, ids: Tensor) -> Tensor:
    """Gather ``values [B, L, D]`` at ``ids [B, K]``: ``[B, K, D]``."""
    return values.gather(1, ids[..., None].expand(-1, -1, values.shape[2]))


def mask_from_order(ids_shuffle: Tensor, num_keep: int) -> PatchMask:
    """Keep the first ``num_keep`` of each row of ``ids_shuffle`` ``[B, L]``, a permutation of the patches."""
    ids_restore = torch.argsort(ids_shuffle, dim=1)
    return PatchMask(ids_shuffle[:, :num_keep], ids_restore, (ids_restore >= num_keep).float())


def random_masking(noise: Tensor, num_keep: int) -> PatchMask:
    """Random sampling without replacement (MAE): the patches with the smallest noise ``[B, L]`` stay, in its order."""
    return mask_from_order(torch.argsort(noise, dim=1, stable=True), num_keep)


def unit_masking(noise: Tensor, num_keep_units: int, grid: Tuple[int, int], unit: int = 2) -> PatchMask:
    """Random masking of blocks of ``unit x unit`` patches.

    ``noise`` is ``[B, L / unit**2]``. Visible patches come block by block in the order of the noise, row by row
    inside a block.
    """
    (h, w), u = grid, unit
    ids = torch.arange(h * w, device=noise.device).reshape(h // u, u, w // u, u)
    ids_of_unit = ids.permute(0, 2, 1, 3).reshape(-1, u * u)  # [L / u^2, u^2]
    order = torch.argsort(noise, dim=1, stable=True)
    return mask_from_order(ids_of_unit[order].flatten(1), num_keep_units * u * u)


def _dither_rank(rows: Tensor, cols: Tensor, bits: int) -> Tensor:
    """Rank of a position in Bayer's ordered-dither matrix of 2**bits x 2**bits, by interleaving bits."""
    rank = torch.zeros_like(rows)
    for bit in range(bits):
        r, c = (rows >> bit) & 1, (cols >> bit) & 1
        rank = rank + ((r ^ c) * 2 + r) * 4 ** (bits - 1 - bit)
    return rank


def grid_masking(noise: Tensor, num_keep: int, grid: Tuple[int, int]) -> PatchMask:
    """Regular sampling (MAE, Table 1f "grid") at any ratio.

    The patches stay in the order of Bayer's ordered dither: at 75% exactly one of every 2x2 patches, at 50% a
    checkerboard, and the most even spread in between. ``noise`` ``[B, 2]`` shifts the pattern, so that all patches
    are seen over time.
    """
    h, w = grid
    bits = max(1, math.ceil(math.log2(max(h, w))))
    side = 1 << bits
    shift = (noise * side).long()  # [B, 2]
    rows = (torch.arange(h, device=noise.device)[None, :, None] + shift[:, 0, None, None]) % side
    cols = (torch.arange(w, device=noise.device)[None, None, :] + shift[:, 1, None, None]) % side
    rows, cols = torch.broadcast_tensors(rows, cols)
    rank = _dither_rank(rows, cols, bits).flatten(1)
    return mask_from_order(torch.argsort(rank, dim=1, stable=True), num_keep)


def block_masking(
    noise: Tensor, num_keep: int, grid: Tuple[int, int], min_patches: int = 16, min_aspect: float = 0.3
) -> PatchMask:
    """Block-wise sampling (BEiT's, as MAE's Table 1f "block"), with a constant count.

    Rectangles are removed one after another until enough patches are gone; the last one is cut short, row by row. Each
    takes ``noise[:, k] = (area, aspect, top, left)``; the area lies between ``min_patches`` and what is still to be
    removed, the aspect between ``min_aspect`` and its inverse. If the rectangles of ``noise`` ``[B, K, 4]`` do not
    suffice, the remaining patches are removed from the bottom up.
    """
    h, w = grid
    length = h * w
    to_remove = length - num_keep
    rows = torch.arange(h, device=noise.device)[None, :, None]
    cols = torch.arange(w, device=noise.device)[None, None, :]
    u = noise.double()
    removed_by = torch.full((noise.shape[0], length), noise.shape[1], device=noise.device)  # K: by none
    for k in range(noise.shape[1]):
        remaining = to_remove - (removed_by < noise.shape[1]).sum(1)
        smallest = min(min_patches, length)
        area = smallest + u[:, k, 0] * (remaining - smallest).clamp(min=0)
        log_aspect = math.log(min_aspect) * (1 - 2 * u[:, k, 1])
        bh = (area * log_aspect.exp()).sqrt().round().clamp(1, h)
        bw = (area / log_aspect.exp()).sqrt().round().clamp(1, w)
        top = (u[:, k, 2] * (h - bh + 1)).floor()[:, None, None]
        left = (u[:, k, 3] * (w - bw + 1)).floor()[:, None, None]
        inside = (rows >= top) & (rows < top + bh[:, None, None]) & (cols >= left) & (cols < left + bw[:, None, None])
        hit = inside.flatten(1) & (removed_by == noise.shape[1]) & (remaining > 0)[:, None]
        removed_by = torch.where(hit, k, removed_by)
    # sorted ascending by score, the first stay: those never hit, then late rectangles; ties: in image order
    order = torch.argsort(-removed_by, dim=1, stable=True)
    return mask_from_order(order, num_keep)


class Masking:
    """A masking strategy bound to a patch grid.

    Args:
        strategy: ``'random'``, ``'block'``, ``'grid'`` or ``'unit'``.
        mask_ratio: Share of patches that are removed, inside (0, 1).
        grid: (h, w) patches.
        unit: Side of a block for ``'unit'``, in patches.
        num_blocks: Number of rectangles for ``'block'``.
        min_block_patches: Smallest rectangle for ``'block'``.

    Raises:
        ValueError: An unknown strategy, a ratio that keeps or removes nothing, a unit that does not divide the grid.
    """

    STRATEGIES = ('random', 'block', 'grid', 'unit')

    def __init__(
        self,
        strategy: str,
        mask_ratio: float,
        grid: Tuple[int, int],
        unit: int = 2,
        num_blocks: int = 32,
        min_block_patches: int = 16,
    ) -> None:
        h, w = grid
        if strategy not in self.STRATEGIES:
            raise ValueError(f"masking='{strategy}' is not known; use one of {', '.join(self.STRATEGIES)}")
        if not 0 < mask_ratio < 1:
            raise ValueError(f'mask_ratio={mask_ratio} must lie inside (0, 1): it is the share of patches removed')
        if strategy == 'unit' and (h % unit or w % unit):
            raise ValueError(f'blocks of {unit}x{unit} patches do not divide a {h}x{w} grid')
        self.strategy, self.mask_ratio, self.grid, self.unit = strategy, mask_ratio, (h, w), unit
        self.num_blocks, self.min_block_patches = num_blocks, min_block_patches
        self.num_patches = h * w
        units = self.num_patches // unit**2 if strategy == 'unit' else self.num_patches
        # as the original: int(L * (1 - ratio))
        self.num_keep_units = int(units * (1 - mask_ratio))
        self.num_keep = self.num_keep_units * (unit**2 if strategy == 'unit' else 1)
        if not 0 < self.num_keep < self.num_patches:
            what = 'leaves no visible patch' if self.num_keep == 0 else 'removes no patch'
            name = 'units' if strategy == 'unit' else 'patches'
            ratio = f'below {1 - 1 / units:.4g}' if self.num_keep == 0 else f'above {1 / units:.4g}'
            raise ValueError(
                f'mask_ratio={mask_ratio} {what}: the {h}x{w} grid has '
                + (
                    f'{units} {name}. Use a ratio {ratio}, or '
                    if units > 1
                    else f'one of the {name}, and no ratio fits: use '
                )
                + 'larger images or smaller patches'
            )

    @property
    def noise_shape(self) -> Tuple[int, ...]:
        """Shape of the noise for one image."""
        return {
            'random': (self.num_patches,),
            'grid': (2,),
            'block': (self.num_blocks, 4),
            'unit': (self.num_patches // self.unit**2,),
        }[self.strategy]

    def __call__(self, noise: Tensor) -> PatchMask:
        """``noise [B, *noise_shape] -> PatchMask``."""
        if tuple(noise.shape[1:]) != self.noise_shape:
            raise ValueError(
                f"noise for masking='{self.strategy}' must be [B, {', '.join(map(str, self.noise_shape))}]"
                f', not {list(noise.shape)}'
            )
        if self.strategy == 'random':
            return random_masking(noise, self.num_keep)
        if self.strategy == 'unit':
            return unit_masking(noise, self.num_keep_units, self.grid, self.unit)
        if self.strategy == 'grid':
            return grid_masking(noise, self.num_keep, self.grid)
        return block_masking(noise, self.num_keep, self.grid, self.min_block_patches)
