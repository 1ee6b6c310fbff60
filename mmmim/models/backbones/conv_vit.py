"""The hybrid convolutional ViT of ConvMAE (Gao et al., 2022), as CMAE's experiments marked * use it."""

from typing import Dict, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from ...positions import sincos_positions
from ...registry import MODELS
from ..build import check_choice
from ..freezing import freeze_all_but_last
from ..layers.blocks import LayerNorm, build_blocks, checkpoint_activations, init_weights, run_blocks
from ..layers.conv import ConvBlock, ConvTokenizer, project_windows
from ..masking import PatchMask
from ..patches import Size, grid_size, to_2tuple
from .base import BaseEncoder


class ConvViTArchitecture(NamedTuple):
    """Widths, blocks and MLP ratios of the two convolutional stages and of the transformer; its attention heads."""

    embed_dims: Tuple[int, int, int]
    depths: Tuple[int, int, int]
    num_heads: int
    mlp_ratios: Tuple[float, float, float] = (4.0, 4.0, 4.0)


ARCHITECTURES: Dict[str, ConvViTArchitecture] = {
    'small': ConvViTArchitecture((128, 256, 384), (2, 2, 11), 6),
    'base': ConvViTArchitecture((256, 384, 768), (2, 2, 11), 12),
}
# patch size: strides of the three embeddings; a patch is always 4x4 positions of stage 1 and 2x2 of stage 2
STRIDES: Dict[int, Tuple[int, int, int]] = {16: (4, 2, 2), 8: (2, 2, 2), 4: (1, 2, 2)}


