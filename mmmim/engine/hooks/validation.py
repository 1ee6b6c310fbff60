"""What is measured and drawn while a run trains: k-NN, reconstructions, a validation that was missed."""

import os
import os.path as osp
import random
from contextlib import contextmanager, suppress
from typing import Any, Dict, Iterator, Optional

import numpy as np
import torch
from mmengine.dist import all_gather_object, master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop

from ... import randomness
from ...checkpoint.write import exported_facts
from ...datasets.loading import mim_collate
from ...datasets.samplers import SampleIndex, SeededDataset
from ...evaluation.evaluator import FeatureEvaluator
from ...registry import DATASETS, HOOKS
from ...visualization.reconstruction import reconstruction_panel
from .checkpoint import BEST_ENCODER, export_run
from .runtime_info import DeferredRuntimeInfoHook


@HOOKS.register_module()
class KNNHook(Hook):
    """Measures frozen features on labelled data every few epochs, and records them in the run's curve.

    Args:
        interval: Epochs between measurements; the last epoch always counts.
        at_start: Also measure before training.
        keep_best: Write the encoder whose k-NN was best so far to ``candidates/best.safetensors``.
        **evaluator: Arguments of :class:`~mmmim.evaluation.FeatureEvaluator`. Without ``bank`` and ``query`` they, and
            what else is left out, are the config's ``feature_eval``, of which the k-NN alone is measured; where its
            images cannot be read this is said, and nothing is measured.
    """

    def __init__(self, interval: int = 10, at_start: bool = True, keep_best: bool = False, **evaluator: Any) -> None:
        self.interval, self.at_start, self.keep_best, self.options = interval, at_start, keep_best, evaluator
        self.optional = not {'bank', 'query'} & set(evaluator)
        self.evaluator = None if self.optional else FeatureEvaluator(**evaluator)

    def before_train(self, runner) -> None:
        if self.optional:
            found = {**(runner.cfg.get('feature_eval') or {}), 'linear': False, **self.options}
            self.evaluator = FeatureEvaluator(**found) if 'bank' in found else None
            if self.evaluator is None:
                runner.logger.warning(
                    'KNNHook measures nothing: the config has no `feature_eval`, and the hook no `bank`'
                )
        if self.at_start and runner.iter == 0:
            self._measure(runner)
        if self.keep_best and runner.iter == 0 and runner.rank == 0:
            with suppress(FileNotFoundError):  # of an earlier run
                os.remove(osp.join(runner.work_dir, BEST_ENCODER))

    def after_train_epoch(self, runner) -> None:
        if self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner):
            metrics = self._measure(runner)
            if metrics and self.keep_best and runner.rank == 0:
                self._keep(runner, next(iter(metrics.values())))

    @staticmethod
    def _keep(runner, knn: float) -> None:
        """Of equally good ones the later is kept. What is known of the one before stands in its file."""
        path = osp.join(runner.work_dir, BEST_ENCODER)
        if exported_facts(path).get('knn', 0.0) <= knn:
            export_run(runner, path, epoch=runner.epoch + 1, knn=knn)

    def _what_is_missing(self) -> Optional[str]:
        """Why the images of ``feature_eval`` cannot be used, the same on all ranks; None if they can."""
        assert self.evaluator is not None
        reason = None
        try:
            for loader in self.evaluator.build():
                if loader.dataset.get_labels().min() < 0:
                    reason = 'its images have no labels'
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            reason = str(error)
        return next(filter(None, all_gather_object(reason)), None)

    def _measure(self, runner) -> Dict[str, float]:
        if self.evaluator is None:
            return {}
        # whatever it draws, StepSeedHook seeds the generators again before each training step
        randomness.seed_generators(randomness.derive(runner.seed, randomness.STEP))
        reason = self._what_is_missing() if self.optional else None
        if reason:
            runner.logger.warning(f'KNNHook measures nothing: {reason}')
            self.evaluator = None
            return {}
        metrics = self.evaluator(runner.model, runner.optim_wrapper)
        runner.visualizer.add_scalars(metrics, step=runner.iter)
        for hook in runner.hooks:
            if isinstance(hook, DeferredRuntimeInfoHook):
                hook.record(runner, metrics)
        return metrics


