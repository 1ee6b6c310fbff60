"""Losses stay on the device until the log is written; then they are checked, averaged over ranks and recorded."""

import json
import math
import numbers
import os
from collections import deque
from typing import Any, Dict, List, NamedTuple, Optional

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from torch import Tensor
from torch import distributed as torch_dist

from ...checkpoint import atomic_write_text
from ...registry import HOOKS


class NonFiniteLossError(RuntimeError):
    """A loss became infinite or NaN."""


class _Step(NamedTuple):
    """The values of one iteration, kept until the log is written."""

    iter: int
    epoch: int
    values: Dict[str, Tensor]
    lr: Dict[str, float]
    paths: List[str]


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """MMEngine's runtime info hook without a device synchronisation in every iteration.

    At the logger's interval (and at the end of an epoch, and before a checkpoint is written) the values of all
    iterations since then are fetched at once, averaged over the ranks, handed to the log, and appended to
    ``curve.jsonl`` in the work dir, one line per iteration. A resumed run truncates that file to where it starts, so
    that its curve has no gap and no iteration twice.

    A loss that is not finite ends the run on all ranks, before anything is saved. ``non_finite.json`` in the work dir
    then names the iteration, the files in the batches since the last read, and the last finite losses.

    Args:
        keep_last: How many finite losses the report lists.
    """

    def __init__(self, keep_last: int = 20) -> None:
        super().__init__()
        self.pending: List[_Step] = []
        self.interval = 10
        self.last_finite: deque = deque(maxlen=keep_last)
        self.curve: Optional[CurveFile] = None

    def before_train(self, runner) -> None:
        super().before_train(runner)
        self.interval = next((h.interval for h in runner.hooks if isinstance(h, LoggerHook)), self.interval)
        if runner.rank == 0:
            self.curve = CurveFile(os.path.join(runner.work_dir, 'curve.jsonl'))
            self.curve.cut_after(runner.iter)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: Any = None, outputs: Optional[Dict[str, Tensor]] = None
    ) -> None:
        values = {k: v.detach() for k, v in (outputs or {}).items() if isinstance(v, Tensor)}
        lr = {name: value[0] for name, value in runner.optim_wrapper.get_lr().items() if name != 'base_lr'}
        self.pending.append(_Step(runner.iter + 1, runner.epoch + 1, values, lr, batch_paths(data_batch)))
        if self.every_n_inner_iters(batch_idx, self.interval) or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self.flush(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        # rank 0 alone saves; the checkpoint hook has flushed all ranks before
        if self.pending:
            raise RuntimeError('values of some iterations were not read before a checkpoint: call flush() first')

    def after_train(self, runner) -> None:
        super().after_train(runner)
        self.flush(runner)

    def flush(self, runner) -> None:
        """Read all values since the last call; on all ranks together."""
        steps, self.pending = self.pending, []
        tensors = [value for step in steps for value in step.values.values()]
        if not tensors:
            return
        local = torch.stack([t.to(torch.promote_types(t.dtype, torch.float32)) for t in tensors])
        mean = local
        if get_world_size() > 1:
            mean = local.clone()
            torch_dist.all_reduce(mean)
            mean = mean / get_world_size()
        values, local_values = iter(mean.tolist()), iter(local.tolist())
        records = []
        for step in steps:
            record = {key: next(values) for key in step.values}
            own = {key: next(local_values) for key in step.values}
            bad = [key for key, value in record.items() if 'loss' in key and not math.isfinite(value)]
            if bad:
                self._write_curve(records)
                self._stop(runner, step, steps, own)
            self.last_finite.append(dict(iter=step.iter, **record))
            for key, value in record.items():
                runner.message_hub.update_scalar(f'train/{key}', value)
            records.append(dict(iter=step.iter, epoch=step.epoch, **step.lr, **record))
        self._write_curve(records)

    def after_val_epoch(self, runner, metrics: Optional[Dict[str, float]] = None) -> None:
        super().after_val_epoch(runner, metrics)
        self.flush(runner)  # validation follows training in the curve
        self.record(runner, metrics)

    def record(self, runner, metrics: Optional[Dict[str, float]]) -> None:
        """Add metrics (an accuracy, a held-out loss) to the curve at the current iteration."""
        values = {k: float(v) for k, v in (metrics or {}).items() if isinstance(v, numbers.Real)}
        if values and self.curve is not None:
            epoch = -(-runner.iter // len(runner.train_dataloader))  # the epoch of that iteration, from 1
            self.curve.replace(dict(iter=runner.iter, epoch=epoch, **values))

    def _write_curve(self, records: List[dict]) -> None:
        if self.curve is not None:
            self.curve.append(records)

    def _stop(self, runner, step: _Step, steps: List[_Step], own: Dict[str, float]) -> None:
        since = [dict(iter=s.iter, files=s.paths) for s in steps if s.iter <= step.iter]
        path = os.path.join(runner.work_dir, f'non_finite{f"_rank{runner.rank}" if runner.rank else ""}.json')
        report = dict(
            iter=step.iter,
            epoch=step.epoch,
            rank=runner.rank,
            values={k: str(v) for k, v in own.items()},
            learning_rate=step.lr,
            last_finite=list(self.last_finite),
            batches=since,
        )
        atomic_write_text(path, json.dumps(report, indent=1))
        names = ', '.join(step.paths[:3]) or 'unknown'
        raise NonFiniteLossError(
            f'the loss of iteration {step.iter} is not finite: {own}. Files of its batch: {names}'
            f'{" ..." if len(step.paths) > 3 else ""}; all of them, and the last finite losses, are in {path}. A lower '
            'learning rate, gradient clipping (optim_wrapper.clip_grad) or dtype=float32 may help; nothing was saved '
            'after the last good checkpoint'
        )


def batch_paths(data_batch: Any) -> List[str]:
    """File names in a batch, or in a list of batches."""
    batches = data_batch if isinstance(data_batch, (list, tuple)) else [data_batch]
    samples = [s for batch in batches if isinstance(batch, dict) for s in batch.get('data_samples') or []]
    return [str(s.get('img_path', '')) for s in samples]


class CurveFile:
    """Append-only lines ``{"iter": 10, "epoch": 1, "loss": 0.7, ...}``, in order."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self) -> List[Dict[str, Any]]:
        """All complete lines; a line truncated by a crash is left out."""
        if not os.path.exists(self.path):
            return []
        records = []
        with open(self.path) as file:
            for line in file:
                try:
                    records.append(json.loads(line))
                except ValueError:
                    continue
        return records

    def cut_after(self, last_iter: int) -> None:
        """Drop the lines after ``last_iter``: a run that resumes there records them again."""
        if os.path.exists(self.path):
            kept = [record for record in self.read() if record['iter'] <= last_iter]
            atomic_write_text(self.path, ''.join(json.dumps(record) + '\n' for record in kept))

    def replace(self, record: Dict[str, Any]) -> None:
        """Append metrics; earlier ones of the same names at the same iteration are removed (a resumed run)."""
        values = set(record) - {'iter', 'epoch'}
        records = self.read()
        kept = [old for old in records if old['iter'] != record['iter'] or not values & set(old)]
        if len(kept) < len(records):
            atomic_write_text(self.path, ''.join(json.dumps(old) + '\n' for old in kept))
        self.append([record])

    def append(self, records: List[Dict[str, Any]]) -> None:
        if records:
            with open(self.path, 'a') as file:
                file.write(''.join(json.dumps(record) + '\n' for record in records))
