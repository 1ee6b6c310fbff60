"""Automatic mixed precision on CPU and GPU."""

from contextlib import contextmanager
from typing import Iterator, Optional

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from ...registry import OPTIM_WRAPPERS

_DTYPES = dict(float32=torch.float32, bfloat16=torch.bfloat16, float16=torch.float16)


def has_fast_bf16(device: str) -> bool:
    """Whether matrix products are faster in bf16 than in float32 on this device."""
    if device == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == 'cpu':
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Runs the forward pass under autocast; MMEngine's own wrapper asserts an accelerator and scales bf16's losses.

    Args:
        dtype: ``'auto'`` (bf16 where the hardware has it, else float32), ``'bfloat16'``, ``'float16'`` (with a
            gradient scaler) or ``'float32'``.
    """

    def __init__(self, dtype: str = 'auto', **kwargs) -> None:
        super().__init__(**kwargs)
        self.device_type = get_device().split(':')[0]
        if dtype == 'auto':
            dtype = 'bfloat16' if has_fast_bf16(self.device_type) else 'float32'
        if dtype not in _DTYPES:
            raise ValueError(f"optim_wrapper.dtype='{dtype}' is not known; use auto, {', '.join(_DTYPES)}")
        self.dtype = _DTYPES[dtype]
        self.scaler: Optional[torch.amp.GradScaler] = None
        if self.dtype == torch.float16:
            self.scaler = torch.amp.GradScaler(self.device_type)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast, and no gradient synchronisation while gradients are only accumulated."""
        with (
            super().optim_context(model),
            torch.autocast(self.device_type, self.dtype, enabled=self.dtype != torch.float32),
        ):
            yield

    def backward(self, loss: Tensor, **kwargs) -> None:
        super().backward(loss if self.scaler is None else self.scaler.scale(loss), **kwargs)

    def step(self, **kwargs) -> None:
        if self.scaler is None:
            super().step(**kwargs)
            return
        if self.clip_grad_kwargs:
            self.scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.scaler.step(self.optimizer, **kwargs)
        self.scaler.update()

    def _clip_grad(self) -> None:
        # MMEngine's reads the norm from the device at every step; the log needs it less often
        params = [p for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]
        if params:
            self.clip_func(params, **self.clip_grad_kwargs)

    def state_dict(self) -> dict:
        state = super().state_dict()
        if self.scaler is not None:
            state['loss_scaler'] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        state_dict = dict(state_dict)
        scaler = state_dict.pop('loss_scaler', None)
        if scaler is not None and self.scaler is not None:
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)
