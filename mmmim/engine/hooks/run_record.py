"""Record of a run in its work dir: ``run.json``."""

import datetime
import json
import os
import os.path as osp
import shlex
import sys
from contextlib import suppress
from typing import Any, Dict, List, Optional, Sequence

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict

from ...checkpoint import CheckpointWriteError, atomic_write_text
from ...config.schedule import batches_per_step
from ...registry import HOOKS
from ..hardware import hardware, versions
from .checkpoint import origin
from .run_start import start_lines

# facts of add_to_record that a run comes to, and the origin of an earlier one
RESULTS = ('smaller_passes', 'health', 'kept', 'layer', 'layer_note', 'layer_accuracy', 'start', 'teacher')


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Writes ``run.json`` to the work dir: command, sizes, data, hardware, versions, and the speed of each session.

    What depends on the number of processes or on missing hardware is also said in the log (``at_start``).

    A session lasts from a start to its end; a resumed run adds one. The file is updated at the end of every epoch, with
    every checkpoint, and whenever training ends.
    """

    priority = 'LOW'

    def __init__(self) -> None:
        self.record: Dict[str, Any] = {}
        self.seconds = self.data_seconds = 0.0
        self.done = 0

    def before_train(self, runner) -> None:
        self.seconds = self.data_seconds = 0.0
        self.done = runner.iter
        if runner.rank != 0:
            return
        facts = run_facts(runner)
        facts['at_start'] = start_lines(runner, facts)
        runner.logger.info('\n'.join(['This run:', *(f'  {line}' for line in facts['at_start'])]))
        self.path = osp.join(runner.work_dir, 'run.json')
        self.session = dict(
            started=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
            from_iter=runner.iter,
            processes=get_world_size(),
            to_iter=runner.iter,
            seconds=0.0,
            images_per_second=None,
            data_share=None,
        )
        self.record = dict(facts, sessions=[*self._earlier(runner.iter), self.session], finished=False)
        self._write(without=RESULTS if runner.iter < last_iteration(runner) else ())

    def _earlier(self, resumed_at: int) -> List[dict]:
        """Earlier sessions of a resumed run; iterations after the checkpoint are repeated and not counted."""
        if not resumed_at:
            return []
        try:
            sessions = read_record(osp.dirname(self.path))['sessions']
            return [self._cut(session, resumed_at) for session in sessions if session['from_iter'] < resumed_at]
        except (KeyError, TypeError):  # damaged or not ours: a record is no reason to stop
            return []

    @staticmethod
    def _cut(session: dict, resumed_at: int) -> dict:
        done = session['to_iter'] - session['from_iter']
        kept = min(session['to_iter'], resumed_at) - session['from_iter']
        return dict(
            session, to_iter=session['from_iter'] + kept, seconds=session['seconds'] * kept / done if done else 0.0
        )

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: Optional[dict] = None) -> None:
        self.seconds += runner.message_hub.get_scalar('train/time').current()
        self.data_seconds += runner.message_hub.get_scalar('train/data_time').current()
        self.done = runner.iter + 1  # a run that is stopped saves and exits before the loop counts this one

    def after_train_epoch(self, runner) -> None:
        self._update(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        with suppress(CheckpointWriteError):  # the checkpoint comes first, and raises its own error
            self._update(runner)

    def after_train(self, runner) -> None:
        self._update(runner)

    def after_run(self, runner) -> None:
        if self.record and runner.rank == 0:  # now all files that other hooks write after training exist
            self.record['finished'] = runner.iter >= last_iteration(runner)
            self._write()

    def release(self, runner) -> None:
        """The loop calls it however training ends."""
        with suppress(CheckpointWriteError):  # if a full disk ended the run, that error is the one to show
            self._update(runner)

    def _update(self, runner) -> None:
        if not self.record or runner.rank != 0:
            return
        steps = self.done - self.session['from_iter']
        images = steps * self.record['batch'] * self.record['accumulation'] * self.record['processes']
        self.session.update(to_iter=self.done, seconds=round(self.seconds, 2))
        if self.seconds:
            self.session.update(
                images_per_second=round(images / self.seconds, 2), data_share=round(self.data_seconds / self.seconds, 4)
            )
        self._write()

    def _write(self, without: Sequence[str] = ()) -> None:
        # beside ours: what add_to_record has added meanwhile
        others = {key: value for key, value in read_record(osp.dirname(self.path)).items() if key not in without}
        atomic_write_text(self.path, json.dumps({**others, **self.record}, indent=1))


def read_record(work_dir: str) -> Dict[str, Any]:
    """``run.json`` of a work dir; ``{}`` where there is none, or a damaged one."""
    try:
        with open(osp.join(work_dir, 'run.json')) as file:
            record = json.load(file)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def add_to_record(work_dir: str, key: str, value: Any) -> None:
    """Add a fact to ``run.json``, before, during or after training; what else stands there stays.

    It also stays when :class:`RunRecordHook` writes the file again, unless the hook has a fact of that name itself. A
    run that begins drops what an earlier one in its work dir came to (:data:`RESULTS`). Call it in one process alone.

    Args:
        work_dir: Of the run; made where it is not there.
        key: Such as ``'health'``.
        value: What JSON can hold.

    Raises:
        CheckpointWriteError: The file cannot be written; an earlier one is untouched.
    """
    record = dict(read_record(work_dir), **{key: value})
    atomic_write_text(osp.join(work_dir, 'run.json'), json.dumps(record, indent=1))


def last_iteration(runner) -> int:
    """Where a run ends: the loop's ``max_iters`` may come before the end of its schedule."""
    return getattr(runner.train_loop, 'stop_at', runner.max_iters)


