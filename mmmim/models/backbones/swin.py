"""The Swin Transformer for pre-training: mask tokens replace removed patches (SimMIM)."""

from typing import Optional, Tuple, Union

import torch
from torch import Tensor, nn

from ...registry import MODELS
from ..layers.blocks import init_weights
from ..masking import PatchMask
from ..patches import Size, to_2tuple
from .base import BaseEncoder
from .dense.swin import DenseSwin, build_swin, resolve_architecture


@MODELS.register_module()
class MaskedSwin(BaseEncoder):
    """Swin (Liu et al., 2021) from timm's layers under timm's names, as SimMIM (Xie et al., 2022) pre-trains it.

    The unit that is masked and predicted is a position of the last map: with four stages 32 x 32 pixels, 8 x 8 patches
    of the first projection. All tokens are returned, in image order.

    Args:
        arch: ``'tiny'``, ``'small'``, ``'base'``, ``'large'``, or a dict of ``embed_dim``, ``depths`` and
            ``num_heads``.
        img_size: Pixels, an int or (height, width); SimMIM: 192.
        patch_size: Pixels of the first projection, an int or (height, width).
        in_chans: Image channels.
        window_size: Patches; SimMIM: 6 at 192 pixels. A map that is no larger than a window is one window.
        mask_tokens: Whether there is a mask token, without which no mask can be given.
        drop_path_rate: Stochastic depth, growing linearly over all blocks.
        trainable_blocks: 0: nothing is trained, for linear probing. None: everything.
        activation_checkpointing: As in :class:`MaskedViT`.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH, prefix='backbone.')`` loads a Swin of timm, of its
            authors, of SimMIM or mmpretrain, and fails when it does not match.

    Attributes:
        embed_dim: Width of the last stage.
        grid_size: (h, w) of the last map.
        patch_size: (height, width) in pixels of a position of the last map.
        num_prefix_tokens: 0.

    Raises:
        ValueError: An unknown ``arch`` or ``trainable_blocks``, or an image that patches, mergings or windows do not
            divide.
    """

    num_prefix_tokens = 0

    def __init__(
        self,
        arch: Union[str, dict] = 'base',
        img_size: Size = 192,
        patch_size: Size = 4,
        in_chans: int = 3,
        window_size: int = 6,
        mask_tokens: bool = False,
        drop_path_rate: float = 0.0,
        trainable_blocks: Optional[int] = None,
        activation_checkpointing: bool = False,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        width, self.depths, num_heads = resolve_architecture(arch)
        self.img_size, self.in_chans = to_2tuple(img_size), in_chans
        first, self.merged = to_2tuple(patch_size), 2 ** (len(self.depths) - 1)
        self.patch_size = (first[0] * self.merged, first[1] * self.merged)
        self.grid_size = check_windows(self.img_size, first, window_size, len(self.depths))
        self.embed_dim = width * self.merged
        swin = build_swin(
            (width, self.depths, num_heads),
            self.img_size,
            first,
            in_chans,
            activation_checkpointing,
            window_size=window_size,
            drop_path_rate=drop_path_rate,
        )
        self.patch_embed, self.layers, self.norm = swin.patch_embed, swin.layers, swin.norm
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width)) if mask_tokens else None
        self._reset_parameters()
        if trainable_blocks is not None:
            if trainable_blocks != 0:
                raise ValueError(
                    f'trainable_blocks={trainable_blocks}: of Swin nothing is trained (0), or everything (None)'
                )
            self.requires_grad_(False)
            self.frozen = (self.patch_embed, self.layers, self.norm)

    def _reset_parameters(self) -> None:
        """As MAE's ViT (CrossMAE, appendix A.3)."""
        self.apply(init_weights)
        for name, value in self.named_parameters():
            if name == 'patch_embed.proj.weight':
                nn.init.xavier_uniform_(value.flatten(1))
            elif name == 'patch_embed.proj.bias':
                nn.init.zeros_(value)
            elif name.endswith('relative_position_bias_table') or name == 'mask_token':
                nn.init.normal_(value, std=0.02)

    def forward(self, images: Tensor, mask: Optional[PatchMask] = None) -> Tensor:
        """``[B, C, H, W]`` to all tokens of the last map ``[B, L, D]``, in image order.

        Raises:
            ValueError: A mask for an encoder without mask tokens, or images of another size.
        """
        self.check_images(images)
        x = self.patch_embed(images)  # [B, h, w, width]
        if mask is not None:
            if self.mask_token is None:
                raise ValueError(
                    'windows have no places for absent patches: to be given a mask, MaskedSwin needs mask_tokens=True'
                )
            removed = mask.mask.reshape(-1, *self.grid_size, 1).bool()
            removed = removed.repeat_interleave(self.merged, 1).repeat_interleave(self.merged, 2)
            x = torch.where(removed, self.mask_token.to(x.dtype), x)
        return self.norm(self.layers(x)).flatten(1, 2)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """``(layer, number of layers)`` of a parameter, as in :class:`DenseSwin`."""
        return DenseSwin.get_layer_depth(self, param_name, prefix)


def check_windows(
    img_size: Tuple[int, int], patch_size: Tuple[int, int], window_size: int, num_stages: int
) -> Tuple[int, int]:
    """(h, w) of the last map of a Swin.

    Raises:
        ValueError: Patches of the last map do not divide the image, or windows do not divide a map larger than one.
    """
    merged = 2 ** (num_stages - 1)
    stride = (patch_size[0] * merged, patch_size[1] * merged)
    # the window of the last map, or the whole map, divides all earlier maps
    fitting = [max(1, round(side / (step * window_size))) * step * window_size for side, step in zip(img_size, stride)]
    advice = f'Nearest img_size that fits windows of {window_size}x{window_size}: {fitting[0]}x{fitting[1]}'
    if any(side % step for side, step in zip(img_size, stride)):
        raise ValueError(
            f'a Swin of {num_stages} stages cannot cut an image of {img_size[0]}x{img_size[1]} pixels '
            f'into patches of {stride[0]}x{stride[1]}, which it merges them to. {advice}'
        )
    for stage in range(num_stages):
        grid = tuple(side // step // 2**stage for side, step in zip(img_size, patch_size))
        if any(side > window_size and side % window_size for side in grid):
            raise ValueError(
                f'windows of {window_size}x{window_size} do not fit an image of {img_size[0]}x'
                f'{img_size[1]} pixels: the map of stage {stage} has {grid[0]}x{grid[1]} positions. '
                f'{advice}; or change window_size'
            )
    return img_size[0] // stride[0], img_size[1] // stride[1]