@MODELS.register_module()
class ConvViT(BaseEncoder):
    """Two stages of masked convolutions, then a transformer on the visible patches; no class token.

    It is the encoder of ConvMAE's code (models_convmae.py, vision_transformer.py), which :mod:`mmmim.checkpoint` reads
    and writes. CMAE (Sec. 4.1) describes its own in two ways that differ: "a hybrid convolutional ViT which is also
    used by ConvMAE", and one where "a multi-layer convolutional network is used as token projection". Both are here, of
    "the same model size as the ViT counterpart". Trained parameters, with 11 transformer blocks in each:

        ViT-B/16                        85.65M
        ``'hybrid'`` in pre-training    88.78M
        the same as fine-tuned          84.46M  without the sum of the stages; so is ``'stem'``

    Args:
        arch: ``'base'`` (ConvMAE-B), ``'small'``, or a dict of ``embed_dims``, ``depths`` (three each: two
            convolutional stages, the transformer), ``num_heads`` and optionally ``mlp_ratios``.
        conv_vit: ``'hybrid'``: projections of both stages' features are added to the last tokens, before the final
            norm, as in ConvMAE (the default: it is the encoder that CMAE's table compares with). ``'stem'``: the
            stages are only a tokenizer.
        fuse: Whether ``'hybrid'`` computes that sum. ConvMAE's fine-tuned classifier does not: with False, a
            pre-trained checkpoint's projections are left out.
        img_size: Pixels, an int or (height, width).
        patch_size: Total stride: 16 (stages at strides 4 and 8), 8 (2 and 4) or 4 (1 and 2). Must divide ``img_size``.
        in_chans: Image channels.
        drop_path_rate: Stochastic depth, growing linearly over all blocks of the three stages.
        final_norm: Layer norm at the end.
        trainable_blocks: Train only this number of last transformer blocks, and the fusion and final norm with them;
            the rest gets no gradient and stays in evaluation mode. 0: nothing is trained. 0.5: the last block's MLP.
            None or the number of transformer blocks: everything.
        compiled: Compile the transformer blocks in place; a string names another backend than Inductor.
        activation_checkpointing: As in :class:`.MaskedViT`, for the convolutional blocks, too.
        lean: Without the layer norm, GELU and 768x768 linear layer after the third embedding (0.59M fewer parameters),
            with an eps of 1e-6 in all layer norms and Xavier's initialisation of all convolutions: this project's
            encoder up to version 0.2.0, for checkpoints of that time.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH, prefix='backbone.')`` loads a checkpoint of a ConvViT, also
            in ConvMAE's names, and fails when it does not match.

    For layer-wise learning rate decay both convolutional stages are layer 0, transformer block i is layer i + 1, fusion
    and norm are the last one.

    Attributes:
        embed_dim, grid_size (h, w), num_prefix_tokens (0), patch_size (h, w), in_chans.

    Raises:
        ValueError: An unknown ``arch``, ``conv_vit`` or ``patch_size``, or one that does not divide the image.
    """

    def __init__(
        self,
        arch: Union[str, dict] = 'base',
        conv_vit: str = 'hybrid',
        fuse: bool = True,
        img_size: Size = 224,
        patch_size: Size = 16,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        final_norm: bool = True,
        trainable_blocks: Optional[float] = None,
        compiled: Union[bool, str] = False,
        activation_checkpointing: bool = False,
        lean: bool = False,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        dims, depths, num_heads, mlp_ratios = resolve_architecture(arch)
        check_choice('conv_vit', conv_vit, ('hybrid', 'stem'))
        strides = resolve_strides(patch_size)
        self.conv_vit, self.lean, self.embed_dim, self.in_chans = conv_vit, lean, dims[2], in_chans
        self.left_out = 'fuse.' if conv_vit == 'hybrid' and not fuse else ''
        self.img_size, self.patch_size = to_2tuple(img_size), to_2tuple(patch_size)
        self.grid_size = grid_size(img_size, patch_size)
        self.num_prefix_tokens, self.cls_token = 0, None

        rates = torch.linspace(0, drop_path_rate, sum(depths), device='cpu').tolist()
        self.patch_embed = ConvTokenizer(in_chans, dims, depths, mlp_ratios, strides, rates, lean)
        self.pos_embed = nn.Parameter(sincos_positions(dims[2], self.grid_size, 0), requires_grad=False)
        convolutional = (module for module in self.patch_embed.modules() if isinstance(module, ConvBlock))
        checkpoint_activations(convolutional, activation_checkpointing)
        self.blocks = build_blocks(
            dims[2], depths[2], num_heads, mlp_ratios[2], rates[-depths[2] :], compiled, activation_checkpointing
        )
        sides = (strides[1] * strides[2], strides[2])  # positions of a patch at the strides of the stages
        self.fuse = nn.ModuleList(
            nn.Conv2d(dim, dims[2], side, side) for dim, side in zip(dims, sides) if fuse and conv_vit == 'hybrid'
        )
        self.norm = LayerNorm(dims[2]) if final_norm else nn.Identity()
        self._reset_parameters()
        self.frozen = () if trainable_blocks is None else tuple(freeze_all_but_last(self, trainable_blocks))
        if trainable_blocks == 0:
            self.fuse.requires_grad_(False)

    def _reset_parameters(self) -> None:
        # Only in the constructor: when `init_weights` runs, a checkpoint may have been loaded.
        self.apply(init_weights)
        if not self.lean:
            # ConvMAE's: convolutions, also those of 1x1 that are linear layers here, keep PyTorch's initialisation
            for block in (module for module in self.modules() if isinstance(module, ConvBlock)):
                for layer in (block.conv1, block.conv2, block.mlp.fc1, block.mlp.fc2):
                    layer.reset_parameters()
            nn.init.xavier_uniform_(self.patch_embed.embed.weight.view(self.embed_dim, -1))
            return
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                if module.groups == 1:  # strided ones are initialised as linear layers; depth-wise ones keep PyTorch's
                    nn.init.xavier_uniform_(module.weight.view(module.out_channels, -1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor, mask: Optional[PatchMask] = None) -> Tensor:
        """Encode the visible patches (all without a mask). Removed patches do not affect the result.

        Args:
            images: ``[B, C, H, W]``.
            mask: Which patches are visible.

        Returns:
            ``[B, T, D]``; T = L_v in the order of ``mask.ids_keep``, or L in image order without a mask.
        """
        self.check_images(images)
        ids = None if mask is None else mask.ids_keep
        x, features = self.patch_embed(images, ids, self.grid_size)
        x = run_blocks(self.blocks, x + (self.pos_embed if ids is None else self.pos_embed[0][ids]))
        return self.norm(self.add_stages(x, features))

    def add_stages(self, x: Tensor, features: Sequence[Tensor]) -> Tensor:
        """The multi-scale sum: tokens ``[B, T, D]`` and projections of the stages' ``[B, T, S, S, width]``."""
        for projection, feature in zip(self.fuse, features):
            assert isinstance(projection, nn.Conv2d)
            x = x + project_windows(feature, projection)[:, :, 0, 0]
        return x


def resolve_architecture(arch: Union[str, dict]) -> ConvViTArchitecture:
    if isinstance(arch, str):
        if arch not in ARCHITECTURES:
            raise ValueError(
                f"arch='{arch}' is not known; use one of {', '.join(ARCHITECTURES)}, or a dict of "
                'embed_dims, depths and num_heads'
            )
        return ARCHITECTURES[arch]
    wanted = {'embed_dims', 'depths', 'num_heads'}
    if not wanted <= set(arch) <= wanted | {'mlp_ratios'}:
        raise ValueError(
            f'arch={dict(arch)} needs exactly the keys embed_dims, depths, num_heads (and may have mlp_ratios)'
        )
    resolved = ConvViTArchitecture(**arch)
    if {len(resolved.embed_dims), len(resolved.depths), len(resolved.mlp_ratios)} != {3} or min(resolved.depths) < 1:
        raise ValueError(
            f'arch={dict(arch)} needs three widths, three depths of at least 1 and three MLP ratios: two '
            'convolutional stages and the transformer'
        )
    return resolved


def resolve_strides(patch_size: Size) -> Tuple[int, int, int]:
    height, width = to_2tuple(patch_size)
    if height != width or height not in STRIDES:
        raise ValueError(
            f'patch_size={patch_size} is no total stride of a ConvViT; use one of {", ".join(map(str, STRIDES))}'
        )
    return STRIDES[height]