def run_facts(runner) -> Dict[str, Any]:
    """Facts that are constant during a run.

    ``batch`` is the batch size of one process; ``accumulation`` is how many of them an iteration of the loop takes, and
    ``passes`` how many an optimizer step does: MMEngine's optimizer wrapper accumulates over iterations.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    loader = runner.train_dataloader
    parameters = {
        name: sum(p.numel() for p in part.parameters() if p.requires_grad) for name, part in model.named_children()
    }
    source = getattr(runner.cfg, 'source', None) or runner.cfg.filename
    batch = getattr(loader, 'batch_size', None) or getattr(loader.batch_sampler, 'batch_size', 1)
    accumulation, processes = getattr(loader, 'batches_per_step', 1), get_world_size()
    by_wrapper = isinstance(runner.cfg.get('optim_wrapper'), dict)  # a runner that was built without a config has none
    passes = batches_per_step(runner.cfg) if accumulation == 1 and by_wrapper else accumulation
    return dict(
        config=osp.basename(runner.cfg.filename) if runner.cfg.filename else None,
        source=_short(source) if source else None,
        command=' '.join(shlex.quote(_short(word)) for word in sys.argv),
        method=type(model).__name__,
        parameters={name: count for name, count in parameters.items() if count},
        seed=runner.seed,
        images=len(loader.dataset),
        batch=batch,
        accumulation=accumulation,
        passes=passes,
        processes=processes,
        effective_batch=batch * passes * processes,
        steps_per_epoch=len(loader),
        max_epochs=runner.max_epochs,
        max_iters=last_iteration(runner),
        dtype=_dtype(runner.optim_wrapper),
        hardware=hardware(),
        versions=versions(),
        **(model.facts(batch * processes, accumulation) if hasattr(model, 'facts') else {}),
        **origin(runner.cfg),
    )


def _dtype(optim_wrapper: Any) -> str:
    """The precision that forward passes run in."""
    first = next(iter(optim_wrapper.values())) if isinstance(optim_wrapper, OptimWrapperDict) else optim_wrapper
    return str(getattr(first, 'dtype', 'torch.float32')).replace('torch.', '')


def _short(path: str) -> str:
    """A path as seen from the current folder when it lies below it."""
    if not osp.isabs(path):
        return path
    relative = osp.relpath(path)
    return path if relative.startswith(os.pardir) else relative
