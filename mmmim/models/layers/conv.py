"""Convolutions: with Xavier initialisation, and over the visible cells of a masked grid (ConvMAE)."""

from typing import Iterator, List, Optional, Sequence, Tuple

import torch
from timm.layers import DropPath, Mlp
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ..patches import gather_patches
from .blocks import run_block


@MODELS.register_module()
class XavierConv2d(nn.Conv2d):
    """``Conv2d`` with Xavier's uniform initialisation (Glorot and Bengio, 2010), as ``conv_cfg`` of mmcv's modules.

    ``init_cfg=dict(type='Xavier', layer='Conv2d')`` on a decode head reaches only some of its layers: mmcv's
    ``ConvModule`` initialises its convolution again, Kaiming's way, unless that has an ``init_weights`` of its own.
    """

    def init_weights(self) -> None:
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class ConvTokenizer(nn.Module):
    """Two stages of convolutional blocks and the projection to tokens; each starts with a strided convolution.

    A layer norm, GELU and a linear layer follow the projection, as in ConvMAE's code (``patch_embed3`` and
    ``patch_embed4`` of its models_convmae.py).

    Args:
        in_chans: Image channels.
        embed_dims: Widths of the stages and of the tokens.
        depths: Blocks of the stages.
        mlp_ratios: Hidden widths of the stages' MLPs over their width.
        strides: Strides of the three convolutions; their product is the patch size.
        drop_path_rates: Stochastic depth, a rate for each block.
        lean: Nothing follows the projection, and the layer norms have an eps of 1e-6 in the place of PyTorch's 1e-5,
            which ConvMAE's convolutional stages have.
    """

    def __init__(
        self,
        in_chans: int,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        mlp_ratios: Sequence[float],
        strides: Sequence[int],
        drop_path_rates: Sequence[float],
        lean: bool = False,
    ) -> None:
        super().__init__()
        rates = iter(drop_path_rates)
        widths = (in_chans, *embed_dims)
        eps = 1e-6 if lean else 1e-5
        self.stages = nn.ModuleList(
            ConvStage(widths[i], widths[i + 1], strides[i], depths[i], mlp_ratios[i], rates, eps) for i in range(2)
        )
        self.embed = nn.Conv2d(widths[2], widths[3], strides[2], strides[2])
        self.norm = nn.Identity() if lean else nn.LayerNorm(widths[3], eps)
        self.linear = nn.Identity() if lean else nn.Linear(widths[3], widths[3])
        self.lean = lean
        self.patch_size = strides[0] * strides[1] * strides[2]

    def forward(self, images: Tensor, ids: Optional[Tensor], grid: Tuple[int, int]) -> Tuple[Tensor, List[Tensor]]:
        """Tokens of the visible patches, and the stages' features.

        Args:
            images: ``[B, C, H, W]``.
            ids: ``[B, T]`` indices of the visible patches; None for all, in image order.
            grid: (h, w) patches.

        Returns:
            ``[B, T, D]`` and, for each stage, ``[B, T, S, S, width]``.
        """
        patches = gather_patches(images, self.patch_size, ids)  # [B, T, C*P*P]
        x = patches.unflatten(2, (-1, self.patch_size, self.patch_size)).permute(0, 1, 3, 4, 2)
        if ids is None:
            ids = torch.arange(x.shape[1], device=x.device).expand(x.shape[:2])
        features = []
        for stage in self.stages:
            x = stage(x, ids, grid)
            features.append(x)
        x = project_windows(x, self.embed)[:, :, 0, 0]
        return x if self.lean else self.linear(F.gelu(self.norm(x))), features


