"""The head that draws what is missing, differently for each noise vector (CrossMAE, section 3.1)."""

from typing import List, Optional, Tuple, Union

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ..blocks import LayerNorm, build_blocks, init_weights, run_blocks
from ..masking import PatchMask, take
from ..patches import Size, gather_patches, grid_size, to_2tuple
from ..positions import sincos_positions

NOISE = ('mapped', 'concat', 'none')


class NoiseMapping(nn.Sequential):
    """f: z to w, ``[B, D] -> [B, D]``, three linear layers (section 3.1), with StyleGAN's leaky ReLU between them."""

    def __init__(self, dim: int) -> None:
        super().__init__(
            nn.Linear(dim, dim), nn.LeakyReLU(0.2), nn.Linear(dim, dim), nn.LeakyReLU(0.2), nn.Linear(dim, dim)
        )


@MODELS.register_module()
class DrawingHead(BaseModule):
    """E_draw: completes a masked image, given noise. Patch embedding, a few transformer blocks, a linear layer.

    The paper gives no width. Its costs for 2, 4, 6 and 8 blocks (Table 13: 1, 1.8, 2.6 and 3.5) are those of a width
    of 256, the default, where all patches are embedded. It names no norm before the last layer: ``final_norm`` adds
    one.

    Args:
        img_size, patch_size, in_chans: Of the image and of the patches that are masked (filled in by the algorithm from
            the backbone; a Swin's last map is coarser than the usual 16 pixels: state the patch size then).
        embed_dim: Width, of z and w too.
        depth: Transformer blocks (Table 13: 2, 4, 6, 8).
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the blocks' MLPs over ``embed_dim``.
        noise: ``'mapped'``: the vector z and its image w = f(z) enter the blocks. ``'concat'``: z is put beside the
            input and not mapped (Table 8, "Concatenation"). ``'none'``.
        noise_tokens: Which is the extra token of which block, for mapped noise: ``'z_then_w'``: z of the first, w of
            the second ("respectively") and, in deeper heads, of all that follow; ``'w_all'``: w of every block.
        concat: What is put beside what: ``'channel'``, an image of noise as one more channel of the masked image; or
            ``'token'``, a vector as one more token of the input.
        final_norm: Layer norm before the last layer.
        compiled: Compile the blocks in place; a string names another backend of ``torch.compile`` than Inductor.

    Attributes:
        patch_size, grid_size: Of the patches that are masked and drawn.
        noise_shape: Of the noise for one image; None for none.

    Raises:
        ValueError: An unknown choice, or patches that do not divide the image.
    """

    def __init__(
        self,
        img_size: Size,
        patch_size: Size = 16,
        in_chans: int = 3,
        embed_dim: int = 256,
        depth: int = 2,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        noise: str = 'mapped',
        noise_tokens: str = 'z_then_w',
        concat: str = 'channel',
        final_norm: bool = False,
        compiled: Union[bool, str] = False,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        check_choice('noise', noise, NOISE)
        check_choice('noise_tokens', noise_tokens, ('z_then_w', 'w_all'))
        check_choice('concat', concat, ('channel', 'token'))
        self.patch_size, self.grid_size = to_2tuple(patch_size), grid_size(img_size, patch_size)
        self.noise, self.noise_tokens, self.concat = noise, noise_tokens, concat
        area = self.patch_size[0] * self.patch_size[1]
        with_channel = noise == 'concat' and concat == 'channel'
        self.noise_shape: Optional[Tuple[int, ...]] = None if noise == 'none' else (embed_dim,)
        if with_channel:
            self.noise_shape = (1, *to_2tuple(img_size))

        self.patch_embed = nn.Linear(area * in_chans, embed_dim)
        self.noise_embed = nn.Linear(area, embed_dim, bias=False) if with_channel else None
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(sincos_positions(embed_dim, self.grid_size, 0), requires_grad=False)
        self.mapping = NoiseMapping(embed_dim) if noise == 'mapped' else None
        self.blocks = build_blocks(embed_dim, depth, num_heads, mlp_ratio, compiled=compiled)
        self.norm = LayerNorm(embed_dim) if final_norm else nn.Identity()
        self.pred = nn.Linear(embed_dim, area * in_chans)
        self.apply(init_weights)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, images: Tensor, mask: PatchMask, z: Optional[Tensor] = None) -> Tensor:
        """Draw every patch.

        Args:
            images: ``[B, C, H, W]``; removed patches are not looked at.
            mask: Which patches are removed.
            z: Noise ``[B, *noise_shape]``; None where there is none.

        Returns:
            ``[B, L, P*P*C]``, pixels in the order of :func:`~mmmim.models.patches.patchify`.
        """
        x = self._embed(images, mask, z)
        if self.noise == 'concat' and self.concat == 'token':
            x = run_blocks(self.blocks, torch.cat([given(z).to(x.dtype)[:, None], x], dim=1))[:, 1:]
        elif self.noise == 'mapped':
            for block, token in zip(self.blocks, self._tokens(given(z))):
                x = run_blocks((block,), torch.cat([token.to(x.dtype)[:, None], x], dim=1))[:, 1:]
        else:
            x = run_blocks(self.blocks, x)
        return self.pred(self.norm(x))

    def _tokens(self, z: Tensor) -> List[Tensor]:
        """The extra token ``[B, D]`` of each block."""
        assert self.mapping is not None
        w = self.mapping(z)
        return [z if i == 0 and self.noise_tokens == 'z_then_w' else w for i in range(len(self.blocks))]

    def _embed(self, images: Tensor, mask: PatchMask, z: Optional[Tensor]) -> Tensor:
        """Visible patches and mask tokens in image order, with positions: ``[B, L, D]``."""
        x = self.patch_embed(gather_patches(images, self.patch_size, mask.ids_keep))
        missing = mask.ids_restore.shape[1] - x.shape[1]
        x = torch.cat([x, self.mask_token.to(x.dtype).expand(len(x), missing, -1)], dim=1)
        x = take(x, mask.ids_restore) + self.pos_embed
        if self.noise_embed is not None:  # a channel beside others is a term of its own in a linear layer
            x = x + self.noise_embed(gather_patches(given(z), self.patch_size))
        return x


def check_choice(name: str, value: str, known: Tuple[str, ...]) -> None:
    """Raises ValueError when ``value`` is none of ``known``."""
    if value not in known:
        raise ValueError(f"{name}='{value}' is not known; use one of {', '.join(map(repr, known))}")


def given(z: Optional[Tensor]) -> Tensor:
    """Raises ValueError where the noise is missing that a head was built for."""
    if z is None:
        raise ValueError(
            "z=None: this drawing head takes noise, `[B, *noise_shape]`; without it, build it with noise='none'"
        )
    return z


def masked_input(images: Tensor, mask: PatchMask, grid: Tuple[int, int], extra: Optional[Tensor] = None) -> Tensor:
    """The masked image with its mask as one more channel: ``[B, C + 1, H, W]``; removed pixels are 0.

    Args:
        images: ``[B, C, H, W]``.
        mask: Which patches are removed.
        grid: (h, w) patches.
        extra: Further channels ``[B, E, H, W]``.
    """
    removed = mask.mask.reshape(-1, 1, *grid).to(images.dtype)
    removed = F.interpolate(removed, images.shape[2:], mode='nearest')
    channels = [images * (1 - removed), removed]
    return torch.cat(channels if extra is None else [*channels, extra], dim=1)
