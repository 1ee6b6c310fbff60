"""Whether a run is healthy: RankMe, spread of features and loss of held-out images, and a verdict at the end."""

import os.path as osp
import time
from typing import Any, Optional

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ...datasets.samplers import SeededDataset
from ...evaluation.features import extract_features
from ...evaluation.health import Facts, judge
from ...evaluation.rankme import HeldOut
from ...registry import HOOKS
from .run_record import add_to_record, read_record
from .runtime_info import CurveFile, DeferredRuntimeInfoHook
from .validation import own_generators


@HOOKS.register_module()
class HealthHook(Hook):
    """Measures features of held-out images every few epochs, and says at the end whether the run is healthy.

    Recorded in the run's curve are the values of :meth:`mmmim.evaluation.rankme.HeldOut.measure`: RankMe, the spread of
    features, the held-out loss, the standard deviation of pixels. The verdict of :func:`mmmim.evaluation.health.judge`
    is written to ``run.json`` as ``health``. Labels are not needed; training is bit-identical with and without the
    hook, and several processes share the images.

    Args:
        interval: Epochs between measurements; the last epoch always counts.
        at_start: Also measure before training: the verdict compares with it.
        dataset: Config of the held-out images. None: the data set of ``test_dataloader``; without its images nothing is
            measured, and the log says so.
        num_images: At most so many of them, evenly spread over the data set. RankMe cannot exceed this number.
        pool: ``'mean'`` of patch tokens, ``'cls'``, or ``'cls_mean'`` of several class tokens.
        batch_size, num_workers: Of the loader.

    Raises:
        ValueError: ``num_images`` is below 2.
    """

    # after the hooks that fit the target before training, or load weights, and after run.json is there
    priority = 'LOW'

    def __init__(
        self,
        interval: int = 10,
        at_start: bool = True,
        dataset: Optional[dict] = None,
        num_images: int = 512,
        pool: str = 'mean',
        batch_size: int = 64,
        num_workers: int = 2,
    ) -> None:
        if num_images < 2:
            raise ValueError(f'num_images={num_images} must be at least 2: features of one image have no rank')
        self.interval, self.at_start, self.dataset, self.num_images = interval, at_start, dataset, num_images
        self.pool, self.batch_size, self.num_workers = pool, batch_size, num_workers
        self.loader: Optional[DataLoader] = None
        self.seconds = 0.0
        self.width = 0

    def before_train(self, runner) -> None:
        self.seconds = 0.0
        with own_generators(0):
            self.loader = self._build(runner)
        if self.at_start and runner.iter == 0:
            self._measure(runner)

    def after_train_epoch(self, runner) -> None:
        if self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner):
            self._measure(runner)

    def after_train(self, runner) -> None:
        """The verdict, from the whole curve."""
        if runner.rank or self.loader is None or runner.iter < runner.max_iters:
            return
        records = CurveFile(osp.join(runner.work_dir, 'curve.jsonl')).read()
        found = judge(records, self._facts(runner))
        found.update(iter=runner.iter, seconds=round(self.seconds, 2))
        add_to_record(runner.work_dir, 'health', found)
        runner.logger.info(f'health: {found["verdict"]}. {" ".join(found["reasons"])}')

    def _facts(self, runner) -> Facts:
        model, loader = _plain(runner), runner.train_dataloader
        return Facts(
            images=len(loader.dataset),
            views=len(loader.sampler) * get_world_size() * runner.max_epochs,
            held_out=len(self.loader.dataset),
            width=int(model.backbone.embed_dim),
            pretrained=_from_weights(runner),
            moving_target=getattr(model.target, 'moves', False),
        )

    def _build(self, runner) -> Optional[DataLoader]:
        cfg = self.dataset or (runner.cfg.get('test_dataloader') or {}).get('dataset')
        try:
            dataset = SeededDataset(cfg) if cfg else None
        except (FileNotFoundError, NotADirectoryError, ValueError):
            if self.dataset is not None:
                raise
            dataset = None
        if dataset is None:
            runner.logger.warning(
                'HealthHook measures nothing: there are no held-out images. Give `dataset`, the config of a data set '
                'of images that are not trained on'
            )
            return None
        count = min(self.num_images, len(dataset))
        chosen = [(2 * k + 1) * len(dataset) // (2 * count) for k in range(count)]
        return Runner.build_dataloader(
            dict(
                dataset=SeededDataset(dataset.get_subset(chosen)),
                batch_size=self.batch_size,
                num_workers=self.num_workers,
                sampler=dict(type='mmmim.EpochSampler', shuffle=False, pad=True),
                collate_fn=dict(type='mmmim.mim_collate'),
                worker_init_fn=dict(type='mmmim.start_worker'),
            )
        )

    def _measure(self, runner) -> None:
        if self.loader is None:
            return
        began = time.monotonic()
        model = HeldOut(_plain(runner))
        with own_generators(0):
            rows, _ = extract_features(model, self.loader, self.pool, runner.optim_wrapper)
        metrics = model.measure(rows)
        self.seconds += time.monotonic() - began
        runner.visualizer.add_scalars(metrics, step=runner.iter)
        for hook in runner.hooks:
            if isinstance(hook, DeferredRuntimeInfoHook):
                hook.record(runner, metrics)
        shown = ', '.join(f'{name.partition("/")[2]} {value:.4g}' for name, value in metrics.items())
        runner.logger.info(f'health of {len(rows)} held-out images in {time.monotonic() - began:.1f} s: {shown}')


def _from_weights(runner) -> bool:
    """Whether training began with weights: by ``start`` in ``run.json``, else by the config."""
    start = read_record(runner.work_dir).get('start')
    if isinstance(start, dict) and start.get('kind'):
        return start['kind'] != 'random'
    # where a run resumes, load_from is its own checkpoint
    return bool(_plain(runner).backbone.init_cfg or (runner.cfg.get('load_from') and not runner.cfg.get('resume')))


def _plain(runner) -> Any:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