class ConvStage(nn.Module):
    """A strided convolution, with layer norm and GELU after it, and convolutional blocks."""

    def __init__(
        self,
        in_chans: int,
        dim: int,
        stride: int,
        depth: int,
        mlp_ratio: float,
        drop_path_rates: Iterator[float],
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(in_chans, dim, stride, stride)
        self.norm = nn.LayerNorm(dim, eps)
        self.blocks = nn.ModuleList(ConvBlock(dim, mlp_ratio, next(drop_path_rates), eps) for _ in range(depth))

    def forward(self, x: Tensor, ids: Tensor, grid: Tuple[int, int]) -> Tensor:
        """``[B, T, S * stride, S * stride, C] -> [B, T, S, S, width]``, for the cells ``ids [B, T]`` of the grid."""
        x = F.gelu(self.norm(project_windows(x, self.embed)))
        side = x.shape[2]
        places = cell_positions(ids, grid, side)
        for block in self.blocks:
            x = run_block(block, x, places, (grid[0] * side, grid[1] * side))
        return x


class ConvBlock(nn.Module):
    """A pre-norm residual block with a 5x5 depth-wise convolution in place of attention (ConvMAE, Fig. 2).

    ``conv1``, ``conv2`` and the MLP are 1x1 convolutions; with the channels last that is a linear layer.
    """

    def __init__(self, dim: int, mlp_ratio: float = 4.0, drop_path: float = 0.0, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps)
        self.conv1 = nn.Linear(dim, dim)
        self.depthwise = nn.Conv2d(dim, dim, kernel_size=5, padding=2, groups=dim)
        self.conv2 = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, places: Tensor, size: Tuple[int, int]) -> Tensor:
        """``[B, T, S, S, C]`` to the same, for cells at :func:`cell_positions` of a map of ``size`` positions."""
        x = x + self.drop_path(self.conv2(convolve_cells(self.conv1(self.norm1(x)), self.depthwise, places, size)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


def cell_positions(ids: Tensor, grid: Tuple[int, int], side: int) -> Tensor:
    """Indices of the ``side x side`` positions of cells in a batch of maps, row by row over all maps.

    Args:
        ids: ``[B, T]`` cells.
        grid: (h, w) cells of a map.
        side: Positions down and across a cell.

    Returns:
        ``[B * T * side * side]``, each in ``range(B * h * w * side * side)``.
    """
    (h, w), inside = grid, torch.arange(side, device=ids.device)
    top, left = torch.div(ids, w, rounding_mode='floor') * side, ids % w * side
    rows = top[..., None, None] + inside[:, None]  # [B, T, S, 1]
    columns = left[..., None, None] + inside  # [B, T, 1, S]
    first = torch.arange(ids.shape[0], device=ids.device)[:, None, None, None] * (h * w * side * side)
    return (first + rows * (w * side) + columns).flatten()


def convolve_cells(x: Tensor, conv: nn.Conv2d, places: Tensor, size: Tuple[int, int]) -> Tensor:
    """A convolution of stride 1 over the whole map, zero outside the cells, evaluated in the cells.

    Args:
        x: ``[B, T, S, S, C]``.
        conv: A convolution that keeps the size of a map.
        places: From :func:`cell_positions`.
        size: (H, W) of the map.
    """
    batch, channels = x.shape[0], x.shape[-1]
    if x.device.type == 'cpu':  # there, the gradient of a depth-wise weight takes three times as long in bf16
        x = x.to(conv.weight.dtype)
    canvas = x.new_zeros(batch * size[0] * size[1], channels).index_copy_(0, places, x.reshape(-1, channels))
    with torch.autocast('cpu', enabled=False):
        canvas = conv(canvas.view(batch, *size, channels).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return canvas.reshape(-1, channels).index_select(0, places).view_as(x)


def project_windows(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """A convolution whose stride is its kernel size, inside each cell: ``[B, T, S, S, C] -> [B, T, S/k, S/k, D]``."""
    kernel, windows = conv.kernel_size[0], x.shape[2] // conv.kernel_size[0]
    x = x.unflatten(3, (windows, kernel)).unflatten(2, (windows, kernel))  # [B, T, S/k, k, S/k, k, C]
    x = x.permute(0, 1, 2, 4, 3, 5, 6).flatten(4)
    # the channels are last in x: the weight is permuted to their order, as it is much smaller
    return F.linear(x, conv.weight.permute(0, 2, 3, 1).flatten(1), conv.bias)
