"""What the hooks that look at a dense task's data before a run have in common."""

from typing import Any, Dict, Optional, Type

from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper


class CheckDataHook(Hook):
    """Looks at the training and validation set, or the test set, on rank 0, and stops all ranks with what is wrong.

    Args:
        limit: How many files of each set are opened; None: all.

    Attributes:
        error: The exception by which :meth:`check` says what is wrong.
    """

    error: Type[Exception] = RuntimeError

    def __init__(self, limit: Optional[int]) -> None:
        if limit is not None and limit < 1:
            raise ValueError(f'{type(self).__name__}: {limit} files must be at least 1, or None for all')
        self.limit = limit

    def check(self, model: Any, dataset: Any, name: str) -> None:
        """Raise ``error`` unless a data set, called ``name`` in messages, is what the model takes it for."""
        raise TypeError(f'{type(self).__name__} has no check')

    def before_train(self, runner) -> None:
        loaders = dict(training=runner.train_dataloader)
        if runner.val_loop is not None:
            loaders['validation'] = runner.val_dataloader
        self._check_all(runner, loaders)
        if not getattr(model_of(runner).backbone, 'init_cfg', None) and not runner.iter:
            print_log(
                'The encoder starts from its random initialisation (pretrained=PATH names a checkpoint).', 'current'
            )

    def before_test(self, runner) -> None:
        self._check_all(runner, dict(test=runner.test_dataloader))

    def _check_all(self, runner, loaders: Dict[str, Any]) -> None:
        problem = [self._first_problem(runner, loaders) if runner.rank == 0 else None]
        broadcast_object_list(problem)
        if problem[0]:
            raise self.error(problem[0])

    def _first_problem(self, runner, loaders: Dict[str, Any]) -> Optional[str]:
        try:
            for name, loader in loaders.items():
                self.check(model_of(runner), loader.dataset, name)
        except self.error as error:
            return str(error)
        return None


def model_of(runner) -> Any:
    """The task's model, out of wrappers for several processes or for a test at several scales."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return getattr(model, 'module', model)
