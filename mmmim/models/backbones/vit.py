"""The Vision Transformer for pre-training: it embeds only the visible patches."""

from typing import Dict, List, Optional, Tuple, Union

import torch
from timm.layers import PatchEmbed
from torch import Tensor, nn
from torch.nn import functional as F

from ...positions import sincos_positions
from ...registry import MODELS
from ..freezing import freeze_all_but_last
from ..layers.blocks import LayerNorm, build_blocks, init_weights, run_blocks
from ..masking import PatchMask
from ..patches import Size, gather_patches, grid_size, to_2tuple
from .base import BaseEncoder

# name: (embed_dim, depth, num_heads); the patch size is a key of its own (huge: 14 in the papers)
ARCHITECTURES: Dict[str, Tuple[int, int, int]] = {
    'tiny': (192, 12, 3),
    'small': (384, 12, 6),
    'base': (768, 12, 12),
    'large': (1024, 24, 16),
    'huge': (1280, 32, 16),
}


@MODELS.register_module()
class MaskedViT(BaseEncoder):
    """ViT encoder with timm's parameter names, for whole images and for visible patches only.

    Args:
        arch: ``'tiny'``, ``'small'``, ``'base'``, ``'large'``, ``'huge'``, or a dict of ``embed_dim``, ``depth``,
            ``num_heads`` and optionally ``mlp_ratio``.
        img_size: Pixels, an int or (height, width).
        patch_size: Pixels, an int or (height, width); must divide ``img_size``.
        in_chans: Image channels.
        class_token: Whether class tokens stand first. Of several, ``pool='cls'`` takes the first, ``'cls_mean'`` all.
        num_class_tokens: Class tokens, at least 1 (Pixio, arXiv 2512.15715: 8); ``class_token=False`` is the way to
            have none.
        num_register_tokens: Learned registers (Darcet et al., 2024) between class tokens and patches, as in timm. They
            start like a class token, with MAE's deviation of 0.02 (timm: 1e-6 for both).
        mask_tokens: The encoder sees mask tokens in place of removed patches, as BEiT does (MAE, Table 1c,
            "encoder w/ [M]"); the output then has all L tokens, in image order.
        learned_positions: The position table, with its rows for class tokens and registers, is trained, and begins
            with a normal distribution of deviation 0.02 (Pixio's code), in the place of MAE's fixed sines and cosines.
        drop_path_rate: Stochastic depth, growing linearly over the blocks.
        drop_rate: Dropout of embedded patches and after linear layers (Dosovitskiy et al., 2021: 0.1 from scratch).
        final_norm: Layer norm after the last block.
        trainable_blocks: Train only this number of last blocks, and the final norm with them; the rest gets no gradient
            and stays in evaluation mode. 0: nothing is trained (linear probing). 0.5: the last block's MLP. None:
            everything.
        compiled: Compile the blocks in place; a string names another backend of ``torch.compile`` than Inductor.
        activation_checkpointing: Keep only the inputs of the blocks for the backward pass, which computes the rest once
            more: much less memory, about a third more time, the same gradients.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH, prefix='backbone.')`` loads a checkpoint of any known
            naming scheme and fails when the encoder does not match. Further keys as in
            :func:`~mmmim.checkpoint.encoder.fill_encoder`: ``prefix`` of another network in the file,
            ``resize_patches``, ``adapt_channels``, ``allow_unused``.

    Attributes:
        embed_dim, grid_size (h, w), num_prefix_tokens (class tokens and registers, whose rows in ``pos_embed`` are
        zero unless a file has others), num_register_tokens, patch_size (h, w), in_chans.

    Raises:
        ValueError: An unknown ``arch``, patches that do not divide the image, or numbers of tokens that contradict.
    """

    def __init__(
        self,
        arch: Union[str, dict] = 'base',
        img_size: Size = 224,
        patch_size: Size = 16,
        in_chans: int = 3,
        class_token: bool = True,
        num_class_tokens: int = 1,
        num_register_tokens: int = 0,
        mask_tokens: bool = False,
        learned_positions: bool = False,
        drop_path_rate: float = 0.0,
        final_norm: bool = True,
        trainable_blocks: Optional[float] = None,
        compiled: Union[bool, str] = False,
        activation_checkpointing: bool = False,
        drop_rate: float = 0.0,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.embed_dim, depth, num_heads, mlp_ratio = resolve_architecture(arch)
        self.img_size, self.patch_size = to_2tuple(img_size), to_2tuple(patch_size)
        self.grid_size = grid_size(img_size, patch_size)
        self.in_chans = in_chans
        classes, self.num_register_tokens = count_prefix_tokens(class_token, num_class_tokens, num_register_tokens)
        self.num_prefix_tokens = classes + self.num_register_tokens

        # timm's module holds the parameters; forward projects gathered patches with the same weight. timm's stub has
        # int, its code also takes a pair
        self.patch_embed = PatchEmbed(self.img_size, self.patch_size, in_chans, self.embed_dim)  # type: ignore[arg-type]
        self.cls_token, self.reg_token, self.mask_token = (
            nn.Parameter(torch.zeros(1, count, self.embed_dim)) if count else None
            for count in (classes, self.num_register_tokens, int(mask_tokens))
        )
        self.pos_embed = nn.Parameter(
            sincos_positions(self.embed_dim, self.grid_size, self.num_prefix_tokens), requires_grad=learned_positions
        )
        rates = torch.linspace(0, drop_path_rate, depth, device='cpu').tolist()  # also when built on the meta device
        self.blocks = build_blocks(
            self.embed_dim, depth, num_heads, mlp_ratio, rates, compiled, activation_checkpointing, drop_rate
        )
        self.pos_drop = nn.Dropout(drop_rate)
        self.norm = LayerNorm(self.embed_dim) if final_norm else nn.Identity()
        self._reset_parameters()
        self.frozen = () if trainable_blocks is None else tuple(freeze_all_but_last(self, trainable_blocks))

    def _reset_parameters(self) -> None:
        # Only in the constructor: when `init_weights` runs, a checkpoint may have been loaded.
        self.apply(init_weights)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.view(self.embed_dim, -1))
        if self.patch_embed.proj.bias is not None:
            nn.init.zeros_(self.patch_embed.proj.bias)
        for token in (self.cls_token, self.reg_token, self.mask_token):
            if token is not None:
                nn.init.normal_(token, std=0.02)
        if self.pos_embed.requires_grad:
            nn.init.normal_(self.pos_embed, std=0.02)

    def forward(self, images: Tensor, mask: Optional[PatchMask] = None) -> Tensor:
        """Encode the visible patches (all without a mask).

        Args:
            images: ``[B, C, H, W]``.
            mask: Which patches are visible.

        Returns:
            ``[B, num_prefix_tokens + T, D]``; T = L_v in the order of ``mask.ids_keep``, or L in image order without
            a mask or with ``mask_tokens``.
        """
        self.check_images(images)
        x = self.pos_drop(self.add_prefix(self._embed(images, mask), self.pos_embed))
        return self.norm(run_blocks(self.blocks, x))

    def add_prefix(self, x: Tensor, positions: Tensor) -> Tensor:
        """Class tokens, then registers, in front of embedded patches: ``[B, T, D] -> [B, num_prefix_tokens + T, D]``.

        Args:
            x: ``[B, T, D]``.
            positions: A table ``[1, num_prefix_tokens + ..., D]``.
        """
        tokens: List[Tensor] = [token for token in (self.cls_token, self.reg_token) if token is not None]
        if not tokens:
            return x
        prefix = torch.cat(tokens, dim=1) + positions[:, : self.num_prefix_tokens]
        return torch.cat([prefix.expand(x.shape[0], -1, -1).to(x.dtype), x], dim=1)

    def _embed(self, images: Tensor, mask: Optional[PatchMask]) -> Tensor:
        """Project patches and add their position embeddings: ``[B, T, D]``."""
        positions = self.pos_embed[:, self.num_prefix_tokens :]
        ids = mask.ids_keep if mask is not None and self.mask_token is None else None
        patches = gather_patches(images, self.patch_size, ids)
        x = F.linear(patches, self.patch_embed.proj.weight.flatten(1), self.patch_embed.proj.bias)
        if ids is not None:
            return x + positions[0][ids]
        if mask is not None and self.mask_token is not None:
            x = torch.where(mask.mask[..., None].bool(), self.mask_token.to(x.dtype), x)
        return x + positions


