"""A momentum that rises over training."""
import math
from typing import Any, Optional

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from ...registry import HOOKS


@HOOKS.register_module()
class CosineMomentumHook(Hook):
    """Lets the algorithm's ``momentum`` rise from its config's value to ``end`` by half a cosine (BYOL).

    It is a function of the iteration alone, so that a resumed run goes on where it was.

    Args:
        end: The value that is reached after the last iteration.

    Raises:
        TypeError: The algorithm has no momentum.
    """

    def __init__(self, end: float = 1.0) -> None:
        self.end = end
        self.start: Optional[float] = None

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not hasattr(model, 'momentum'):
            raise TypeError(f'CosineMomentumHook: {type(model).__name__} has no momentum encoder')
        self.model, self.start = model, model.momentum

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        remaining = (1 + math.cos(math.pi * runner.iter / runner.max_iters)) / 2
        self.model.momentum = self.end - (self.end - self.start) * remaining
