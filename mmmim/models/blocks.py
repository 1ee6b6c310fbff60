"""Transformer blocks: timm's, with the initialisation of MAE and the attention backend chosen by measurement."""
from functools import partial
from typing import Sequence, Tuple, Union

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

LayerNorm = partial(nn.LayerNorm, eps=1e-6)


def build_blocks(embed_dim: int, depth: int, num_heads: int, mlp_ratio: float = 4.0,
                 drop_path_rates: Union[float, Sequence[float]] = 0.0, compiled: bool = False) -> nn.ModuleList:
    """``depth`` pre-norm blocks of timm; ``compiled`` compiles each in place, which keeps the parameter names.

    Raises:
        ValueError: The heads do not divide the width, or the depth is below 1.
    """
    if depth < 1 or embed_dim % num_heads:
        raise ValueError(f'{depth} blocks of width {embed_dim} with {num_heads} heads: the depth must be at least 1 '
                         'and the heads must divide the width')
    if isinstance(drop_path_rates, (int, float)):
        drop_path_rates = [float(drop_path_rates)] * depth
    blocks = nn.ModuleList(
        Block(embed_dim, num_heads, mlp_ratio, qkv_bias=True, norm_layer=LayerNorm, drop_path=rate)
        for rate in drop_path_rates)
    if compiled:
        for block in blocks:
            block.compile()
    return blocks


def init_weights(module: nn.Module) -> None:
    """MAE's initialisation of linear layers (Xavier uniform, zero bias) and layer norms; for ``Module.apply``."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def layer_depth(param_name: str, prefix: str, num_blocks: int) -> Tuple[int, int]:
    """The layer of a ViT that a parameter belongs to, for layer-wise learning rates (BEiT, MAE).

    Args:
        param_name: The parameter's name in the whole model.
        prefix: Where the ViT is in the model, such as ``'backbone.'``.
        num_blocks: Blocks of the ViT.

    Returns:
        ``(layer, number of layers)``: tokens, positions and patch projection are layer 0, block i is layer i + 1, and
        everything after the blocks is the last one, ``num_blocks + 1``.
    """
    last = num_blocks + 1
    if not param_name.startswith(prefix):
        return last, last + 1
    first, _, rest = param_name[len(prefix):].partition('.')
    if first in ('cls_token', 'mask_token', 'pos_embed', 'patch_embed'):
        return 0, last + 1
    return (int(rest.partition('.')[0]) + 1 if first == 'blocks' else last), last + 1


def prefers_fused_attention(device_type: str, dtype: torch.dtype) -> bool:
    """Whether fused attention is the faster one for training.

    On a GPU it is. On the CPU its backward pass loses to plain matrix products in bf16 and fp16 at the lengths of
    masked images, and wins in fp32 (``tools/analysis/benchmark_train.py`` measures it).
    """
    return device_type != 'cpu' or dtype not in (torch.bfloat16, torch.float16)


def run_blocks(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    """``[B, T, D]`` through the blocks, with the attention backend for the type that is really computed in."""
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    fused = prefers_fused_attention(kind, dtype)
    for block in blocks:
        block.attn.fused_attn = fused
        x = block(x)
    return x
