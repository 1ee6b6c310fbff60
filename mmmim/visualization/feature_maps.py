"""Feature maps of an encoder: principal components of its patch features, and attention of its class token."""

from contextlib import contextmanager
from typing import Any, Dict, Iterator, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..evaluation.features import evaluating
from .images import to_tile
from .panel import Panel
from .reconstruction import short_name

BATCH = 8  # batch size of the encoder


class Features(NamedTuple):
    """Features of one block, for N images of h x w patches."""

    patches: Tensor  # [N, h, w, D] float32
    attention: Optional[Tensor]  # [N, heads, h, w], of the class token on the patches; None without a class token


def block_features(backbone: nn.Module, images: Tensor, block: int = -1) -> Features:
    """Run normalised images ``[N, C, H, W]`` through an encoder and return the features of one block.

    Args:
        backbone: An encoder with ``blocks`` like timm's (or any other, for the last block; then without attention),
            ``grid_size`` and ``num_prefix_tokens``.
        images: On the backbone's device.
        block: Counted from 0; negative ones from the end. Features pass the final norm, as the last block's do.

    Raises:
        ValueError: There is no such block.
    """
    blocks = getattr(backbone, 'blocks', None)
    if not (blocks is not None and -len(blocks) <= block < len(blocks)) and block != -1:
        count = 'no list of blocks' if blocks is None else f'{len(blocks)} blocks: give 0 to {len(blocks) - 1}'
        raise ValueError(f'block={block}: the encoder has {count}')
    chosen = None if blocks is None else blocks[block]
    patches, attention = [], []
    with evaluating(backbone), _captured(chosen) as seen:
        for batch in images.split(BATCH):
            tokens = backbone(batch)
            if chosen is not None:
                tokens = getattr(backbone, 'norm', nn.Identity())(seen['tokens'])
            patches.append(tokens[:, backbone.num_prefix_tokens :].float().cpu())
            if 'attended' in seen and getattr(backbone, 'cls_token', None) is not None:
                row = class_attention(chosen.attn, seen['attended'], backbone.num_prefix_tokens)
                attention.append(row.float().cpu())
    grid = backbone.grid_size
    return Features(
        torch.cat(patches).unflatten(1, grid), torch.cat(attention).unflatten(2, grid) if attention else None
    )


@contextmanager
def _captured(block: Optional[nn.Module]) -> Iterator[Dict[str, Tensor]]:
    """Captures the block's output (``tokens``) and its attention's input (``attended``) of each forward pass."""
    seen: Dict[str, Tensor] = {}
    hooks = []
    if block is not None:
        hooks.append(block.register_forward_hook(lambda _, __, output: seen.update(tokens=output)))
    if hasattr(getattr(block, 'attn', None), 'qkv'):
        hooks.append(block.attn.register_forward_pre_hook(lambda _, inputs: seen.update(attended=inputs[0])))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def class_attention(attn: nn.Module, x: Tensor, num_prefix_tokens: int) -> Tensor:
    """Attention of the first token on the patches, from the parameters of timm's ``Attention``.

    Fused kernels do not return it, so that row is computed again.

    Args:
        attn: The module.
        x: Its input ``[B, T, D]``.
        num_prefix_tokens: Leading tokens that are not patches; they take part in the softmax.

    Returns:
        ``[B, heads, L]``.
    """
    qkv = attn.qkv(x).unflatten(2, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)  # [3, B, heads, T, d]
    query, key = attn.q_norm(qkv[0][:, :, :1]), attn.k_norm(qkv[1])
    scores = (query.float() * attn.scale) @ key.float().transpose(2, 3)  # [B, heads, 1, T]
    return scores.softmax(dim=-1)[:, :, 0, num_prefix_tokens:]


