"""Unreadable images: replaced by the data set or the data preprocessor, counted and reported here."""

import os
import os.path as osp
from typing import Any, Dict, Optional

import torch.distributed as torch_dist
from mmengine.hooks import Hook

from ...checkpoint import atomic_write_text
from ...datasets.io.list_lines import list_line, parse_line
from ...registry import HOOKS
from ..processes import HostChannel


class TooManyBadImagesError(RuntimeError):
    """More images were unreadable than the run allows."""


@HOOKS.register_module()
class BadImagesHook(Hook):
    """Collects unreadable images (``replaced`` of the data samples), lists them in ``bad_images.txt``, and stops a run
    with too many.

    Args:
        max_share: Largest share of the data set that may be unreadable; unreadable images are counted from the start of
            the run. All ranks stop together, at the next check.
        interval: Iterations between checks.
    """

    def __init__(self, max_share: float = 0.01, interval: int = 10) -> None:
        if not 0 <= max_share <= 1:
            raise ValueError(f'max_share={max_share} must lie in [0, 1]')
        self.max_share, self.interval = max_share, interval
        self.bad: Dict[str, str] = {}
        self.reported = 0

    def before_train(self, runner) -> None:
        self.channel = HostChannel()
        path = self._list(runner)
        if runner.iter and osp.exists(path):  # resumed: earlier findings still count
            with open(path, encoding='utf-8') as file:
                lines = [line.rstrip('\n').split('\t', 1) for line in file if '\t' in line]
            self.bad = {parse_line(name)[0]: reason for name, reason in lines}
            self.reported = len(self.bad)
        self.channel.sum([0])  # barrier: all ranks have read it before rank 0 writes
        if not runner.iter and runner.rank == 0 and osp.exists(path):
            os.remove(path)  # of another run in this work dir

    @staticmethod
    def _list(runner) -> str:
        return osp.join(runner.work_dir, 'bad_images.txt')

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: Optional[dict] = None) -> None:
        for batch in data_batch if isinstance(data_batch, (list, tuple)) else [data_batch]:
            for sample in (batch or {}).get('data_samples') or []:
                for path, reason in sample.get('replaced') or []:
                    self.bad.setdefault(str(path), str(reason))
        # by batch_idx all ranks check at the same time, wherever the run resumed
        if self.every_n_inner_iters(batch_idx, self.interval) or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self._check(runner)

    def _check(self, runner) -> None:
        if not self.channel.sum([len(self.bad) - self.reported])[0]:
            return
        self._merge()
        self.reported = len(self.bad)
        length = len(runner.train_dataloader.dataset)
        if runner.rank == 0:
            lines = [f'{list_line(path)}\t{" ".join(reason.split())}\n' for path, reason in sorted(self.bad.items())]
            atomic_write_text(self._list(runner), ''.join(lines))
        if len(self.bad) > self.max_share * length:
            first = ', '.join(sorted(self.bad)[:3])
            raise TooManyBadImagesError(
                f'{len(self.bad)} of {length} images are unreadable, more than the {self.max_share:.1%} allowed '
                f'(first: {first}). All are listed in {self._list(runner)}. Repair or remove '
                'them, or allow more with default_hooks.bad_images.max_share'
            )

    def _merge(self) -> None:
        """Share the findings of each rank with all ranks."""
        if self.channel.active:
            found = [None] * torch_dist.get_world_size()
            torch_dist.all_gather_object(found, self.bad, group=self.channel.group)
            self.bad = {path: reason for part in found for path, reason in part.items()}

    def after_train_epoch(self, runner) -> None:
        if self.bad:
            runner.logger.warning(f'{len(self.bad)} unreadable images were replaced so far; see {self._list(runner)}')
