"""k-NN accuracy during pre-training."""

from typing import Any

from mmengine.hooks import Hook

from ... import randomness
from ...evaluation.evaluator import FeatureEvaluator
from ...registry import HOOKS
from .runtime_info import DeferredRuntimeInfoHook


@HOOKS.register_module()
class KNNHook(Hook):
    """Measures frozen features on labelled data every few epochs, and records them in the run's curve.

    Args:
        interval: Epochs between measurements; the last epoch always counts.
        at_start: Also measure before training.
        **evaluator: Arguments of :class:`~mmmim.evaluation.FeatureEvaluator`.
    """

    def __init__(self, interval: int = 10, at_start: bool = True, **evaluator: Any) -> None:
        self.interval, self.at_start = interval, at_start
        self.evaluator = FeatureEvaluator(**evaluator)

    def before_train(self, runner) -> None:
        if self.at_start and runner.iter == 0:
            self._measure(runner)

    def after_train_epoch(self, runner) -> None:
        if self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner):
            self._measure(runner)

    def _measure(self, runner) -> None:
        # whatever the measurement draws, training goes on from generators that StepSeedHook sets anew
        randomness.seed_generators(randomness.derive(runner.seed, randomness.STEP))
        metrics = self.evaluator(runner.model, runner.optim_wrapper)
        runner.visualizer.add_scalars(metrics, step=runner.iter)
        for hook in runner.hooks:
            if isinstance(hook, DeferredRuntimeInfoHook):
                hook.record(runner, metrics)
