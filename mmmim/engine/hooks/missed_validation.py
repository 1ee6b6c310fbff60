"""A validation that a stopped run owes."""

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop

from ...registry import HOOKS


@HOOKS.register_module()
class MissedValidationHook(Hook):
    """Validates first where a run resumes at an iteration after which validation was due.

    Checkpoints are written before it, so that a run that ends in the middle of it would go on without, and after the
    last epoch would never be measured. What had been measured is measured again, and counts once.
    """

    priority = 'LOWEST'

    def before_train(self, runner) -> None:
        if runner.iter and runner.val_loop is not None and self._due(runner):
            runner.val_loop.run()

    @staticmethod
    def _due(runner) -> bool:
        loop = runner.train_loop
        if isinstance(loop, EpochBasedTrainLoop):
            done, last, at_end = runner.epoch, runner.max_epochs, runner.iter == runner.epoch * len(loop.dataloader)
        else:
            done, last, at_end = runner.iter, runner.max_iters, True
        return at_end and done >= loop.val_begin and (done % loop.val_interval == 0 or done == last)
