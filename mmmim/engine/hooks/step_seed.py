"""Dropout and stochastic depth as a function of (seed, iteration, rank)."""

from typing import Optional

from mmengine.hooks import Hook

from ... import randomness
from ...registry import HOOKS


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Seeds the global generators before each step, so that a resumed run draws what the undisturbed one drew."""

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner, batch_idx: int, data_batch: Optional[dict] = None) -> None:
        randomness.seed_generators(randomness.derive(runner.seed, runner.iter, runner.rank, randomness.STEP))
