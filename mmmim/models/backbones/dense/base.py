"""Base class of dense backbones: feature maps of images of any size from a pre-trained encoder's layers."""

import math
from typing import Dict, List, Optional, Sequence, Tuple

from timm.models.vision_transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from ....checkpoint.encoder import EncoderMismatchError
from ....positions import PositionCache
from ...layers.blocks import run_block
from ...layers.relative_positions import DecomposedPositions, PositionBias, RelativePositions
from ...layers.window_attention import DenseAttention, Grid, group_sizes
from ...patches import Size, to_2tuple
from ..base import BaseEncoder

RELATIVE_POSITIONS = (None, 'shared', 'separate', 'decomposed')


class DenseEncoder(BaseEncoder):
    """Turns an encoder into a dense backbone; a mix-in after the encoder, whose constructor runs first."""

    def make_dense(
        self,
        out_indices: Optional[Sequence[int]],
        window_size: Optional[Size],
        global_blocks: Optional[Sequence[int]],
        relative_positions: Optional[str],
        with_cp: bool,
    ) -> None:
        """Give the blocks attention for maps of any size; arguments as in :class:`.DenseViT`."""
        depth = len(self.blocks)
        if relative_positions not in RELATIVE_POSITIONS:
            raise ValueError(
                f"relative_positions='{relative_positions}' is not known; use None, 'shared', 'separate' "
                "or 'decomposed'"
            )
        if window_size is not None and min(to_2tuple(window_size)) < 1:
            raise ValueError(f'window_size={window_size} must be at least 1 patch; None for no windows')
        if global_blocks is not None and window_size is None:
            raise ValueError(f'global_blocks={list(global_blocks)} are exceptions from windows: set window_size, too')
        self.out_indices = resolve_indices(
            default_outputs(depth) if out_indices is None else out_indices, depth, 'out_indices'
        )
        if not self.out_indices:
            raise ValueError('out_indices=[]: a dense backbone needs at least one block to take a map from')
        self.with_cp, self.position_cache = with_cp, PositionCache()
        self.window = None if window_size is None else to_2tuple(window_size)
        everywhere = (
            ()
            if self.window is None
            else resolve_indices(quarters(depth) if global_blocks is None else global_blocks, depth, 'global_blocks')
        )
        self._add_relative_positions(relative_positions)
        for index, block in enumerate(self.blocks):
            window, attn = None if index in everywhere else self.window, timm_attention(block)
            block.attn = DenseAttention(attn, window, self._own_positions(relative_positions, attn, window))
        run = [dense_attention(block) for block in self.blocks[: self.out_indices[-1] + 1]]
        for dense in run:
            dense.alike = 1 if with_cp else sum(other.window == dense.window for other in run)
        for block in self.blocks[self.out_indices[-1] + 1 :]:  # kept for the checkpoint, but never run
            block.requires_grad_(False)

    def _add_relative_positions(self, kind: Optional[str]) -> None:
        self.rel_pos_bias: Optional[PositionBias] = None
        if kind == 'shared':
            (h, w), window, attn = self.grid_size, self.window or (0, 0), timm_attention(self.blocks[0])
            size = (max(h, window[0]), max(w, window[1]))
            self.rel_pos_bias = PositionBias(attn.num_heads, size, self.num_prefix_tokens)
            self.rel_pos_bias.requires_grad_(attn.qkv.weight.requires_grad)

    def _own_positions(
        self, kind: Optional[str], attn: Attention, window: Optional[Grid]
    ) -> Optional[RelativePositions]:
        if kind not in ('separate', 'decomposed'):
            return None
        size, heads = window or self.grid_size, attn.num_heads
        positions = (
            DecomposedPositions(self.embed_dim // heads, size)
            if kind == 'decomposed'
            else PositionBias(heads, size, self.num_prefix_tokens)
        )
        return positions.requires_grad_(attn.qkv.weight.requires_grad)

    def pad(self, images: Tensor) -> Tuple[Tensor, Grid]:
        """Pad with zeros at the lower and right edge to whole patches; returns the images and their grid (h, w).

        Raises:
            ValueError: Another number of channels.
        """
        if images.shape[1] != self.in_chans:
            raise ValueError(
                f'the backbone was built for in_chans={self.in_chans} and got images of {images.shape[1]} channels'
            )
        height, width = images.shape[2:]
        h, w = (math.ceil(length / patch) for length, patch in zip((height, width), self.patch_size))
        missing = (0, w * self.patch_size[1] - width, 0, h * self.patch_size[0] - height)
        return (F.pad(images, missing) if any(missing) else images), (h, w)

    def positions(self, grid: Grid) -> Tensor:
        """The position table for a grid: ``[1, P + h*w, D]``."""
        return self.position_cache(self.pos_embed, self.grid_size, grid, self.num_prefix_tokens)

    def run(self, x: Tensor, grid: Grid) -> List[Tensor]:
        """Tokens ``[B, P + h*w, D]`` through the blocks; those after each of ``out_indices``."""
        biases, outputs = self._shared_biases(grid), []
        for index, block in enumerate(self.blocks[: self.out_indices[-1] + 1]):
            x = run_block(block, x, grid, biases, call=_run_block)
            if index in self.out_indices:
                outputs.append(x)
        return outputs

    def _shared_biases(self, grid: Grid) -> Dict[Tuple[Grid, bool], Tensor]:
        if self.rel_pos_bias is None:
            return {}
        wanted = {(grid, True)} if any(dense_attention(block).window is None for block in self.blocks) else set()
        if self.window is not None:
            wanted |= {(size, False) for size in group_sizes(grid, self.window)}
        return {key: self.rel_pos_bias(*key) for key in wanted}

    def to_map(self, tokens: Tensor, grid: Grid) -> Tensor:
        """``[B, P + h*w, D] -> [B, D, h, w]``."""
        return tokens[:, self.num_prefix_tokens :].transpose(1, 2).unflatten(2, grid).contiguous()

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """As in any encoder; relative positions belong to the layer of their block, shared ones to layer 0."""
        layer, count = super().get_layer_depth(param_name, prefix)
        return (0 if param_name.startswith(f'{prefix}rel_pos_bias.') else layer), count

    def new_parameters(self) -> List[str]:
        """Tables of relative positions, which pre-training does not have."""
        return [name for name, _ in self.named_parameters() if 'rel_pos' in name]

    def about_new(self, found: List[str]) -> str:
        return (
            f'Tables of relative positions: {len(found)} of {len(self.new_parameters())} are in the file; the others '
            'keep their initialisation (zero: they change nothing before training).'
        )

    def fit_parameter(self, name: str, table: Tensor) -> Tensor:
        """Resize a table of the file to the encoder's map or window."""
        owner, _, leaf = name.rpartition('.')
        module = self.get_submodule(owner)
        fitted = module.fit(table, leaf) if isinstance(module, DecomposedPositions) else module.fit(table)
        own = getattr(module, leaf)
        if fitted.shape != own.shape:
            raise EncoderMismatchError(
                f'{name}: {list(table.shape)} in the file can not be resized to '
                f'{list(own.shape)}; nothing was loaded. Build the backbone with the width, '
                'heads and class token of the file'
            )
        return fitted


def _run_block(block: nn.Module, x: Tensor, grid: Grid, biases: Dict[Tuple[Grid, bool], Tensor]) -> Tensor:
    # here and not in `run`: a block recomputed in the backward pass needs the same attributes
    attn = dense_attention(block)
    attn.grid, attn.biases = grid, biases
    try:
        return block(x)
    finally:
        attn.biases = {}  # else they keep the graph of this pass


def timm_attention(block: nn.Module) -> Attention:
    """The attention of a block as :func:`~mmmim.models.layers.blocks.build_blocks` makes it."""
    assert isinstance(block.attn, Attention)
    return block.attn


def dense_attention(block: nn.Module) -> DenseAttention:
    """The attention of a block of a :class:`DenseEncoder`."""
    assert isinstance(block.attn, DenseAttention)
    return block.attn


def quarters(depth: int) -> Tuple[int, ...]:
    """The last block of each quarter, which has global attention in ViTDet: 2, 5, 8, 11 of 12.

    Raises:
        ValueError: Fewer than four blocks.
    """
    if depth < 4:
        raise ValueError(f'{depth} blocks have no quarters: state out_indices, and global_blocks with windows')
    return tuple(depth * quarter // 4 - 1 for quarter in (1, 2, 3, 4))


def default_outputs(depth: int) -> Tuple[int, ...]:
    """The blocks at a third, a half, two thirds and the end: BEiT's 3, 5, 7, 11 of 12 and 7, 11, 15, 23 of 24."""
    indices = (depth // 3 - 1, depth // 2 - 1, depth * 2 // 3 - 1, depth - 1)
    return indices if depth >= 6 else quarters(depth)


def resolve_indices(indices: Sequence[int], depth: int, name: str) -> Tuple[int, ...]:
    """Indices of blocks in order, counted from the end if negative.

    Raises:
        ValueError: An index out of range, or a repeated one.
    """
    resolved = sorted(index + depth if index < 0 else index for index in indices)
    if not all(0 <= index < depth for index in resolved) or len(set(resolved)) < len(resolved):
        raise ValueError(f'{name}={list(indices)} must be different ones of the {depth} blocks, 0 to {depth - 1}')
    return tuple(resolved)
