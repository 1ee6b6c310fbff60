"""Features of a momentum encoder."""

from typing import Optional, Tuple

import torch
from mmengine.model import BaseModule
from torch import Tensor

from ...registry import MODELS
from ..backbones.base import BaseEncoder
from ..layers.ema import momentum_copy, momentum_reset, momentum_update
from .base import BaseTarget


@MODELS.register_module()
class MomentumTarget(BaseTarget):
    """Patch tokens of the whole image by an exponential moving average of the encoder, ``[B, L, D]`` (BYOL, Grill et
    al., 2020; CrossMAE, section 4.5, "a moving average of the transformer encoder").

    It runs without gradient, in the precision of the run, and moves with each step of the optimizer. A checkpoint holds
    it.

    Args:
        ema_momentum: Share of the average that stays in a step: ``average <- m * average + (1 - m) * encoder``. BYOL's
            begins at 0.996 and rises to 1, which ``CosineMomentumHook`` does; CrossMAE gives no value.

    Raises:
        ValueError: A momentum outside [0, 1].
    """

    moves = True

    def __init__(self, ema_momentum: float = 0.996, init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        if not 0 <= ema_momentum <= 1:
            raise ValueError(f'ema_momentum={ema_momentum} must lie in [0, 1]')
        self.ema_momentum = ema_momentum
        self._online: Tuple[BaseEncoder, ...] = ()

    def follow(self, encoder: BaseEncoder) -> None:
        """Copy the encoder, which is not registered here."""
        self._online = (encoder,)
        self.momentum_encoder = momentum_copy(encoder)
        for module in self.momentum_encoder.modules():
            if isinstance(module, BaseModule):
                module.init_cfg = None  # it starts as the encoder, whatever that loads
        self.out_dim, self.grid_size = encoder.embed_dim, encoder.grid_size

    def reset(self) -> None:
        """Reset to a copy of the encoder."""
        momentum_reset(self.momentum_encoder, self._online[0])

    def update(self) -> None:
        """Exponential moving average update."""
        momentum_update(self.momentum_encoder, self._online[0], self.ema_momentum)

    def train(self, mode: bool = True) -> 'MomentumTarget':
        """Always in evaluation mode: targets are not dropped out."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return self.momentum_encoder(images)[:, self._online[0].num_prefix_tokens :]
