"""Images per second in every log, and a progress bar on a terminal."""

import logging
from typing import Any, Optional

from mmengine.dist import get_world_size
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import IterBasedTrainLoop

from ...progress import Progress
from ...registry import HOOKS
from .run_record import last_iteration


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows one line with a bar, the epoch, images per second, the loss and the time left.

    If stderr is no terminal, there is no bar, and the log's lines have ``images_per_second``. With a bar, the log's
    lines of single iterations go to the log file only; everything else is printed above the bar. The environment
    variable ``MMMIM_PROGRESS`` overrides this: see :mod:`mmmim.progress`.
    """

    priority = 'NORMAL'  # after the timer, before the logger

    def __init__(self) -> None:
        self.progress: Optional[Progress] = None
        self._filter: Optional[_AboveTheBar] = None

    def before_train(self, runner) -> None:
        loader = runner.train_dataloader
        batch = getattr(loader, 'batch_size', None) or getattr(loader.batch_sampler, 'batch_size', 1)
        self.images_per_step = batch * getattr(loader, 'batches_per_step', 1) * get_world_size()
        self.interval = next((h.interval for h in runner.hooks if isinstance(h, LoggerHook)), 10)
        if runner.rank == 0:
            self.progress = Progress(
                last_iteration(runner) * self.images_per_step,
                self._where(runner),
                initial=runner.iter * self.images_per_step,
            )
            if self.progress.bar is not None:
                self._filter = _AboveTheBar(self.progress.bar)
                for handler in _console_handlers(runner):
                    handler.addFilter(self._filter)

    @staticmethod
    def _where(runner) -> str:
        if isinstance(runner.train_loop, IterBasedTrainLoop):  # of segmentors: it has no epochs
            return 'training'
        return f'epoch {min(runner.epoch + 1, runner.max_epochs)}/{runner.max_epochs}'

    def before_train_epoch(self, runner) -> None:
        if self.progress is not None:
            self.progress.describe(self._where(runner))

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: Optional[dict] = None) -> None:
        logged = self.every_n_inner_iters(batch_idx, self.interval) or self.end_of_epoch(
            runner.train_dataloader, batch_idx
        )
        scalars, shown = runner.message_hub.log_scalars, {}
        self._correct_time_left(runner)
        if logged:
            seconds = scalars['train/time'].mean(runner.log_processor.window_size)
            runner.message_hub.update_scalar('train/images_per_second', self.images_per_step / max(seconds, 1e-9))
            if 'train/loss' in scalars:
                shown['loss'] = scalars['train/loss'].current()  # on the host already, for the log
        if self.progress is not None:
            self.progress.update(self.images_per_step, **shown)

    @staticmethod
    def _correct_time_left(runner) -> None:
        """MMEngine's timer, which ran before, counts to the end of the schedule."""
        last, whole = last_iteration(runner) - runner.iter - 1, runner.max_iters - runner.iter - 1
        eta = runner.message_hub.runtime_info.get('eta')
        if eta is not None and last < whole:
            runner.message_hub.update_info('eta', eta * last / whole)

    def after_train(self, runner) -> None:
        self.release(runner)

    def release(self, runner) -> None:
        """Close the bar; the loop calls it too, however training ends."""
        if self.progress is not None:
            self.progress.close()
            self.progress = None
        if self._filter is not None:
            for handler in _console_handlers(runner):
                handler.removeFilter(self._filter)
            self._filter = None


class _AboveTheBar(logging.Filter):
    """Clears the bar before a message is printed, and hides log lines that repeat what the bar shows."""

    def __init__(self, bar: Any) -> None:
        super().__init__()
        self.bar = bar

    def filter(self, record: logging.LogRecord) -> bool:
        if str(record.msg).startswith(('Epoch(train)', 'Iter(train)')):
            return False
        self.bar.clear()
        return True


def _console_handlers(runner) -> list:
    return [
        h
        for h in runner.logger.handlers
        if isinstance(h, logging.StreamHandler) and not isinstance(h, logging.FileHandler)
    ]
