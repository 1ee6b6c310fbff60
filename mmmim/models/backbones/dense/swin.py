"""timm's Swin Transformer as a backbone of segmentors and detectors."""

import math
from itertools import accumulate
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from timm.models.swin_transformer import SwinTransformer, SwinTransformerStage
from torch import Tensor, nn
from torch.nn import functional as F

from ....registry import MODELS
from ...layers.blocks import checkpoint_activations, cut_outliers, run_block
from ...patches import Size, to_2tuple
from ..base import BaseEncoder
from .base import resolve_indices

# name: (embed_dim, depths, num_heads)
Architecture = Tuple[int, Tuple[int, ...], Tuple[int, ...]]
ARCHITECTURES: Dict[str, Architecture] = {
    'tiny': (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    'small': (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    'base': (128, (2, 2, 18, 2), (4, 8, 16, 32)),
    'large': (192, (2, 2, 18, 2), (6, 12, 24, 48)),
}


@MODELS.register_module()
class DenseSwin(BaseEncoder):
    """Swin (Liu et al., 2021) from timm's layers under timm's names; returns a map of each stage.

    Images are of any size: padded to whole patches here, to whole windows by timm. As in the authors' dense models,
    windows keep their size and are shifted in maps of one window too, where timm's classifiers don't.

    Args:
        arch: ``'tiny'``, ``'small'``, ``'base'``, ``'large'``, or a dict of ``embed_dim``, ``depths`` and
            ``num_heads``.
        patch_size: Pixels, an int or (height, width).
        in_chans: Image channels.
        window_size: Patches, as in pre-training.
        out_indices: Stages (strides 4, 8, 16 and 32) whose maps are returned.
        out_norms: A layer norm on each map. The last stage's is the encoder's own and comes from the checkpoint; the
            others are newly initialised.
        drop_path_rate: Stochastic depth, growing linearly over all blocks.
        with_cp: As in :class:`.DenseViT`.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH, prefix='backbone.')`` loads a Swin of timm, of its
            authors, of SimMIM or mmpretrain, and fails when it does not match.

    For layer-wise learning rate decay block j of stage i is layer ``sum(depths[:i]) + j + 1``; the merging of patches
    before a stage belongs to the block before it, as in SimMIM.

    Attributes:
        out_channels: Widths of the maps.

    Raises:
        ValueError: An unknown ``arch``, or stages out of range.
    """

    num_prefix_tokens = 0
    grid_size = (0, 0)  # there is no position table that needs one

    def __init__(
        self,
        arch: Union[str, dict] = 'base',
        patch_size: Size = 4,
        in_chans: int = 3,
        window_size: int = 7,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        out_norms: bool = True,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        embed_dim, self.depths, num_heads = resolve_architecture(arch)
        self.patch_size, self.in_chans, self.with_cp = to_2tuple(patch_size), in_chans, with_cp
        last = len(self.depths) - 1
        self.out_indices = resolve_indices(out_indices, last + 1, 'out_indices')
        if not self.out_indices:
            raise ValueError('out_indices=[]: a dense backbone needs at least one stage to take a map from')
        # the image size does not matter: windows are always whole, masks are built for each map
        size = (8 * window_size * self.patch_size[0], 8 * window_size * self.patch_size[1])
        swin = build_swin(
            (embed_dim, self.depths, num_heads),
            size,
            self.patch_size,
            in_chans,
            with_cp,
            window_size=window_size,
            always_partition=True,
            strict_img_size=False,
            drop_path_rate=drop_path_rate,
        )
        self.patch_embed, self.layers = swin.patch_embed, swin.layers
        widths = [embed_dim * 2**stage for stage in range(last + 1)]
        self.out_channels = tuple(widths[stage] for stage in self.out_indices)
        self.out_norms = nn.ModuleDict(
            {str(stage): nn.LayerNorm(widths[stage]) for stage in self.out_indices if out_norms and stage < last}
        )
        self.norm = swin.norm if out_norms and last in self.out_indices else nn.Identity()
        for stage in self.layers[self.out_indices[-1] + 1 :]:  # kept for the checkpoint, but never run
            stage.requires_grad_(False)

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        """``[B, C, H, W]`` to maps ``[B, out_channels, ceil(H/4), ceil(W/4)]`` and so on, half as large each."""
        if images.shape[1] != self.in_chans:
            raise ValueError(
                f'the backbone was built for in_chans={self.in_chans} and got images of {images.shape[1]} channels'
            )
        missing = [math.ceil(size / patch) * patch - size for size, patch in zip(images.shape[2:], self.patch_size)]
        x = self.patch_embed(F.pad(images, (0, missing[1], 0, missing[0])))  # [B, h, w, width]
        maps = []
        for index, stage in enumerate(self.layers[: self.out_indices[-1] + 1]):
            x = stage(x)
            if index in self.out_indices:
                maps.append(self._norm_of(index)(x).permute(0, 3, 1, 2).contiguous())
        return tuple(maps)

    def _norm_of(self, stage: int) -> nn.Module:
        if stage == len(self.layers) - 1:
            return self.norm
        return self.out_norms[str(stage)] if str(stage) in self.out_norms else nn.Identity()

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """``(layer, number of layers)`` of a parameter, for layer-wise learning rate decay."""
        last = sum(self.depths) + 1
        if not param_name.startswith(prefix):
            return last, last + 1
        parts = param_name[len(prefix) :].split('.')
        if parts[0] == 'patch_embed':
            return 0, last + 1
        if parts[0] != 'layers':
            return last, last + 1
        before = [0, *accumulate(self.depths)][int(parts[1])]
        return (before if parts[2] == 'downsample' else before + int(parts[3]) + 1), last + 1

    def new_parameters(self) -> List[str]:
        """Norms on the maps of all stages but the last, which pre-training does not have."""
        return [name for name, _ in self.named_parameters() if name.startswith('out_norms.')]

    def about_new(self, found: List[str]) -> str:
        stages = sorted({name.split('.')[1] for name in self.new_parameters() if name not in found})
        return f'The norms on the maps of stages {", ".join(stages)} begin anew.' if stages else 'All norms are loaded.'


class _StageBlocks(nn.Sequential):
    """In the place of timm's, which has no activation checkpointing that all its versions do alike."""

    def forward(self, x: Tensor) -> Tensor:
        for block in self:
            x = run_block(block, x)
        return x


def build_swin(
    architecture: Architecture,
    img_size: Tuple[int, int],
    patch_size: Tuple[int, int],
    in_chans: int,
    activation_checkpointing: bool = False,
    **options: Any,
) -> SwinTransformer:
    """timm's Swin without a classifier, with further ``options`` of timm."""
    embed_dim, depths, num_heads = architecture
    swin = SwinTransformer(
        img_size,
        patch_size,  # type: ignore[arg-type]  # timm's stub has int, its code also takes a pair
        in_chans,
        num_classes=0,
        global_pool='',
        embed_dim=embed_dim,
        depths=depths,
        num_heads=num_heads,
        **options,
    )
    cut_outliers(swin)
    for stage in swin.layers:
        assert isinstance(stage, SwinTransformerStage)
        checkpoint_activations(stage.blocks, activation_checkpointing)
        stage.blocks = _StageBlocks(*stage.blocks)
    return swin


def resolve_architecture(arch: Union[str, dict]) -> Architecture:
    if isinstance(arch, str):
        if arch not in ARCHITECTURES:
            raise ValueError(
                f"arch='{arch}' is not known; use one of {', '.join(ARCHITECTURES)}, or a dict of "
                'embed_dim, depths and num_heads'
            )
        return ARCHITECTURES[arch]
    if set(arch) != {'embed_dim', 'depths', 'num_heads'} or len(arch['depths']) != len(arch['num_heads']):
        raise ValueError(
            f'arch={dict(arch)} needs exactly the keys embed_dim, depths and num_heads, the last two of the same length'
        )
    return arch['embed_dim'], tuple(arch['depths']), tuple(arch['num_heads'])
