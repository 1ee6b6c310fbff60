"""LARS as linear probing of MoCo v3 and MAE uses it."""

from typing import Any, Callable, Iterable, Optional

import torch
from torch.optim.optimizer import Optimizer

from ...registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class LARS(Optimizer):
    """SGD with momentum whose gradients are scaled to the size of the weights (You et al. 2017).

    Parameters of one dimension, biases and norms, are neither scaled nor decayed, as in the original linear probes.
    mmpretrain's LARS does both to them, multiplies the learning rate into the momentum (which then lags behind the
    schedule), and waits for the device twice per parameter: hence this one.

    ``g = grad + weight_decay * w;  g *= trust_coefficient * |w| / |g|;  m = momentum * m + g;  w -= lr * m``

    Args:
        params: Parameters or groups.
        lr: Learning rate.
        momentum: Momentum.
        weight_decay: L2 penalty.
        trust_coefficient: Share of a weight's norm that its scaled gradient has.

    Raises:
        ValueError: A negative value.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
    ) -> None:
        defaults = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, trust_coefficient=trust_coefficient)
        for name, value in defaults.items():
            if value < 0:
                raise ValueError(f'LARS: {name}={value} must not be negative')
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Optional[Callable[[], Any]] = None) -> Any:
        """One step; nothing is read from the device."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group['params']:
                if param.grad is not None:
                    self._update(param, group)
        return loss

    def _update(self, param: torch.Tensor, group: dict) -> None:
        update = param.grad
        if param.ndim > 1:
            update = update.add(param, alpha=group['weight_decay'])
            size, wanted = update.norm(), group['trust_coefficient'] * param.norm()
            # a weight or a gradient of zeros has no norm to scale by
            update = update * torch.where((size > 0) & (wanted > 0), wanted / size, torch.ones_like(size))
        state = self.state[param]
        if 'momentum_buffer' not in state:
            state['momentum_buffer'] = torch.zeros_like(param)
        momentum = state['momentum_buffer'].mul_(group['momentum']).add_(update)
        param.sub_(group['lr'] * momentum)
