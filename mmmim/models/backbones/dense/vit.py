"""The pre-trained Vision Transformer as a backbone of segmentors and detectors."""

from typing import Optional, Sequence, Tuple, Union

from torch import Tensor
from torch.nn import functional as F

from ....registry import MODELS
from ...patches import Size, gather_patches
from ..vit import MaskedViT, count_prefix_tokens
from .base import DenseEncoder


@MODELS.register_module()
class DenseViT(MaskedViT, DenseEncoder):
    """The parameters of :class:`MaskedViT` under the same names; returns feature maps for images of any size.

    Images are padded with zeros to whole patches. The fixed position table is that of ``img_size``; for another size it
    is resampled once (bicubic, as in timm). With relative positions at their initial zeros, the maps are the
    pre-trained encoder's tokens.

    Args:
        arch: As in :class:`MaskedViT`.
        img_size: Pixels, an int or (height, width), for which the tables are made: the size of pre-training, or the
            one of the task, to which a checkpoint's table is then resized when it is loaded.
        patch_size: Pixels, an int or (height, width).
        in_chans: Image channels.
        class_token: Whether class tokens take part in attention (they are in no map). None: yes with full attention;
            with windows, which have no place for them, they are dropped (ViTDet), as are the checkpoint's.
        num_class_tokens, num_register_tokens: As in :class:`MaskedViT`. With windows they are dropped alike.
        out_indices: Blocks after which a map is returned. None: 3, 5, 7, 11 of 12 and 7, 11, 15, 23 of 24 (BEiT, MAE).
            Blocks after the last are never run.
        final_norm: The encoder's layer norm, on the last block's map alone. Without it (BEiT, MAE, ViTDet) a
            checkpoint's norm stays unused.
        drop_path_rate: Stochastic depth, growing linearly over the blocks.
        trainable_blocks: As in :class:`MaskedViT`.
        window_size: Patches, an int or (height, width): blocks attend inside windows (ViTDet: 14). Windows at the
            lower and right edge are cut off there: nothing is padded, so no padding is attended to.
        global_blocks: Blocks that attend over the whole map nevertheless. None: the last of each quarter (ViTDet;
            2, 5, 8, 11 of 12).
        relative_positions: None; ``'shared'`` (BEiT: a bias for each head and offset, one table for all blocks),
            ``'separate'`` (the same, a table for each block, as BEiT's and MAE's segmentors have) or ``'decomposed'``
            (ViTDet). All are initialised with zeros. Tables are for the map of ``img_size`` and are interpolated to
            others; blocks with windows have tables for them, or read the middle of the shared one.
        with_cp: The toolboxes' name of ``activation_checkpointing`` of :class:`MaskedViT`.
        init_cfg: As in :class:`MaskedViT`. Tables of relative positions missing in the file keep their initialisation,
            which is logged.

    Attributes:
        embed_dim, grid_size (h, w) of ``img_size``, num_prefix_tokens, num_register_tokens, patch_size (h, w),
        in_chans, out_indices.

    Raises:
        ValueError: Blocks out of range, a class token with windows, or a norm on a map that is not returned.
    """

    def __init__(
        self,
        arch: Union[str, dict] = 'base',
        img_size: Size = 224,
        patch_size: Size = 16,
        in_chans: int = 3,
        class_token: Optional[bool] = None,
        num_class_tokens: int = 1,
        num_register_tokens: int = 0,
        out_indices: Optional[Sequence[int]] = None,
        final_norm: bool = False,
        drop_path_rate: float = 0.0,
        trainable_blocks: Optional[float] = None,
        window_size: Optional[Size] = None,
        global_blocks: Optional[Sequence[int]] = None,
        relative_positions: Optional[str] = None,
        with_cp: bool = False,
        init_cfg: Optional[dict] = None,
    ) -> None:
        if class_token and window_size is not None:
            raise ValueError(
                'class_token=True: no window holds the class token. Leave it out where there is a window_size'
            )
        count_prefix_tokens(class_token is not False, num_class_tokens, num_register_tokens)
        if window_size is not None:
            class_token, num_class_tokens, num_register_tokens = False, 1, 0
        super().__init__(
            arch,
            img_size,
            patch_size,
            in_chans,
            class_token=class_token is not False,
            num_class_tokens=num_class_tokens,
            num_register_tokens=num_register_tokens,
            drop_path_rate=drop_path_rate,
            final_norm=final_norm,
            trainable_blocks=trainable_blocks,
            activation_checkpointing=with_cp,
            init_cfg=init_cfg,
        )
        self.make_dense(out_indices, window_size, global_blocks, relative_positions, with_cp)
        if final_norm and self.out_indices[-1] != len(self.blocks) - 1:
            raise ValueError(
                f'final_norm=True is for the last block, {len(self.blocks) - 1}, which is not among '
                f'out_indices={list(self.out_indices)}'
            )

    # it has the parameters of a MaskedViT but another output: maps
    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:  # type: ignore[override]
        """``[B, C, H, W]`` to a map ``[B, D, ceil(H/P), ceil(W/P)]`` for each of ``out_indices``."""
        images, grid = self.pad(images)
        x = F.linear(
            gather_patches(images, self.patch_size), self.patch_embed.proj.weight.flatten(1), self.patch_embed.proj.bias
        )
        positions = self.positions(grid)
        outputs = self.run(self.add_prefix(x + positions[:, self.num_prefix_tokens :], positions), grid)
        if self.out_indices[-1] == len(self.blocks) - 1:
            outputs[-1] = self.norm(outputs[-1])
        return tuple(self.to_map(tokens, grid) for tokens in outputs)
