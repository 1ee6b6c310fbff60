"""Momentum encoders: exponential moving average (EMA) of another module's parameters (MoCo, BYOL)."""

from copy import deepcopy
from typing import List, Tuple, TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar('Module', bound=nn.Module)


def momentum_copy(module: Module) -> Module:
    """A copy without gradients."""
    return deepcopy(module).requires_grad_(False)


def momentum_pairs(target: nn.Module, online: nn.Module) -> List[Tuple[Tensor, Tensor]]:
    """Pairs of parameters of ``target`` and ``online`` with the same names.

    The target may have fewer: an encoder without its final norm, for instance.

    Raises:
        ValueError: The target has a parameter that the online module lacks, or one of another shape.
    """
    theirs = dict(online.named_parameters())
    wrong = [
        f'{name} {list(ours.shape)} against {list(theirs[name].shape) if name in theirs else "none"}'
        for name, ours in target.named_parameters()
        if name not in theirs or theirs[name].shape != ours.shape
    ]
    if wrong:
        raise ValueError(
            f'the target differs from the online module in {len(wrong)} parameters (target against '
            f'online): {", ".join(wrong[:5])}. A moving average needs equal shapes'
        )
    return [(ours, theirs[name]) for name, ours in target.named_parameters()]


@torch.no_grad()
def momentum_reset(target: nn.Module, online: nn.Module) -> None:
    """Copy the online module's parameters, fixed tables and buffers to the target."""
    for ours, theirs in momentum_pairs(target, online):
        ours.copy_(theirs)
    buffers = dict(online.named_buffers())
    for name, ours in target.named_buffers():
        ours.copy_(buffers[name])


@torch.no_grad()
def momentum_update(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """``target <- momentum * target + (1 - momentum) * online`` for every trained parameter, in place.

    Buffers are unchanged: a batch norm of the target has its own statistics. So are parameters that are not trained
    (fixed position tables), which rounding would change.
    """
    pairs = [(ours, theirs) for ours, theirs in momentum_pairs(target, online) if theirs.requires_grad]
    if pairs:
        ours, theirs = map(list, zip(*pairs))
        torch._foreach_mul_(ours, momentum)
        torch._foreach_add_(ours, theirs, alpha=1 - momentum)