@HOOKS.register_module()
class MissedValidationHook(Hook):
    """Validates first if a run resumes at an iteration after which validation was due.

    Checkpoints are written before validation, so that a run that is stopped during it would resume without it, and
    after the last epoch would never be validated. A repeated measurement replaces the earlier one.
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


@HOOKS.register_module()
class ReconstructionHook(Hook):
    """Writes ``reconstructions/epoch_0010.png`` to the work dir, and adds the picture to the visualizer's backends.

    The images and their masks are the same each time. Rank 0 alone works, in evaluation mode and in the precision of
    training; training is bit-identical with and without the hook. The files can be read by
    :class:`~mmmim.visualization.panel.Panel`.

    Args:
        interval: Epochs between pictures; the last epoch always counts.
        dataset: Config of the data set. None: that of ``test_dataloader``, or, without one or without its images, the
            training images, augmented with a fixed seed.
        num_images: Number of images, evenly spread over the data set.
        at_start: Also before training.
        seed: Seed of the masks.
        visible_statistics: Where the reconstruction uses the original patch's mean and variance, add one that takes
            them from the nearest visible patches.
    """

    # after the hooks that fit the target before training, or load weights
    priority = 'LOW'

    def __init__(
        self,
        interval: int = 10,
        dataset: Optional[dict] = None,
        num_images: int = 8,
        at_start: bool = False,
        seed: int = 0,
        visible_statistics: bool = False,
    ) -> None:
        if num_images < 1:
            raise ValueError(f'num_images={num_images} must be at least 1')
        self.interval, self.dataset, self.num_images, self.at_start = interval, dataset, num_images, at_start
        self.seed, self.visible_statistics = seed, visible_statistics
        self.batch: Optional[dict] = None

    @master_only
    def before_train(self, runner) -> None:
        with own_generators(self.seed):
            self.batch = self._read(runner)
        if self.batch is None:
            return
        panel = self._panel(runner, 0)  # now, so that a model that cannot reconstruct fails before hours of training
        if self.at_start and runner.iter == 0:
            self._write(runner, panel, 0)

    @master_only
    def after_train_epoch(self, runner) -> None:
        due = self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)
        if due and self.batch is not None:
            epoch = runner.epoch + 1
            self._write(runner, self._panel(runner, epoch), epoch)

    def _read(self, runner) -> Optional[dict]:
        """Read the images once: later changes of the files do not matter."""
        dataset = self._build(runner)
        samples, count = [], min(self.num_images, len(dataset))
        for index in [(2 * k + 1) * len(dataset) // (2 * count) for k in range(count)]:
            try:
                samples.append(dataset[SampleIndex(index, randomness.derive(self.seed, index))])
            except (OSError, RuntimeError, ValueError) as error:  # its replacements failed, too
                runner.logger.warning(f'ReconstructionHook leaves out image {index}: {error}')
        if not samples:
            runner.logger.warning('ReconstructionHook: no image could be read; there will be no pictures')
            return None
        return mim_collate(samples)

    def _build(self, runner) -> Any:
        if self.dataset is not None:
            return SeededDataset(self.dataset)
        loader = runner.cfg.get('test_dataloader') or {}
        try:
            return SeededDataset(DATASETS.build(loader['dataset']))
        except (KeyError, FileNotFoundError, NotADirectoryError, ValueError) as error:
            if loader:
                runner.logger.info(f'ReconstructionHook shows training images: {error}')
            return runner.train_dataloader.dataset

    def _panel(self, runner, epoch: int) -> Any:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        notes = dict(
            epoch=epoch,
            iter=runner.iter,
            seed=self.seed,
            caption=f'{type(model).__name__}, epoch {epoch}, iteration {runner.iter}',
        )
        with own_generators(self.seed):
            return reconstruction_panel(model, self.batch, runner.optim_wrapper, self.visible_statistics, notes)

    @staticmethod
    def _write(runner, panel: Any, epoch: int) -> None:
        path = osp.join(runner.work_dir, 'reconstructions', f'epoch_{epoch:04d}.png')
        try:
            panel.save(path)
        except OSError as error:
            runner.logger.warning(f'{error}')  # a missing picture must not stop the run
        runner.visualizer.add_image('reconstruction', np.asarray(panel.draw()), step=runner.iter)


@contextmanager
def own_generators(seed: int) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's generators inside; restore their states afterwards."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []):
        randomness.seed_generators(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
