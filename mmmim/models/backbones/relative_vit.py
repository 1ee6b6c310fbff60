"""ViTs with relative position biases (BEiT, CAE), for whole images and for masked patches."""

from typing import Any, List, Optional, Union

import torch
from timm.models.beit import Beit
from torch import Tensor, nn

from ...checkpoint.schemes.beit import TABLE, fit_tables
from ...registry import MODELS
from ..build import check_choice
from ..freezing import freeze_all_but_last
from ..layers.blocks import checkpoint_activations, cut_outliers, run_blocks
from ..masking import PatchMask
from ..patches import Size, grid_size, to_2tuple
from .base import BaseEncoder
from .vit import resolve_architecture


@MODELS.register_module()
class RelativeViT(BaseEncoder):
    """BEiT's ViT (Bao et al., 2022) from timm's layers under the names of timm's ``Beit``, for classification.

    No position table is added to the patches, unless it is asked for: attention has a bias for each head and offset.
    Queries and values have biases, keys have none; each branch has a layer scale.

    Args:
        arch: As in :class:`MaskedViT`.
        img_size: Pixels, an int or (height, width), for which the tables are made.
        patch_size: Pixels, an int or (height, width); must divide ``img_size``.
        in_chans: Image channels.
        relative_positions: ``'separate'``: a table for each block, as BEiT and SimMIM fine-tune. ``'shared'``: one for
            all, as they pre-train. A file's shared table is copied to each block's own.
        absolute_positions: A learned position table, too, as CAE fine-tunes (Chen et al., 2022). It pre-trains without
            relative positions: tables that a file lacks then keep their initial zeros, which change nothing.
        layer_scale: Initial value; None for none.
        drop_path_rate: Stochastic depth, growing linearly over the blocks.
        final_norm: Layer norm after the last block.
        trainable_blocks: As in :class:`MaskedViT`; shared relative positions are trained with all blocks only.
        activation_checkpointing: As in :class:`MaskedViT`.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH, prefix='backbone.')`` loads a file of BEiT, SimMIM, timm,
            mmpretrain or this project, pre-trained or fine-tuned, and fails when the encoder does not match. Tables
            for another square map are resized as in BEiT.

    For layer-wise learning rate decay a table belongs to its block, and a shared one to the last layer, as in BEiT's
    code.

    Attributes:
        embed_dim, grid_size (h, w), num_prefix_tokens (1), patch_size (h, w), in_chans.

    Raises:
        ValueError: An unknown ``arch`` or ``relative_positions``, or patches that do not divide the image.
    """

    num_prefix_tokens = 1

    def __init__(
        self,
        arch: Union[str, dict] = 'base',
        img_size: Size = 224,
        patch_size: Size = 16,
        in_chans: int = 3,
        relative_positions: str = 'separate',
        absolute_positions: bool = False,
        layer_scale: Optional[float] = 0.1,
        drop_path_rate: float = 0.0,
        final_norm: bool = True,
        trainable_blocks: Optional[float] = None,
        activation_checkpointing: bool = False,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        check_choice('relative_positions', relative_positions, ('separate', 'shared'))
        self.embed_dim, depth, num_heads, mlp_ratio = resolve_architecture(arch)
        self.img_size, self.patch_size, self.in_chans = to_2tuple(img_size), to_2tuple(patch_size), in_chans
        self.grid_size = grid_size(img_size, patch_size)
        shared = relative_positions == 'shared'
        beit = Beit(
            self.img_size,
            self.patch_size,
            in_chans,
            num_classes=0,
            global_pool='' if final_norm else 'avg',
            embed_dim=self.embed_dim,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            drop_path_rate=drop_path_rate,
            init_values=layer_scale,
            use_abs_pos_emb=absolute_positions,
            use_rel_pos_bias=not shared,
            use_shared_rel_pos_bias=shared,
        )
        cut_outliers(beit)
        self.patch_embed, self.cls_token, self.pos_embed = beit.patch_embed, beit.cls_token, beit.pos_embed
        self.rel_pos_bias, self.blocks, self.norm = beit.rel_pos_bias, beit.blocks, beit.norm
        checkpoint_activations(self.blocks, activation_checkpointing)
        if trainable_blocks is not None:
            self._freeze(trainable_blocks)

    def _freeze(self, trainable_blocks: float) -> None:
        self.frozen = tuple(freeze_all_but_last(self, trainable_blocks))
        if not self.frozen:
            return
        if self.rel_pos_bias is not None:
            self.rel_pos_bias.requires_grad_(False)
        if trainable_blocks % 1:  # the layer scale of attention is a parameter, not a module
            gamma = self.blocks[len(self.blocks) - int(trainable_blocks) - 1].gamma_1
            if gamma is not None:
                gamma.requires_grad_(False)

    def new_parameters(self) -> List[str]:
        """Tables of relative positions beside absolute ones, which CAE's pre-training does not have."""
        return [] if self.pos_embed is None else [name for name, _ in self.named_parameters() if name.endswith(TABLE)]

    def fit_parameter(self, name: str, value: Tensor) -> Tensor:
        """A file's table, resized to the map here as in BEiT."""
        table = {name: value}
        fit_tables(table, {name: self.get_parameter(name)}, self.grid_size)
        return table[name]

    def forward(self, images: Tensor) -> Tensor:
        """``[B, C, H, W]`` to tokens ``[B, 1 + L, D]``, the class token first."""
        self.check_images(images)
        return self.run(self.patch_embed(images))

    def run(self, x: Tensor) -> Tensor:
        """Embedded patches ``[B, L, D]`` through the blocks, the class token in front: ``[B, 1 + L, D]``."""
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1).to(x.dtype), x], dim=1)
        x = x if self.pos_embed is None else x + self.pos_embed
        bias = None if self.rel_pos_bias is None else self.rel_pos_bias()
        return self.norm(run_blocks(self.blocks, x, shared_rel_pos_bias=bias))


@MODELS.register_module()
class MaskedRelativeViT(RelativeViT):
    """:class:`RelativeViT` with a mask token: returns all tokens, in image order.

    Args:
        relative_positions: As in :class:`RelativeViT`; ``'shared'`` is how SimMIM and BEiT pre-train.
        **kwargs: Arguments of :class:`RelativeViT`.
    """

    def __init__(self, relative_positions: str = 'shared', **kwargs: Any) -> None:
        super().__init__(relative_positions=relative_positions, **kwargs)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.embed_dim))
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, images: Tensor, mask: Optional[PatchMask] = None) -> Tensor:
        """``[B, C, H, W]`` to tokens ``[B, 1 + L, D]``, the class token first."""
        self.check_images(images)
        x = self.patch_embed(images)
        if mask is not None:
            x = torch.where(mask.mask[..., None].bool(), self.mask_token.to(x.dtype), x)
        return self.run(x)
