"""Targets that have to see images before training, such as a PCA basis."""

import itertools

import torch
from mmengine.dist import broadcast, is_distributed
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from ... import randomness
from ...datasets.seeded import SampleIndex
from ...registry import HOOKS


@HOOKS.register_module()
class FitTargetHook(Hook):
    """Fits ``model.target`` once, on images drawn from the training set by the run's seed.

    Every rank sees the same images; rank 0's result is given to all. Checkpoints carry it, so a resumed run does not
    fit again.

    Args:
        num_images: How many training images are used, at most.
        batch_size: How many at once.
    """

    def __init__(self, num_images: int = 2000, batch_size: int = 100) -> None:
        self.num_images, self.batch_size = num_images, batch_size

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        target = getattr(model, 'target', None)
        if not getattr(target, 'needs_fit', False):
            return
        runner.logger.info(f'Fitting {type(target).__name__} on up to {self.num_images} images')
        target.fit(self._batches(runner, model.data_preprocessor))
        if is_distributed():
            for buffer in target.buffers():
                value = buffer.to(torch.get_default_dtype() if buffer.is_floating_point() else torch.uint8)
                broadcast(value)
                buffer.copy_(value)

    def _batches(self, runner, preprocessor):
        dataset, collate = runner.train_dataloader.dataset, runner.train_dataloader.collate_fn
        generator = torch.Generator()
        generator.manual_seed(randomness.derive(runner.seed, randomness.FIT))
        order = iter(torch.randperm(len(dataset), generator=generator)[: self.num_images].tolist())
        while indices := list(itertools.islice(order, self.batch_size)):
            samples = [dataset[SampleIndex(i, randomness.derive(runner.seed, randomness.FIT, i))] for i in indices]
            inputs = preprocessor(collate(samples), False)['inputs']
            yield inputs[0] if isinstance(inputs, list) else inputs