def count_prefix_tokens(class_token: bool, num_class_tokens: int, num_register_tokens: int) -> Tuple[int, int]:
    """Class tokens and registers of a :class:`MaskedViT` with these keys.

    Raises:
        ValueError: Numbers that cannot be, or that contradict ``class_token``.
    """
    if num_class_tokens < 1 or num_register_tokens < 0:
        raise ValueError(
            f'num_class_tokens={num_class_tokens} must be at least 1 (none: class_token=False), and '
            f'num_register_tokens={num_register_tokens} not negative'
        )
    if not class_token and num_class_tokens > 1:
        raise ValueError(f'class_token=False leaves no class token, but num_class_tokens={num_class_tokens}: set one')
    return num_class_tokens if class_token else 0, num_register_tokens


def resolve_architecture(arch: Union[str, dict]) -> Tuple[int, int, int, float]:
    if isinstance(arch, str):
        if arch not in ARCHITECTURES:
            raise ValueError(
                f"arch='{arch}' is not known; use one of {', '.join(ARCHITECTURES)}, or a dict of "
                'embed_dim, depth and num_heads'
            )
        return (*ARCHITECTURES[arch], 4.0)
    wanted, known = {'embed_dim', 'depth', 'num_heads'}, {'embed_dim', 'depth', 'num_heads', 'mlp_ratio'}
    if not wanted <= set(arch) <= known:
        raise ValueError(
            f'arch={dict(arch)} needs exactly the keys embed_dim, depth, num_heads (and may have mlp_ratio)'
        )
    return arch['embed_dim'], arch['depth'], arch['num_heads'], arch.get('mlp_ratio', 4.0)
