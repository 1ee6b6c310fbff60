"""Gradient synchronisation for methods whose step has several phases."""

from typing import Any, Dict, Optional, Sequence

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..models.algorithms.step import mean_log
from ..registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class MIMDistributedDataParallel(DistributedDataParallel):
    """Calls the algorithm's ``train_steps``, and passes itself to it for the forward passes.

    MMEngine's wrapper runs one forward pass of its own and so bypasses the algorithm's step; its separate wrapper needs
    disjoint sub-modules, which a shared encoder is not. Here every phase calls ``model(**data, mode=...)``, and its
    last backward pass synchronises its gradients. A model of another toolbox, whose step has one phase and takes no
    wrapper, is trained as in MMEngine.

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

    def train_steps(self, batches: Sequence[Any], optim_wrapper: OptimWrapper) -> Dict[str, Tensor]:
        """One optimizer step on all of its batches."""
        if hasattr(self.module, 'train_steps'):
            return self.module.train_steps(batches, optim_wrapper, model=self)
        return mean_log([self.train_step(data, optim_wrapper) for data in batches])

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> Dict[str, Tensor]:
        if hasattr(self.module, 'train_steps'):
            return self.train_steps([data], optim_wrapper)
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
