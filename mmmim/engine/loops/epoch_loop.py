"""The epoch loop: one iteration is one optimizer step, and a run resumes at the next one."""

import itertools
from typing import Any, Dict, Iterator, List, Optional, Set, Union

import torch
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop
from torch import nn
from torch.utils.data import DataLoader

from ...models.algorithms.step import check_accumulation, mean_log, wrappers_of
from ...registry import LOOPS
from ..hooks.run_record import add_to_record
from .memory import SmallerPasses, advise


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """MMEngine's epoch loop with exact resume in mid-epoch.

    The data set is wrapped so that each sample has its own seed, and the sampler starts in mid-epoch: a resumed run
    reads no image twice. With gradient accumulation an iteration takes that many batches, so that iterations, learning
    rates, logs and checkpoints count optimizer steps.

    Args:
        runner: The runner.
        dataloader: Config of the loader; its sampler must be an ``EpochSampler``.
        max_epochs: Length of training.
        max_iters: Stop after this many iterations, wherever that is (the schedules still follow ``max_epochs``).
        batches_per_step: Batches of an optimizer step; follows from ``total_batch_size``. A model without
            ``train_steps`` (other toolboxes') counts them by its optimizer's ``accumulative_counts``.
        val_begin, val_interval: As MMEngine's, in epochs.
    """

    def __init__(
        self,
        runner,
        dataloader: Union[DataLoader, Dict],
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        max_iters: Optional[int] = None,
        batches_per_step: int = 1,
    ) -> None:
        if isinstance(dataloader, dict):
            dataloader = dict(dataloader)
            dataloader['dataset'] = dict(type='mmmim.SeededDataset', dataset=dataloader['dataset'])
            dataloader.setdefault('worker_init_fn', dict(type='mmmim.start_worker'))
            if not dataloader.get('num_workers'):
                dataloader['persistent_workers'] = False  # torch refuses it without workers
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval)
        if not hasattr(self.dataloader.sampler, 'start'):
            raise TypeError(
                f'ResumableEpochLoop needs train_dataloader.sampler.type=EpochSampler, not '
                f'{type(self.dataloader.sampler).__name__}: it has to start in mid-epoch'
            )
        # the runner builds the optimizer after the loop
        counts = _counts(runner.optim_wrapper)
        if hasattr(_bare(runner.model), 'train_steps'):
            check_accumulation(max(counts, default=1))
            self.accumulation = batches_per_step
        elif batches_per_step == 1:
            self.accumulation = counts.pop() if counts else 1
        else:
            raise ValueError(
                f'train_cfg.batches_per_step={batches_per_step}: {type(_bare(runner.model)).__name__} has no '
                'train_steps: set optim_wrapper.accumulative_counts instead'
            )
        self.samples_per_step = self.dataloader.batch_size * self.accumulation
        if self.accumulation > 1:
            self.dataloader = StepLoader(self.dataloader, self.accumulation)
        if len(self.dataloader) == 0:
            raise ValueError(
                f'an epoch of {len(self.dataloader.sampler)} images a process is shorter than one step of '
                f'{self.samples_per_step}: use a smaller total_batch_size, or more images'
            )
        warmup = runner.cfg.get('warmup_epochs')
        if warmup and int(warmup * len(self.dataloader)) < 2:
            # a warm-up of one step would leave the learning rate at its first, tiny value for the whole run
            raise ValueError(
                f'warmup_epochs={warmup} is {warmup * len(self.dataloader):g} iterations at '
                f'{len(self.dataloader)} an epoch: use at least 2, or warmup_epochs=0'
            )
        self.passes = SmallerPasses(self._say_smaller, self._check_pass)
        self._max_iters = self.max_epochs * len(self.dataloader)
        self.stop_at = self._max_iters if max_iters is None else min(max_iters, self._max_iters)

    def run(self) -> torch.nn.Module:
        """Train from the runner's current iteration."""
        for wrapper in wrappers_of(self.runner.optim_wrapper):
            # the runner has counted iterations; MMEngine's wrappers count the batches of a foreign model
            batches = getattr(wrapper, '_accumulative_counts', 1)
            wrapper.initialize_count_status(self.runner.model, self._iter * batches, self._max_iters * batches)
        self.dataloader.sampler.seed = self.runner.seed  # a resumed run keeps the seed of its checkpoint
        try:
            self.runner.call_hook('before_train')
            while self._epoch < self._max_epochs and not self.stop_training and not self._cut_short():
                if self.run_epoch():
                    self._maybe_validate()
            self.runner.call_hook('after_train')
        finally:
            self.dataloader._iterator = None  # persistent workers end cleanly now, not killed at process exit
            for hook in self.runner.hooks:
                if hasattr(hook, 'release'):
                    hook.release(self.runner)
        return self.runner.model

    def _say_smaller(self, sentence: str) -> None:
        self.runner.logger.warning(sentence)
        if self.runner.rank == 0:
            add_to_record(self.runner.work_dir, 'smaller_passes', sentence)

    def _check_pass(self, images: int, passes: int) -> None:
        _bare(self.runner.model).check_batch(
            images, getattr(self.dataloader.sampler, 'repeat_crops', 1), batches=passes
        )

    def _cut_short(self) -> bool:
        """Whether ``max_iters`` ends the run here. After the schedule's last iteration the end of the epoch may still
        be due, if the run was stopped right before it."""
        return self._iter >= self.stop_at and self._iter < self._max_iters

    def _maybe_validate(self) -> None:
        if self.runner.val_loop is None or self._epoch < self.val_begin:
            return
        if self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs:
            self.runner.val_loop.run()

    def run_epoch(self) -> bool:
        """The rest of the current epoch: all of it, unless a run resumes in mid-epoch. False if it was cut short."""
        done = self._iter - self._epoch * len(self.dataloader)
        self.runner.call_hook('before_train_epoch')
        # after the hooks: MMEngine's own sampler hook would start the epoch over
        self.dataloader.sampler.set_epoch(self._epoch, start=done * self.samples_per_step)
        self.runner.model.train()
        for step, data_batch in enumerate(self.dataloader, start=done):
            self.run_iter(step, data_batch)
            if self._iter >= self.stop_at and self.stop_at < self._max_iters:
                return False
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
        return True

    def run_iter(self, idx: int, data_batch: Union[dict, List[dict]]) -> None:
        """One optimizer step on one batch, or on a list of batches when they accumulate."""
        self.runner.call_hook('before_train_iter', batch_idx=idx, data_batch=data_batch)
        model, optim_wrapper = self.runner.model, self.runner.optim_wrapper
        batches = data_batch if self.accumulation > 1 else [data_batch]
        if not hasattr(_bare(model), 'train_steps'):
            outputs = mean_log([model.train_step(batch, optim_wrapper=optim_wrapper) for batch in batches])
        elif is_model_wrapper(model):  # several processes
            outputs = advise(lambda: model.train_steps(batches, optim_wrapper=optim_wrapper), batches)
        else:
            outputs = self.passes.run(model, batches, optim_wrapper)
        self.runner.call_hook('after_train_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs)
        self._iter += 1


class StepLoader:
    """Groups the batches of a loader: one item is the list of batches that make an optimizer step.

    Its length is the number of steps, which schedules and logs read. All other attributes are the loader's.
    """

    def __init__(self, loader: DataLoader, batches_per_step: int) -> None:
        self.loader, self.batches_per_step = loader, batches_per_step

    def __getattr__(self, name: str) -> Any:
        if name == 'loader':  # not set yet: while unpickling
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == '_iterator':
            self.loader._iterator = value
        else:
            super().__setattr__(name, value)

    def __len__(self) -> int:
        return len(self.loader) // self.batches_per_step

    def __iter__(self) -> Iterator[List[dict]]:
        batches = iter(self.loader)
        while len(group := list(itertools.islice(batches, self.batches_per_step))) == self.batches_per_step:
            yield group


def _bare(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def _counts(optim_wrapper) -> Set[int]:
    """``accumulative_counts`` of built wrappers or of their configs, where they are stated."""
    if isinstance(optim_wrapper, OptimWrapper):
        return {getattr(optim_wrapper, '_accumulative_counts', 1)}
    if not isinstance(optim_wrapper, (dict, OptimWrapperDict)):
        return set()
    if 'accumulative_counts' in optim_wrapper or 'optimizer' in optim_wrapper:
        return {optim_wrapper.get('accumulative_counts', 1)}
    counts = set().union(*(_counts(value) for value in optim_wrapper.values()))
    if len(counts) > 1:
        raise ValueError(f'all optimizers must accumulate the same number of batches, not {sorted(counts)}')
    return counts