def principal_colours(patches: Tensor) -> Tensor:
    """The first three principal components of patch features as colours.

    Signs are fixed (the largest loading is positive), and each component is scaled from its 1st to its 99th percentile,
    so that pictures are reproducible.

    Args:
        patches: ``[N, h, w, D]``; the components are fitted over all of them.

    Returns:
        ``[N, h, w, 3]`` in [0, 1].
    """
    x = patches.flatten(0, 2).double()
    x = x - x.mean(dim=0)
    _, vectors = torch.linalg.eigh(x.T @ x)  # ascending
    basis = vectors.flip(1)[:, :3]
    basis = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
    values = x @ basis  # [N * h * w, 3]
    low, high = (torch.from_numpy(np.quantile(values.numpy(), share, axis=0)) for share in (0.01, 0.99))
    colours = ((values - low) / (high - low).clamp(min=1e-12)).clamp(0, 1).float()
    return F.pad(colours, (0, 3 - colours.shape[1])).unflatten(0, patches.shape[:3])


def feature_panel(
    backbone: nn.Module,
    preprocessor: nn.Module,
    batch: dict,
    block: int = -1,
    each: bool = False,
    heads: bool = False,
    notes: Optional[Dict[str, Any]] = None,
) -> Panel:
    """A row for each image: the image, its features' principal components, and the class token's attention.

    Args:
        backbone, preprocessor: From :func:`~mmmim.apis.from_checkpoint.load_backbone`.
        batch: ``inputs`` uint8 ``[N, C, H, W]`` and ``data_samples``.
        block: See :func:`block_features`.
        each: Fit the components to each image separately; colours of two images are then not comparable.
        heads: Also the attention of each head.
        notes: Further notes of the panel.
    """
    inputs = preprocessor(batch, False)['inputs']
    features = block_features(backbone, inputs, block)
    maps = features.patches
    colours = torch.cat([principal_colours(image) for image in maps.split(1)]) if each else principal_colours(maps)
    last = len(getattr(backbone, 'blocks', [])) - 1
    place = '' if block in (-1, last) else f', block {block}'
    columns = ['original', f'principal components of patch features{place}']
    if features.attention is not None:
        columns.append(f'attention of the class token{place} (mean of {features.attention.shape[1]} heads)')
        columns += [f'head {head}' for head in range(features.attention.shape[1]) if heads]
    rows = []
    for i, image in enumerate(inputs):
        tile = to_tile(image, preprocessor)
        row = [tile, _enlarge(colours[i], tile.shape[:2], 'nearest')]
        if features.attention is not None:
            shown = [features.attention[i].mean(0), *(features.attention[i] if heads else [])]
            row += [overlay(tile, attention) for attention in shown]
        rows.append(row)
    paths = [str(sample.get('img_path', '')) for sample in batch['data_samples']]
    return Panel(rows, columns, [short_name(path) for path in paths], dict(images=paths, block=block, **(notes or {})))


def overlay(tile: np.ndarray, attention: Tensor) -> np.ndarray:
    """A map ``[h, w]`` in colours over the grey image ``[H, W, 3]``; each map is scaled from 0 to its maximum."""
    from matplotlib import colormaps

    heat = attention / attention.quantile(0.99).clamp(min=1e-12)
    heat = _enlarge(heat.clamp(0, 1)[..., None], tile.shape[:2], 'bilinear')[..., 0]
    colours = colormaps['inferno'](heat, bytes=True)[..., :3].astype(np.float32)
    grey = tile.mean(axis=2, keepdims=True)
    return (0.65 * colours + 0.35 * grey).round().astype(np.uint8)


def _enlarge(values: Tensor, size: Tuple[int, int], mode: str) -> np.ndarray:
    """``[h, w, C]`` in [0, 1] to ``[H, W, C]`` uint8."""
    options: Dict[str, Any] = {} if mode == 'nearest' else dict(align_corners=False)
    large = F.interpolate(values.permute(2, 0, 1)[None], size=size, mode=mode, **options)[0]
    return (large * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
