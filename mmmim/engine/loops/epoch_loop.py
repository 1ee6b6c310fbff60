"""The epoch loop: one iteration is one optimizer step, and a run resumes at the next one."""

import itertools
from typing import Any, Dict, Iterator, List, Optional, Union

import torch
from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor
from torch.utils.data import DataLoader

from ...registry import LOOPS


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
        # the runner builds the optimizer after the loop; its config states the accumulated batches per step
        self.accumulation = _accumulation(runner.optim_wrapper)
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
        self._max_iters = self.max_epochs * len(self.dataloader)
        self.stop_at = min(max_iters or self._max_iters, self._max_iters)

    def run(self) -> torch.nn.Module:
        """Train from the runner's current iteration."""
        for wrapper in _wrappers(self.runner.optim_wrapper):
            # the runner has counted iterations; the wrappers count batches
            wrapper.initialize_count_status(
                self.runner.model, self._iter * self.accumulation, self._max_iters * self.accumulation
            )
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
        """One optimizer step on one batch, or on a list of batches when gradients accumulate."""
        self.runner.call_hook('before_train_iter', batch_idx=idx, data_batch=data_batch)
        outputs = [
            self.runner.model.train_step(batch, optim_wrapper=self.runner.optim_wrapper)
            for batch in (data_batch if self.accumulation > 1 else [data_batch])
        ]
        self.runner.call_hook('after_train_iter', batch_idx=idx, data_batch=data_batch, outputs=_mean(outputs))
        self._iter += 1


class StepLoader:
    """Groups the batches of a loader: one item is the list of batches that make an optimizer step.

    Its length is the number of steps, which schedules and logs read. All other attributes are the loader's.
    """

    def __init__(self, loader: DataLoader, batches_per_step: int) -> None:
        self.loader, self.batches_per_step = loader, batches_per_step

    def __getattr__(self, name: str) -> Any:
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


def _mean(outputs: List[Dict[str, Tensor]]) -> Dict[str, Tensor]:
    """Average over the batches of a step, on the device."""
    if len(outputs) == 1:
        return outputs[0]
    return {key: torch.stack([output[key].detach() for output in outputs]).mean() for key in outputs[0]}


def _wrappers(optim_wrapper) -> list:
    if isinstance(optim_wrapper, OptimWrapperDict):
        return list(optim_wrapper.values())
    return [optim_wrapper]


def _accumulation(optim_wrapper) -> int:
    """``accumulative_counts`` of a built wrapper, a dict of wrappers, or their config."""
    if isinstance(optim_wrapper, dict):
        if 'accumulative_counts' in optim_wrapper or 'optimizer' in optim_wrapper:
            return optim_wrapper.get('accumulative_counts', 1)
        counts = {_accumulation(v) for v in optim_wrapper.values() if isinstance(v, dict) and 'optimizer' in v}
    elif isinstance(optim_wrapper, OptimWrapperDict):
        counts = {_accumulation(v) for v in optim_wrapper.values()}
    else:
        return getattr(optim_wrapper, '_accumulative_counts', 1)
    if len(counts) > 1:
        raise ValueError(f'all optimizers must accumulate the same number of batches, not {sorted(counts)}')
    return counts.pop() if counts else 1
