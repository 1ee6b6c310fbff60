"""Gradient synchronisation for methods whose step has several phases."""

import inspect
from typing import Any, Dict, Optional

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class MIMDistributedDataParallel(DistributedDataParallel):
    """Calls the algorithm's ``train_step``, and passes itself to it for the forward passes.

    MMEngine's wrapper runs one forward pass of its own and so bypasses the algorithm's ``train_step``; its separate
    wrapper needs disjoint sub-modules, which a shared encoder is not. Here every phase calls
    ``model(**data, mode=...)``, and each backward pass synchronises the gradients of that phase. A model of another
    toolbox, whose step has one phase and takes no wrapper, is trained as in MMEngine.

    Args:
        module: The algorithm.
        device_ids: As MMEngine passes them; ignored on the CPU (gloo).
        find_unused_parameters: Needed as soon as one phase leaves parameters out.
    """

    def __init__(
        self,
        module: nn.Module,
        device_ids: Optional[list] = None,
        broadcast_buffers: bool = False,
        find_unused_parameters: bool = False,
        **kwargs,
    ) -> None:
        on_cpu = next(module.parameters()).device.type == 'cpu'
        super().__init__(
            module,
            device_ids=None if on_cpu else device_ids,
            broadcast_buffers=broadcast_buffers,
            find_unused_parameters=find_unused_parameters,
            **kwargs,
        )

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> Dict[str, Tensor]:
        if 'model' in inspect.signature(self.module.train_step).parameters:
            return self.module.train_step(data, optim_wrapper, model=self)
        with optim_wrapper.optim_context(self):
            losses = self(**self.module.data_preprocessor(data, True), mode='loss')
        loss, log_vars = self.module.parse_losses(losses)
        optim_wrapper.update_params(loss)
        return log_vars

    @torch.no_grad()
    def val_step(self, data: Any) -> list:
        return self.module.val_step(data)

    @torch.no_grad()
    def test_step(self, data: Any) -> list:
        return self.module.test_step(data)
