"""Hooks around a training step: the seed of a step, momentum schedules, targets that are fitted, the discriminator."""

import itertools
import math
from typing import Any, List, Optional, Sequence, Tuple, Union

import torch
from mmengine.device import get_device
from mmengine.dist import broadcast, is_distributed
from mmengine.hooks import Hook, LoggerHook
from mmengine.model import is_model_wrapper
from torch import nn

from ... import randomness
from ...datasets.samplers import SampleIndex
from ...models.build import check_choice
from ...registry import HOOKS


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Seeds the global generators before each step, so that a resumed run draws the same as an uninterrupted one."""

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner, batch_idx: int, data_batch: Optional[dict] = None) -> None:
        randomness.seed_generators(randomness.derive(runner.seed, runner.iter, runner.rank, randomness.STEP))


@HOOKS.register_module()
class CosineMomentumHook(Hook):
    """Raises each momentum from its config's value to ``end`` by half a cosine (BYOL).

    These are the algorithm's ``momentum`` (CMAE) and the ``ema_momentum`` of targets with a momentum encoder. They are
    functions of the iteration alone, so that a resumed run continues exactly.

    Args:
        end: The value after the last iteration.

    Raises:
        TypeError: The algorithm has no momentum.
    """

    def __init__(self, end: float = 1.0) -> None:
        self.end = end
        self.moved: List[Tuple[nn.Module, str, float]] = []

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        places = [(model, 'momentum')] if hasattr(model, 'momentum') else []
        places += [(part, 'ema_momentum') for part in model.modules() if hasattr(part, 'ema_momentum')]
        if not places:
            raise TypeError(f'CosineMomentumHook: {type(model).__name__} has no momentum encoder')
        self.moved = [(part, name, getattr(part, name)) for part, name in places]

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        remaining = (1 + math.cos(math.pi * runner.iter / runner.max_iters)) / 2
        for part, name, start in self.moved:
            setattr(part, name, self.end - (self.end - start) * remaining)


@HOOKS.register_module()
class FitTargetHook(Hook):
    """Fits ``model.target`` once, on images drawn from the training set by the run's seed.

    Every rank sees the same images; rank 0's result is given to all. Checkpoints carry it, so a resumed run does not
    fit again.

    Args:
        num_images: How many training images are used, at most.
        batch_size: Images per batch.
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


ACCURACIES = ('original_accuracy', 'generated_accuracy')


@HOOKS.register_module()
class DiscriminatorHook(Hook):
    """Warns of a saturated or a collapsed discriminator (GAN-MAE, Vision ELECTRA).

    Saturated: it classifies originals and generated ones without a mistake, and learns nothing more. Collapsed: its
    output is constant or a guess, independent of the input: the two accuracies sum to 1. The hook reads from the log
    ``original_accuracy`` and ``generated_accuracy`` of patches, and the same with ``image_`` in front, whenever the log
    is written and at the end of an epoch. It warns once, and again when the state has changed.

    Args:
        window: Iterations over which the accuracies are averaged; before that, there is no warning.
        margin: How far from 0 and 1 an accuracy still counts as 0 and 1.
        stop_when: End training with the epoch in which the discriminator is found ``'saturated'`` or ``'collapsed'``,
            or in one of several states. None: never.
    """

    def __init__(
        self, window: int = 500, margin: float = 0.01, stop_when: Union[str, Sequence[str], None] = None
    ) -> None:
        if window < 1 or not 0 < margin < 0.5:
            raise ValueError(f'window={window} must be at least 1 and margin={margin} lie inside (0, 0.5)')
        self.window, self.margin = window, margin
        self.stop_when = [stop_when] if isinstance(stop_when, str) else list(stop_when or [])
        for state in self.stop_when:
            check_choice('stop_when', state, ('saturated', 'collapsed'))
        self.interval = 10
        self.states = dict.fromkeys(('', 'image_'), 'sound')

    def before_train(self, runner) -> None:
        # values are on the host only once the log is written
        self.interval = next((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), self.interval)

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: Optional[dict] = None) -> None:
        is_last = self.end_of_epoch(runner.train_dataloader, batch_idx)  # epochs may be shorter than the interval
        if not is_last and not self.every_n_inner_iters(batch_idx, self.interval):
            return
        for level in self.states:
            state = self._state(runner.message_hub.log_scalars, level)
            if state not in (self.states[level], 'sound'):
                self._warn(runner, state, 'images' if level else 'patches')
            self.states[level] = state
        if self.stop_when and self._should_stop():
            runner.train_loop.stop_training = True

    def _should_stop(self) -> bool:
        """As the first process finds it: the others' batches give other accuracies."""
        found = torch.tensor(any(state in self.stop_when for state in self.states.values()), device=get_device())
        broadcast(found)
        return bool(found)

    def _state(self, scalars: dict, level: str) -> str:
        buffers = [scalars.get(f'train/{level}{name}') for name in ACCURACIES]
        if any(buffer is None or len(buffer.data[0]) < self.window for buffer in buffers):
            return 'sound'
        low, high = sorted(float(buffer.mean(self.window)) for buffer in buffers)
        if high > 1 - self.margin and low > 1 - self.margin:
            return 'saturated'
        return 'collapsed' if abs(high + low - 1) < self.margin else 'sound'

    def _warn(self, runner, state: str, what: str) -> None:
        means = (
            'tells original and generated {} apart without a mistake: it learns nothing more'
            if state == 'saturated'
            else 'says the same of original and of generated {}: the encoder learns nothing from it'
        ).format(what)
        runner.logger.warning(
            f'The discriminator is {state}: over the last {self.window} iterations it {means}. A lower learning rate '
            '(optim_wrapper.paramwise_cfg.discriminator_lr_mult) or weight of it, or another mask ratio, may help'
        )
