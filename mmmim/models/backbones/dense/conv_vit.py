"""The hybrid convolutional ViT as a backbone of segmentors and detectors."""

from typing import Optional, Sequence, Tuple, Union

from torch import Tensor
from torch.nn import functional as F

from ....registry import MODELS
from ...patches import Size
from ..conv_vit import ConvViT, resolve_architecture
from .base import DenseEncoder


@MODELS.register_module()
class DenseConvViT(ConvViT, DenseEncoder):
    """The parameters of :class:`ConvViT` under the same names; returns a pyramid of maps for images of any size.

    With patches of 16 pixels the maps are those of the two convolutional stages (strides 4 and 8), of the transformer
    (16), and its maximum over 2 x 2 (32): no neck is needed. In an FPN or UperNet the widths are ``out_channels``.

    Args:
        arch, conv_vit, img_size, patch_size, in_chans, drop_path_rate, trainable_blocks: As in :class:`ConvViT`.
        fuse: Whether ``'hybrid'`` adds the projections of the stages to the transformer's map, as in pre-training.
            Not as in ConvMAE's downstream models, where the neck sees the stages themselves; a checkpoint's
            projections are then left out.
        final_norm: The encoder's layer norm on the transformer's map.
        window_size, global_blocks, relative_positions: For the transformer blocks, as in :class:`.DenseViT`.
        with_cp: As in :class:`.DenseViT`, for the convolutional blocks, too.
        lean: As in :class:`ConvViT`.
        init_cfg: As in :class:`ConvViT`.

    Attributes:
        embed_dim, out_channels (four), grid_size (h, w) of ``img_size``, patch_size (h, w), in_chans.
    """

    def __init__(
        self,
        arch: Union[str, dict] = 'base',
        conv_vit: str = 'hybrid',
        fuse: bool = False,
        img_size: Size = 224,
        patch_size: Size = 16,
        in_chans: int = 3,
        final_norm: bool = False,
        drop_path_rate: float = 0.0,
        trainable_blocks: Optional[float] = None,
        window_size: Optional[Size] = None,
        global_blocks: Optional[Sequence[int]] = None,
        relative_positions: Optional[str] = None,
        with_cp: bool = False,
        lean: bool = False,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(
            arch,
            conv_vit,
            fuse,
            img_size,
            patch_size,
            in_chans,
            drop_path_rate,
            final_norm,
            trainable_blocks,
            activation_checkpointing=with_cp,
            lean=lean,
            init_cfg=init_cfg,
        )
        self.make_dense([-1], window_size, global_blocks, relative_positions, with_cp)
        first, second, last = resolve_architecture(arch).embed_dims
        self.out_channels = (first, second, last, last)

    # it has the parameters of a ConvViT but another output: maps
    def forward(self, images: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:  # type: ignore[override]
        """``[B, C, H, W]`` to maps at a quarter, half, whole and twice the patch size, of ``out_channels``."""
        images, grid = self.pad(images)
        x, features = self.patch_embed(images, None, grid)  # [B, T, D] and, for each stage, [B, T, S, S, width]
        x = self.run(x + self.positions(grid), grid)[-1]
        x = self.to_map(self.norm(self.add_stages(x, features)), grid)
        maps = [feature.unflatten(1, grid).permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3) for feature in features]
        return *maps, x, F.max_pool2d(x, 2, ceil_mode=True)
