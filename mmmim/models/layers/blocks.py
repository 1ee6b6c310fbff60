"""Transformer blocks: timm's, with MAE's initialisation, an MLP that keeps fewer activations for the backward pass, and
the attention backend chosen by measurement."""

import os
import shutil
import sys
from functools import partial
from typing import Any, Callable, Iterable, Optional, Sequence, Tuple, Union

import torch
from timm.layers import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import _has_any_global_hook
from torch.utils.checkpoint import checkpoint

LayerNorm = partial(nn.LayerNorm, eps=1e-6)
# From this width on GELU is recomputed in the backward pass, which takes 2 to 3% of a step on a CPU. Narrower models
# have little memory to save.
RECOMPUTED_FROM = 384


class _LinearOfGELU(torch.autograd.Function):
    """``linear(gelu(x), weight, bias)``, which keeps ``x`` and recomputes ``gelu(x)`` in the backward pass."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.linear(F.gelu(x), weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: Tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Optional[Tensor], ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        rows = grad.reshape(-1, grad.shape[-1])
        return (
            torch.ops.aten.gelu_backward(grad @ weight, x) if of_x else None,
            rows.t() @ F.gelu(x).reshape(-1, x.shape[-1]) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )


def compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype of matrix products with ``x``: autocast's if it is enabled, else that of ``x``."""
    kind = x.device.type
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)  # not for the device 'meta'
    return torch.get_autocast_dtype(kind) if on else x.dtype


class LeanMlp(Mlp):
    """timm's MLP, which keeps its hidden activations once instead of twice for the backward pass.

    That is a sixth of the activations of a pre-training step of ViT-B. It is computed as in timm if a layer was
    replaced or has hooks, and in compiled or traced code, where the compiler decides what to keep.
    """

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        if not torch.jit.is_scripting():
            if self._keeps_less(x):
                return self._activate_and_project(x)
        return self.drop2(self.fc2(self.norm(self.drop1(self.act(x)))))

    @torch.jit.unused
    def _keeps_less(self, x: Tensor) -> bool:
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or not (torch.is_grad_enabled() and x.requires_grad):
            return False
        if type(self.fc2) is not nn.Linear or self.fc2.bias is None or type(self.act) is not nn.GELU:
            return False
        steps = self.act, self.drop1, self.norm, self.fc2, self.drop2
        return (
            x.dtype == compute_dtype(self.fc2.weight)
            and self.act.approximate == 'none'
            and type(self.norm) is nn.Identity
            and self.drop1.p == self.drop2.p == 0
            and not _has_any_global_hook()
            and not any(
                step._forward_pre_hooks or step._forward_hooks or step._backward_pre_hooks or step._backward_hooks
                for step in steps
            )
        )

    @torch.jit.unused
    def _activate_and_project(self, x: Tensor) -> Tensor:
        weight, bias = self.fc2.weight, self.fc2.bias
        assert bias is not None  # see _keeps_less
        return _LinearOfGELU.apply(x, weight.to(x.dtype), bias.to(x.dtype))


class TailBlock(Block):
    """timm's block, which can drop the first tokens if nothing needs them any more."""

    # no attention masks: timm has them in the place of `first`
    def forward(self, x: Tensor, first: int = 0) -> Tensor:  # type: ignore[override]
        """``[B, T, D] -> [B, T - first, D]``: attention sees all tokens, and the MLP not the first ones."""
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x))))
        if first:
            x = x[:, first:]
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))


def build_blocks(
    embed_dim: int,
    depth: int,
    num_heads: int,
    mlp_ratio: float = 4.0,
    drop_path_rates: Union[float, Sequence[float]] = 0.0,
    compiled: Union[bool, str] = False,
    activation_checkpointing: bool = False,
    drop_rate: float = 0.0,
) -> nn.ModuleList:
    """``depth`` pre-norm blocks of timm; ``compiled`` compiles each in place, see :func:`compile_blocks`, and
    ``activation_checkpointing`` recomputes each in the backward pass, see :func:`checkpoint_activations`.
    ``drop_rate`` is that of dropout after each linear layer but those of queries, keys and values.

    Raises:
        ValueError: The heads do not divide the width, or the depth is below 1.
    """
    if depth < 1 or embed_dim % num_heads:
        raise ValueError(
            f'{depth} blocks of width {embed_dim} with {num_heads} heads: the depth must be at least 1 '
            'and the heads must divide the width'
        )
    if isinstance(drop_path_rates, (int, float)):
        drop_path_rates = [float(drop_path_rates)] * depth
    mlp = LeanMlp if embed_dim >= RECOMPUTED_FROM else Mlp
    blocks = nn.ModuleList(
        TailBlock(
            embed_dim,
            num_heads,
            mlp_ratio,
            qkv_bias=True,
            norm_layer=LayerNorm,  # type: ignore[arg-type]  # timm's stub has a class, its code takes any callable
            drop_path=rate,
            proj_drop=drop_rate,
            mlp_layer=mlp,
        )
        for rate in drop_path_rates
    )
    if compiled:
        compile_blocks(blocks, 'inductor' if compiled is True else compiled)
    checkpoint_activations(blocks, activation_checkpointing)
    return blocks


