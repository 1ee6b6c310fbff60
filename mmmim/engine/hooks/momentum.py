"""A momentum that rises over training."""

import math
from typing import Any, List, Tuple

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import nn

from ...registry import HOOKS


@HOOKS.register_module()
class CosineMomentumHook(Hook):
    """Lets each momentum rise from its config's value to ``end`` by half a cosine (BYOL).

    Those are the algorithm's own ``momentum`` (CMAE) and the ``ema_momentum`` of targets that follow the encoder. They
    are functions of the iteration alone, so that a resumed run goes on where it was.

    Args:
        end: The value that is reached after the last iteration.

    Raises:
        TypeError: The algorithm has no momentum.
    """

    def __init__(self, end: float = 1.0) -> None:
        self.end = end
        self.moved: List[Tuple[nn.Module, str, float]] = []

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        places = [(model, 'momentum')] if hasattr(model, 'momentum') else []
        places += [(part, 'ema_momentum') for part in model.modules() if hasattr(part, 'ema_momentum')]
        if not places:
            raise TypeError(f'CosineMomentumHook: {type(model).__name__} has no momentum encoder')
        self.moved = [(part, name, getattr(part, name)) for part, name in places]

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        remaining = (1 + math.cos(math.pi * runner.iter / runner.max_iters)) / 2
        for part, name, start in self.moved:
            setattr(part, name, self.end - (self.end - start) * remaining)
