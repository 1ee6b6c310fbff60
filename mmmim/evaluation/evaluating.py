"""A model that is only looked at."""

from contextlib import contextmanager, nullcontext
from typing import ContextManager, Iterator, Optional, Union

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn


@contextmanager
def evaluating(model: nn.Module, optim_wrapper: Union[OptimWrapper, OptimWrapperDict, None] = None) -> Iterator[None]:
    """Evaluation mode without gradients, in the precision of training; afterwards every module is as it was.

    Args:
        model: Not wrapped.
        optim_wrapper: Gives the precision; float32 without it.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), _precision(model, optim_wrapper):
            yield
    finally:
        for module, training in modes:  # not model.train(): some parts are never in training mode
            module.training = training


def _precision(model: nn.Module, optim_wrapper: Optional[object]) -> ContextManager:
    if isinstance(optim_wrapper, OptimWrapperDict):  # has no context of its own
        optim_wrapper = next(iter(optim_wrapper.values()))
    return nullcontext() if optim_wrapper is None else optim_wrapper.optim_context(model)
