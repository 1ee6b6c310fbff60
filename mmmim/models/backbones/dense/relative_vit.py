"""ViTs with relative position biases (BEiT, SimMIM) as backbones of segmentors and detectors."""

from typing import Any, Optional, Sequence, Tuple, Union

import torch
from timm.models.beit import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from ....registry import MODELS
from ...build import check_choice
from ...layers.blocks import checkpoint_activations
from ...layers.relative_positions import bias_of_table
from ...layers.window_attention import DenseAttention
from ...patches import Size
from ..relative_vit import RelativeViT
from .base import DenseEncoder, Grid, default_outputs, resolve_indices


class RelativeAttention(DenseAttention):
    """Attention of BEiT's blocks on maps of any size, over the whole map; names of timm's.

    Args:
        attn: timm's attention of ``Beit``, whose parameters are used.
        size: (h, w) patches for which its table is made. For another map the table is interpolated.
    """

    def __init__(self, attn: Attention, size: Grid) -> None:
        # what the parent takes of an attention, that of BEiT has, too; its biases of queries and values are beside it
        super().__init__(attn)  # type: ignore[arg-type]
        self.q_bias, self.v_bias, self.size = attn.q_bias, attn.v_bias, size
        self.relative_position_bias_table = attn.relative_position_bias_table

    def forward(self, x: Tensor, **_: Any) -> Tensor:
        """``[B, 1 + h*w, D]`` to the same; ``grid`` (h, w) was set before."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias).unflatten(2, (3, self.num_heads, self.head_dim))
        self.biases = {(self.grid, True): bias_of_table(self.relative_position_bias_table, self.size, self.grid, 1)}
        return self.proj(self.attend(qkv.permute(2, 0, 3, 1, 4), self.grid).transpose(1, 2).flatten(2))


# `run` is that of the dense encoder, and there is no shared table, `rel_pos_bias`
@MODELS.register_module()
class DenseRelativeViT(DenseEncoder, RelativeViT):  # type: ignore[misc]
    """The parameters of :class:`RelativeViT` under the same names; returns feature maps for images of any size.

    Images are padded with zeros to whole patches. Each block has its table of relative positions, as BEiT fine-tunes on
    ADE20K: a checkpoint's, also one that all blocks share, is resized to the map of ``img_size`` when it is loaded, and
    interpolated for others. All blocks attend over the whole map; there are no windows.

    Args:
        arch, patch_size, in_chans, layer_scale, drop_path_rate, trainable_blocks, init_cfg: As in
            :class:`RelativeViT`.
        img_size: Pixels, an int or (height, width), for which the tables are made: the crop of the task.
        out_indices: Blocks after which a map is returned. None: 3, 5, 7, 11 of 12 and 7, 11, 15, 23 of 24 (BEiT).
            Blocks after the last are never run.
        final_norm: The encoder's layer norm, on the last block's map alone. Without it (BEiT) a checkpoint's norm stays
            unused.
        relative_positions: ``'separate'``, which is all there is, for configs of :class:`.DenseViT` that state it.
        with_cp: The toolboxes' name of ``activation_checkpointing`` of :class:`MaskedViT`.

    Attributes:
        embed_dim, grid_size (h, w) of ``img_size``, num_prefix_tokens (1), patch_size (h, w), in_chans, out_indices.

    Raises:
        ValueError: Blocks out of range, a norm on a map that is not returned, or other relative positions.
    """

    def __init__(
        self,
        arch: Union[str, dict] = 'base',
        img_size: Size = 224,
        patch_size: Size = 16,
        in_chans: int = 3,
        out_indices: Optional[Sequence[int]] = None,
        final_norm: bool = False,
        layer_scale: Optional[float] = 0.1,
        drop_path_rate: float = 0.0,
        trainable_blocks: Optional[float] = None,
        relative_positions: str = 'separate',
        with_cp: bool = False,
        init_cfg: Optional[dict] = None,
    ) -> None:
        check_choice('relative_positions', relative_positions, ('separate',))
        super().__init__(
            arch,
            img_size,
            patch_size,
            in_chans,
            layer_scale=layer_scale,
            drop_path_rate=drop_path_rate,
            final_norm=final_norm,
            trainable_blocks=trainable_blocks,
            init_cfg=init_cfg,
        )
        depth = len(self.blocks)
        self.out_indices = resolve_indices(
            default_outputs(depth) if out_indices is None else out_indices, depth, 'out_indices'
        )
        if not self.out_indices or (final_norm and self.out_indices[-1] != depth - 1):
            raise ValueError(
                f'out_indices={list(self.out_indices)}: it needs at least one block, and with final_norm=True the last '
                f'one, {depth - 1}'
            )
        self.with_cp = with_cp
        checkpoint_activations(self.blocks, with_cp)
        run = self.out_indices[-1] + 1
        for index, block in enumerate(self.blocks):
            assert isinstance(block.attn, Attention)
            block.attn = RelativeAttention(block.attn, self.grid_size)
            block.attn.alike = 1 if with_cp else run
            if index >= run:  # kept for the checkpoint, but never run
                block.requires_grad_(False)

    # it has the parameters of a RelativeViT but another output: maps
    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:  # type: ignore[override]
        """``[B, C, H, W]`` to a map ``[B, D, ceil(H/P), ceil(W/P)]`` for each of ``out_indices``."""
        images, grid = self.pad(images)
        x: Tensor = self.patch_embed.proj(images).flatten(2).transpose(1, 2)  # timm's layer checks the size
        x = torch.cat([self.cls_token.expand(len(x), -1, -1).to(x.dtype), x], dim=1)
        outputs = self.run(x, grid)
        if isinstance(self.norm, nn.LayerNorm):
            outputs[-1] = self.norm(outputs[-1])
        return tuple(self.to_map(tokens, grid) for tokens in outputs)
