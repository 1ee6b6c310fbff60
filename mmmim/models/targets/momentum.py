"""Features of a momentum encoder."""

from typing import List, Optional, Sequence, Tuple, Union, cast

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ..backbones.base import BaseEncoder
from ..build import check_choice
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
        layer: Block, from 1 (-1: the last), whose tokens are taken as they are, or several, whose mean is (data2vec,
            Baevski et al., 2022, section 3.3: of the last ones). None: the encoder's output.
        normalize: Normalise the values of each token, without weights, before the mean over layers (data2vec: against
            a collapse). Where directions are compared this takes away their common part.
        average: What is averaged, and so predicted: ``'encoder'``; ``'projector'``: also the ``projector`` of
            :class:`~mmmim.models.algorithms.CrossMAE`, as in BYOL; ``'predictor'``: also its predictor (another
            reading of CrossMAE's "utilize its prediction as targets"). Their batch norms have statistics of their own.

    Raises:
        ValueError: A momentum outside [0, 1], an unknown ``average`` or one that the method has no part for, or a block
            that the encoder does not have.
    """

    moves = True

    def __init__(
        self,
        ema_momentum: float = 0.996,
        layer: Union[int, Sequence[int], None] = None,
        normalize: bool = False,
        average: str = 'encoder',
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if not 0 <= ema_momentum <= 1:
            raise ValueError(f'ema_momentum={ema_momentum} must lie in [0, 1]')
        check_choice('average', average, ('encoder', 'projector', 'predictor'))
        self.ema_momentum, self.layer, self.normalize, self.average = ema_momentum, layer, normalize, average
        self._online: Tuple[nn.Module, ...] = ()  # a tuple: not registered here
        self.momentum_head: Optional[nn.Module] = None

    def follow(self, encoder: BaseEncoder, projector: Optional[nn.Module] = None, has_predictor: bool = False) -> None:
        """Copy the encoder, which is not registered here, and the projector if it is averaged."""
        self.momentum_encoder = _copy(encoder)
        self._online, self.prefix = (encoder,), encoder.num_prefix_tokens
        self.out_dim, self.grid_size = encoder.embed_dim, encoder.grid_size
        self.blocks = _block_indices(self.layer, encoder)
        if self.average == 'predictor' and projector is not None:
            raise ValueError(
                "MomentumTarget: average='predictor' leaves out the projector that the model has before it; use "
                "average='projector', or no projector"
            )
        if self.average == 'projector' and projector is not None:
            self._follow_head(projector)
            self.out_dim = int(projector.out_dim)  # type: ignore[arg-type]
        elif self.average == 'projector' or (self.average == 'predictor' and not has_predictor):
            raise ValueError(
                f"MomentumTarget: average='{self.average}', but the model has no `{self.average}` to follow"
            )

    def follow_predictors(self, predictors: Sequence[nn.Module]) -> None:
        if self.average == 'predictor':
            self._follow_head(predictors[0])

    def _follow_head(self, head: nn.Module) -> None:
        self.momentum_head = _copy(head)
        self._online = (self._online[0], head)

    def _pairs(self) -> List[Tuple[nn.Module, nn.Module]]:
        ours = [self.momentum_encoder] if self.momentum_head is None else [self.momentum_encoder, self.momentum_head]
        return list(zip(ours, self._online))

    def reset(self) -> None:
        """Reset to a copy of what is followed."""
        for ours, theirs in self._pairs():
            momentum_reset(ours, theirs)

    def update(self) -> None:
        """Exponential moving average update."""
        for ours, theirs in self._pairs():
            momentum_update(ours, theirs, self.ema_momentum)

    def train(self, mode: bool = True) -> 'MomentumTarget':
        """The encoder is always in evaluation mode: targets are not dropped out. The batch norm of a projector or
        predictor sees the batch in training, as that of BYOL's target network."""
        super().train(False)
        if self.momentum_head is not None:
            self.momentum_head.train(mode)
        return self

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        tokens = self._mean(self._outputs(images))  # [B, prefix + L, D]
        return tokens[:, self.prefix :] if self.momentum_head is None else self.momentum_head(tokens, None)

    def _mean(self, outputs: List[Tensor]) -> Tensor:
        if self.normalize:
            wide = [x.to(torch.promote_types(x.dtype, torch.float32)) for x in outputs]
            outputs = [F.layer_norm(x, x.shape[-1:]) for x in wide]
        return outputs[0] if len(outputs) == 1 else torch.stack(outputs).mean(0)

    def _outputs(self, images: Tensor) -> List[Tensor]:
        """Tokens ``[B, prefix + L, D]`` of each layer that was asked for."""
        if self.blocks is None:
            return [self.momentum_encoder(images)]
        found: List[Tensor] = []
        blocks = list(cast(BaseEncoder, self.momentum_encoder).blocks)
        handles = [blocks[index].register_forward_hook(lambda *call: found.append(call[2])) for index in self.blocks]
        try:
            self.momentum_encoder(images)
        finally:
            for handle in handles:
                handle.remove()
        return found


def _copy(module: nn.Module) -> nn.Module:
    copied = momentum_copy(module)
    for part in copied.modules():
        if isinstance(part, BaseModule):
            part.init_cfg = None  # it starts as what it follows, whatever that loads
    return copied


def _block_indices(layer: Union[int, Sequence[int], None], encoder: BaseEncoder) -> Optional[List[int]]:
    """Indices of blocks, ascending, from numbers that count from 1, or from the end."""
    if layer is None:
        return None
    numbers = [layer] if isinstance(layer, int) else list(layer)
    depth = len(getattr(encoder, 'blocks', ()))
    indices = {number - 1 if number > 0 else depth + number for number in numbers}
    if not indices or 0 in numbers or not all(0 <= index < depth for index in indices):
        raise ValueError(
            f'MomentumTarget: layer={layer!r}: {type(encoder).__name__} has '
            + (f'blocks 1 to {depth}, or -1 for the last' if depth else 'no blocks of one width: use layer=None')
        )
    return sorted(indices)