def compile_blocks(blocks: nn.ModuleList, backend: str) -> None:
    """Compile each block in place by ``torch.compile``, which keeps the parameters' names.

    Args:
        blocks: Modules.
        backend: Backend of ``torch.compile``. Inductor generates kernels, in C++ for a CPU; ``'aot_eager'`` only
            traces.

    Raises:
        RuntimeError: Inductor finds no C++ compiler.
    """
    compiler = os.environ.get('CXX') or ('clang++' if sys.platform == 'darwin' else 'g++')
    if backend == 'inductor' and not torch.cuda.is_available() and shutil.which(compiler) is None:
        raise RuntimeError(
            f'compiled=True needs a C++ compiler, and there is no {compiler}: install it, name another one by the '
            'environment variable CXX, or leave out `compiled`'
        )
    for block in blocks:
        block.compile(backend=backend)


def checkpoint_activations(blocks: Iterable[nn.Module], enabled: bool = True) -> None:
    """Let :func:`run_block` keep no activations of these blocks but their inputs, and compute the others once more in
    the backward pass. That takes about a third more time, and gradients stay the same, bit by bit."""
    for block in blocks:
        setattr(block, 'activation_checkpointing', enabled)


def init_weights(module: nn.Module) -> None:
    """MAE's initialisation of linear layers (Xavier uniform, zero bias) and layer norms; for ``Module.apply``."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


@torch.no_grad()
def cut_outliers(module: nn.Module) -> None:
    """Bring timm's initial weights back to 5 of their standard deviations of 0.02. timm cuts its normal distribution
    off at +-2, 100 deviations away, and puts a few weights of a network exactly there."""
    for name, value in module.named_parameters():
        if value.ndim == 2 and name.endswith(('.weight', 'relative_position_bias_table')):
            value.clamp_(-0.1, 0.1)


def layer_depth(param_name: str, prefix: str, num_blocks: int) -> Tuple[int, int]:
    """The layer of a ViT that a parameter belongs to, for layer-wise learning rate decay (BEiT, MAE).

    Args:
        param_name: The parameter's name in the whole model.
        prefix: Prefix of the ViT in the model, such as ``'backbone.'``.
        num_blocks: Blocks of the ViT.

    Returns:
        ``(layer, number of layers)``: tokens, positions and patch projection are layer 0, block i is layer i + 1, and
        everything after the blocks is the last one, ``num_blocks + 1``.
    """
    last = num_blocks + 1
    if not param_name.startswith(prefix):
        return last, last + 1
    first, _, rest = param_name[len(prefix) :].partition('.')
    if first in ('cls_token', 'reg_token', 'mask_token', 'pos_embed', 'patch_embed'):
        return 0, last + 1
    return (int(rest.partition('.')[0]) + 1 if first == 'blocks' else last), last + 1


def prefers_fused_attention(device_type: str, dtype: torch.dtype) -> bool:
    """Whether fused attention is faster for training.

    On a GPU it is. On the CPU its backward pass is slower than plain matrix products in bf16 and fp16 at the lengths of
    masked images, and faster in fp32 (``tools/benchmarks/benchmark_train.py`` measures it).
    """
    return device_type != 'cpu' or dtype not in (torch.bfloat16, torch.float16)


def choose_attention(block: nn.Module, fused: bool) -> None:
    """Set a block's attention to one fused kernel, or to plain matrix products."""
    setattr(block.attn, 'fused_attn', fused)  # which timm declares to be final


def run_block(block: nn.Module, *args: Any, call: Callable[..., Tensor] = nn.Module.__call__, **options: Any) -> Tensor:
    """``block(*args, **options)``, with activation checkpointing where :func:`checkpoint_activations` chose it.

    A compiled block is recomputed as a whole. Random numbers and autocast are as in the first pass. Any backward pass
    recomputes, also one of ``torch.autograd.grad`` and one through a graph that is kept (``use_reentrant=False``).

    Args:
        call: What is called with the block and its arguments, if something has to be set for the block each time.
    """
    if getattr(block, 'activation_checkpointing', False) and torch.is_grad_enabled():
        return checkpoint(call, block, *args, use_reentrant=False, **options)
    return call(block, *args, **options)


def _with_chosen_attention(block: nn.Module, x: Tensor, *args: Any, **options: Any) -> Tensor:
    choose_attention(block, prefers_fused_attention(x.device.type, compute_dtype(x)))
    return block(x, *args, **options)


def run_blocks(blocks: Union[nn.ModuleList, Sequence[nn.Module]], x: Tensor, first: int = 0, **options: Any) -> Tensor:
    """``[B, T, D]`` through the blocks, with the attention backend for the dtype of the computation.

    ``options`` are further arguments of each block.

    Returns:
        The tokens from ``first`` on, ``[B, T - first, D]``; the last block computes no others.
    """
    last = len(blocks) - 1
    for i, block in enumerate(blocks):
        args = (x, first) if first and i == last else (x,)
        x = run_block(block, *args, call=_with_chosen_attention, **options)
    return x
