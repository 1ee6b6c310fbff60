"""Epoch and test loops for models of other toolboxes."""

import itertools
from typing import Any, Dict, Iterator, List, Optional, Union

from mmengine.model import is_model_wrapper
from mmengine.registry import MODELS
from mmengine.runner import EpochBasedTrainLoop, TestLoop
from torch.utils.data import BatchSampler, DataLoader, Sampler

from ...registry import DATA_SAMPLERS, LOOPS


@DATA_SAMPLERS.register_module()
class LateBatchSampler(BatchSampler):
    """The batches of another sampler from ``start`` on (resume); earlier ones are not read.

    Args:
        sampler: Sampler of the indices.
        batch_size: Indices per batch.
        drop_last: Whether an incomplete last batch is left out; not with ``inner``.
        inner: Config of the batch sampler, such as mmdet's ``AspectRatioBatchSampler``; None: torch's.
    """

    def __init__(
        self, sampler: Sampler, batch_size: int, drop_last: bool = False, inner: Optional[dict] = None
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.batches = (
            BatchSampler(sampler, batch_size, drop_last)
            if inner is None
            else DATA_SAMPLERS.build(inner, default_args=dict(sampler=sampler, batch_size=batch_size))
        )
        self.start = 0

    def __iter__(self) -> Iterator[List[int]]:
        return itertools.islice(self.batches, self.start, None)  # a loader with workers iterates twice

    def __len__(self) -> int:
        return len(self.batches)


@LOOPS.register_module()
class HostEpochLoop(EpochBasedTrainLoop):
    """MMEngine's epoch loop with resume in mid-epoch, at the next batch.

    MMEngine's starts that epoch over and trains longer than the schedule lasts. Augmentation is left to the data set
    and workers, so its random draws differ from those of an uninterrupted run.

    Args:
        runner: The runner.
        dataloader: Config of the loader.
        **kwargs: As MMEngine's loop.
    """

    def __init__(self, runner, dataloader: Union[DataLoader, Dict], **kwargs: Any) -> None:
        if isinstance(dataloader, dict):
            dataloader = dict(dataloader)
            dataloader['batch_sampler'] = dict(
                type='mmmim.LateBatchSampler',
                drop_last=dataloader.pop('drop_last', False),
                inner=dataloader.get('batch_sampler'),
            )
        super().__init__(runner, dataloader, **kwargs)

    def run_epoch(self) -> None:
        """The rest of the current epoch: all of it, unless a run resumes in mid-epoch."""
        done = self._iter - self._epoch * len(self.dataloader)
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        self.dataloader.batch_sampler.start = done
        for step, data_batch in enumerate(self.dataloader, start=done):
            self.run_iter(step, data_batch)
        self.dataloader.batch_sampler.start = 0
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class AugmentedTestLoop(TestLoop):
    """MMEngine's test loop with test-time augmentation: it wraps the runner's model while it runs.

    A config that wraps the model itself cannot be trained, and its checkpoints would have other names.

    Args:
        runner, dataloader, evaluator: See MMEngine's ``TestLoop``; each item of the loader is a list of views.
        model: Config of the wrapper, such as ``dict(type='mmseg.SegTTAModel')``.
    """

    def __init__(self, runner, dataloader, evaluator, model: dict, **kwargs) -> None:
        super().__init__(runner, dataloader, evaluator, **kwargs)
        inner = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.model = MODELS.build(dict(model, module=inner))

    def run(self) -> dict:
        plain, self.runner.model = self.runner.model, self.model
        try:
            return super().run()
        finally:
            self.runner.model = plain
