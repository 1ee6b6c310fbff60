"""Drawing heads of CrossMAE: tokens and noise to pixels, plain or as a U-Net."""

from typing import List, Optional, Tuple, Union

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from ...positions import sincos_positions
from ...registry import MODELS
from ...structures import DataSample
from ..build import check_choice
from ..layers.blocks import LayerNorm, build_blocks, init_weights, run_blocks
from ..masking import PatchMask, take
from ..noise import draw_normal
from ..patches import Size, gather_patches, grid_size, patchify, to_2tuple

NOISE = ('mapped', 'concat', 'none')


class NoiseMapping(nn.Sequential):
    """f: z to w, ``[B, D] -> [B, D]``, three linear layers (section 3.1), with StyleGAN's leaky ReLU between them."""

    def __init__(self, dim: int) -> None:
        super().__init__(
            nn.Linear(dim, dim), nn.LeakyReLU(0.2), nn.Linear(dim, dim), nn.LeakyReLU(0.2), nn.Linear(dim, dim)
        )


class NoisyHead(BaseModule):
    """A drawing head's noise: what is drawn for an image, and which vector goes where.

    Args:
        noise, noise_tokens: See :class:`DrawingHead`.
        noise_shape: Of one image.

    Attributes:
        noise_shape: None without noise.
        mapping: f, for mapped noise.
    """

    mapping: Optional[NoiseMapping]

    def __init__(
        self, noise: str, noise_tokens: str, noise_shape: Tuple[int, ...], init_cfg: Optional[dict] = None
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        check_choice('noise', noise, NOISE)
        check_choice('noise_tokens', noise_tokens, ('z_then_w', 'w_all'))
        self.noise, self.noise_tokens = noise, noise_tokens
        self.noise_shape = None if noise == 'none' else noise_shape

    def draw_noise(
        self, images: Tensor, data_samples: Optional[List[DataSample]] = None, draws: int = 1
    ) -> List[Optional[Tensor]]:
        """z ~ N(0, I) from the samples' seeds: ``draws`` times ``[B, *noise_shape]``; one None without noise."""
        if self.noise_shape is None:
            return [None]
        return list(draw_normal(images, data_samples, self.noise_shape, draws))

    def noise_vectors(self, z: Optional[Tensor], count: int) -> List[Tensor]:
        """The vectors ``[B, D]`` that ``count`` layers get, of mapped noise."""
        assert self.mapping is not None
        z = given(z)
        w = self.mapping(z)
        return [z if i == 0 and self.noise_tokens == 'z_then_w' else w for i in range(count)]


@MODELS.register_module()
class DrawingHead(NoisyHead):
    """E_draw: completes a masked image, given noise. Patch embedding, a few transformer blocks, a linear layer.

    The paper gives no width. Its costs for 2, 4, 6 and 8 blocks (Table 13: 1, 1.8, 2.6 and 3.5) are those of a width
    of 256, the default, where all patches are embedded. It names no norm before the last layer: ``final_norm`` adds
    one.

    Args:
        img_size, patch_size, in_chans: Of the image and of the masked patches (filled in by the algorithm from the
            backbone; a Swin's last map is coarser than the usual 16 pixels: state the patch size then).
        embed_dim: Width, also of z and w.
        depth: Transformer blocks (Table 13: 2, 4, 6, 8).
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the blocks' MLPs over ``embed_dim``.
        noise: ``'mapped'``: the vectors z and w = f(z) are extra tokens of the blocks. ``'concat'``: z is concatenated
            with the input and not mapped (Table 8, "Concatenation"). ``'none'``.
        noise_tokens: Extra token of each block, for mapped noise: ``'z_then_w'``: z for the first, w for the second
            ("respectively") and, in deeper heads, for all others; ``'w_all'``: w for every block.
        concat: How noise is concatenated: ``'channel'``, an image of noise as one more channel of the masked image; or
            ``'token'``, a vector as one more token of the input.
        final_norm: Layer norm before the last layer.
        compiled: Compile the blocks in place; a string names another backend of ``torch.compile`` than Inductor.
        activation_checkpointing: As in :class:`.MaskedViT`.

    Attributes:
        patch_size, grid_size: Of the masked patches.
        noise_shape: Shape of the noise for one image; None for none.

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
        activation_checkpointing: bool = False,
        init_cfg: Optional[dict] = None,
    ) -> None:
        check_choice('concat', concat, ('channel', 'token'))
        with_channel = noise == 'concat' and concat == 'channel'
        super().__init__(noise, noise_tokens, (1, *to_2tuple(img_size)) if with_channel else (embed_dim,), init_cfg)
        self.patch_size, self.grid_size, self.concat = to_2tuple(patch_size), grid_size(img_size, patch_size), concat
        area = self.patch_size[0] * self.patch_size[1]

        self.patch_embed = nn.Linear(area * in_chans, embed_dim)
        self.noise_embed = nn.Linear(area, embed_dim, bias=False) if with_channel else None
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(sincos_positions(embed_dim, self.grid_size, 0), requires_grad=False)
        self.mapping = NoiseMapping(embed_dim) if noise == 'mapped' else None
        self.blocks = build_blocks(embed_dim, depth, num_heads, mlp_ratio, 0.0, compiled, activation_checkpointing)
        self.norm = LayerNorm(embed_dim) if final_norm else nn.Identity()
        self.pred = nn.Linear(embed_dim, area * in_chans)
        self.apply(init_weights)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, images: Tensor, mask: PatchMask, z: Optional[Tensor] = None) -> Tensor:
        """Draw every patch.

        Args:
            images: ``[B, C, H, W]``; removed patches are not used.
            mask: Which patches are removed.
            z: Noise ``[B, *noise_shape]``; None where there is none.

        Returns:
            ``[B, L, P*P*C]``, pixels in the order of :func:`~mmmim.models.patches.patchify`.
        """
        x = self._embed(images, mask, z)
        if self.noise == 'concat' and self.concat == 'token':
            x = run_blocks(self.blocks, torch.cat([given(z).to(x.dtype)[:, None], x], dim=1))[:, 1:]
        elif self.noise == 'mapped':
            for block, token in zip(self.blocks, self.noise_vectors(z, len(self.blocks))):
                x = run_blocks((block,), torch.cat([token.to(x.dtype)[:, None], x], dim=1))[:, 1:]
        else:
            x = run_blocks(self.blocks, x)
        return self.pred(self.norm(x))

    def _embed(self, images: Tensor, mask: PatchMask, z: Optional[Tensor]) -> Tensor:
        """Visible patches and mask tokens in image order, with position embeddings: ``[B, L, D]``."""
        x = self.patch_embed(gather_patches(images, self.patch_size, mask.ids_keep))
        missing = mask.ids_restore.shape[1] - x.shape[1]
        x = torch.cat([x, self.mask_token.to(x.dtype).expand(x.shape[0], missing, -1)], dim=1)
        x = take(x, mask.ids_restore) + self.pos_embed
        if self.noise_embed is not None:  # an additional channel is a separate term in a linear layer
            x = x + self.noise_embed(gather_patches(given(z), self.patch_size))
        return x


def given(z: Optional[Tensor]) -> Tensor:
    """Raises ValueError if the noise is missing that a head was built for."""
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


class _Convolutions(nn.Sequential):
    """Two 3 x 3 convolutions, each with a group norm (independent of other images) and a ReLU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        layers = []
        for width in (in_channels, channels):
            layers += [nn.Conv2d(width, channels, 3, padding=1, bias=False), nn.GroupNorm(1, channels), nn.ReLU()]
        super().__init__(*layers)


@MODELS.register_module()
class UNetDrawingHead(NoisyHead):
    """E_draw as a U-Net (Ronneberger et al., 2015): the masked image and its mask in, the whole image out.

    The paper states only its cost, 1.7 times the transformer's; at 224 px the default has 1.8 times. Noise enters the
    coarsest map: z before its first convolution, w before the second, each through a linear layer.

    Args:
        img_size, patch_size, in_chans: As in :class:`DrawingHead`.
        width: Channels of the finest map; they double from map to map.
        levels: Halvings; the image must be divisible by ``2**levels``.
        noise_dim: Length of z and w.
        noise, noise_tokens: As in :class:`DrawingHead`; concatenated noise is one more channel of the input.

    Attributes:
        patch_size, grid_size, noise_shape: As in :class:`DrawingHead`.

    Raises:
        ValueError: An unknown choice, or an image that cannot be halved so often.
    """

    def __init__(
        self,
        img_size: Size,
        patch_size: Size = 16,
        in_chans: int = 3,
        width: int = 9,
        levels: int = 4,
        noise_dim: int = 256,
        noise: str = 'mapped',
        noise_tokens: str = 'z_then_w',
        init_cfg: Optional[dict] = None,
    ) -> None:
        height_width = to_2tuple(img_size)
        super().__init__(noise, noise_tokens, (1, *height_width) if noise == 'concat' else (noise_dim,), init_cfg)
        if levels < 1 or any(side % 2**levels for side in height_width):
            raise ValueError(
                f'a U-Net of levels={levels} cannot halve an image of {height_width[0]}x{height_width[1]} '
                'pixels so often'
            )
        self.patch_size, self.grid_size = to_2tuple(patch_size), grid_size(img_size, patch_size)
        widths = [width * 2**level for level in range(levels + 1)]
        inputs = in_chans + 1 + (noise == 'concat')
        self.down = nn.ModuleList(_Convolutions(a, b) for a, b in zip([inputs, *widths], widths[:-1]))
        self.bottom = nn.ModuleList(
            [nn.Conv2d(widths[-2], widths[-1], 3, padding=1), nn.Conv2d(widths[-1], widths[-1], 3, padding=1)]
        )
        self.mapping = NoiseMapping(noise_dim) if noise == 'mapped' else None
        self.noise_embed = (
            nn.ModuleList(nn.Linear(noise_dim, channels) for channels in widths[-2:]) if noise == 'mapped' else None
        )
        self.shrink = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[:-1])
        self.up = nn.ModuleList(_Convolutions(2 * w, w) for w in widths[:-1])
        self.pred = nn.Conv2d(width, in_chans, 1)

    def forward(self, images: Tensor, mask: PatchMask, z: Optional[Tensor] = None) -> Tensor:
        """``[B, C, H, W]`` and noise ``[B, *noise_shape]`` to pixels ``[B, L, P*P*C]``, as :class:`DrawingHead`."""
        x = masked_input(images, mask, self.grid_size, given(z) if self.noise == 'concat' else None)
        finer = []
        for convolutions in self.down:
            finer.append(convolutions(x))
            x = F.max_pool2d(finer[-1], 2)
        x = self._bottom(x, z)
        for shrink, convolutions, skip in zip(self.shrink[::-1], self.up[::-1], finer[::-1]):
            x = convolutions(torch.cat([skip, shrink(x)], dim=1))
        return patchify(self.pred(x), self.patch_size)

    def _bottom(self, x: Tensor, z: Optional[Tensor]) -> Tensor:
        vectors: List[Optional[Tensor]] = [None, None]
        if self.noise_embed is not None:
            noise = zip(self.noise_embed, self.noise_vectors(z, 2))
            vectors = [embed(vector)[:, :, None, None] for embed, vector in noise]
        for convolution, vector in zip(self.bottom, vectors):
            x = F.relu(convolution(x if vector is None else x + vector.to(x.dtype)))
        return x
