"""Checkpoints that survive a crash at any moment, and the encoder alone, for use elsewhere."""

import json
import os
import os.path as osp
import signal
import sys
import time
from contextlib import suppress
from typing import Any, Dict, List, Optional

import torch
from mmengine.dist import master_only
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import nn

from ...checkpoint import atomic_write_bytes, atomic_write_text, export_encoder, remove_stale_temporaries
from ...checkpoint.newest import POINTER, seen_problem, set_aside
from ...checkpoint.timm_config import write_timm_config
from ...registry import HOOKS
from ..processes import HostChannel
from .runtime_info import DeferredRuntimeInfoHook, NonFiniteLossError

# exit code after a stop signal: run again with --resume (EX_TEMPFAIL of sysexits.h)
EXIT_ASKED_TO_STOP = 75
# Of encoder.safetensors: the weights of the start, the best on the way by k-NN, and the last where another one was
# exported. In a folder of their own: timm could read them in the place of encoder.safetensors.
START_ENCODER, BEST_ENCODER, LAST_ENCODER = (f'candidates/{name}.safetensors' for name in ('start', 'best', 'last'))


class AtomicBackend(LocalBackend):
    """MMEngine's local file backend with an atomic ``put``: it replaces the whole file or nothing."""

    def put(self, obj: bytes, filepath: str) -> None:
        os.makedirs(osp.dirname(osp.abspath(filepath)), exist_ok=True)
        atomic_write_bytes(obj, str(filepath))


register_backend('mmmim_atomic', AtomicBackend, force=True)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's checkpoint hook, safe against crashes, with more intervals, and a handler of SIGTERM and Ctrl-C.

    A checkpoint is written to a temporary file and renamed; then the pointer ``last_checkpoint`` moves in the same
    way; then old checkpoints are removed. Those that are further in the run than the place where training begins (of
    an older run, or broken) are moved to ``earlier_N`` in their folder, so that no resume takes them for this run's.
    On SIGTERM or Ctrl-C the run saves after the current iteration, on all ranks together, and ends with exit code 75.
    ``save_best`` works as in MMEngine.

    Args:
        interval: Epochs (iterations with ``by_epoch=False``) between checkpoints; -1 for none.
        by_epoch: The unit of ``interval``.
        interval_iters: Iterations between additional checkpoints, in mid-epoch.
        interval_minutes: Minutes after the last checkpoint for another one, in mid-epoch.
        max_keep_ckpts: Number of checkpoints kept; -1 keeps all.
        **kwargs: As MMEngine's ``CheckpointHook``.
    """

    def __init__(
        self,
        interval: int = 1,
        by_epoch: bool = True,
        interval_iters: int = -1,
        interval_minutes: float = -1,
        max_keep_ckpts: int = 2,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault('backend_args', dict(backend='mmmim_atomic'))
        super().__init__(interval=interval, by_epoch=by_epoch, max_keep_ckpts=max_keep_ckpts, **kwargs)
        if self.args:  # MMEngine would pass them on only when it saves, hours later
            raise TypeError(f'AtomicCheckpointHook has no key {", ".join(map(repr, sorted(self.args)))}')
        self.interval_iters = interval_iters if by_epoch else interval
        self.interval_minutes = interval_minutes
        self.stop_requested = False
        self.saved_iter = -1

    def before_train(self, runner) -> None:
        super().before_train(runner)
        # names only, in this folder only: a run that is resumed into another folder leaves the old one untouched
        names = runner.message_hub.runtime_info.get('kept_checkpoints', [])
        self.kept: List[str] = (
            [name for name in names if osp.isfile(osp.join(self.out_dir, name))] if self._continues_here(runner) else []
        )
        self.last_time, self.saved_iter = time.monotonic(), runner.iter
        self.channel = HostChannel()
        self._listen()
        self.channel.sum([0])  # barrier: all ranks have read the checkpoint that they start from
        if runner.rank == 0:
            self._clear_the_way(runner)

    def _clear_the_way(self, runner) -> None:
        """Nothing that is left in the folders may be resumed by mistake."""
        if not runner.iter:
            with suppress(FileNotFoundError):
                os.remove(osp.join(runner.work_dir, POINTER))
        for folder in {osp.abspath(folder) for folder in (self.out_dir, runner.work_dir)}:
            remove_stale_temporaries(folder)
            aside = set_aside(folder, runner.iter, runner.epoch)
            if aside:
                runner.logger.info(f'Checkpoints that are further than this start were moved to {aside}')

    def _continues_here(self, runner) -> bool:
        last = runner.message_hub.runtime_info.get('last_ckpt')
        return bool(last) and osp.isfile(osp.join(self.out_dir, osp.basename(last)))

    def _listen(self) -> None:
        def request_stop(signum: int, frame: Any) -> None:
            asked_before, self.stop_requested = self.stop_requested, True
            if signum == signal.SIGINT:
                if asked_before:
                    raise KeyboardInterrupt
                _say('\nStopping after this iteration; it is saved first (Ctrl-C again: at once, unsaved)')

        self._old_handlers = {}
        try:
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._old_handlers[signum] = signal.signal(signum, request_stop)
        except ValueError:  # not in the main thread: the calling program handles signals
            pass

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: Optional[dict] = None) -> None:
        done = runner.iter + 1
        late = 0 < self.interval_minutes * 60 <= time.monotonic() - self.last_time
        # clocks and signals differ between ranks: all do what one requests (on the hosts, without waiting for a device)
        stop, save = self.channel.sum([int(self.stop_requested), int(late and runner.rank == 0)])
        if stop:
            self._save_and_exit(runner, done)
        if save or (self.interval_iters > 0 and done % self.interval_iters == 0):
            self._save(runner, f'iter_{done}.pth', runner.epoch, done)

    def after_train_epoch(self, runner) -> None:
        if not self.by_epoch:
            return
        epoch = runner.epoch + 1
        due = self.every_n_epochs(runner, self.interval, self.save_begin)
        if due or (self.save_last and self.is_last_train_epoch(runner)):
            self._save(runner, f'epoch_{epoch}.pth', epoch, runner.iter)

    def after_train(self, runner) -> None:
        if self.save_last and self.saved_iter != runner.iter:  # a run that ends in mid-epoch
            self._save(runner, f'iter_{runner.iter}.pth', runner.epoch, runner.iter)
        super().after_train(runner)
        self.release(runner)

    def release(self, runner) -> None:
        """Restore the signal handlers; the loop calls it too, however training ends."""
        for signum, handler in getattr(self, '_old_handlers', {}).items():
            if handler is not None:
                signal.signal(signum, handler)
        self._old_handlers = {}

    def _save_and_exit(self, runner, done: int) -> None:
        """Save a checkpoint after ``done`` iterations, and exit with code 75."""
        if self.saved_iter != done:
            self._save(runner, f'iter_{done}.pth', runner.epoch, done)
        self.channel.sum([0])  # barrier: a launcher ends all ranks as soon as one exits, so rank 0 has to save first
        print_log(f'Asked to stop: saved after iteration {done}. Continue with --resume.', 'current')
        _say('', end='')  # flush the buffer
        raise SystemExit(EXIT_ASKED_TO_STOP)

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        self._save(runner, self.filename_tmpl.format(step), meta['epoch'], meta['iter'])  # MMEngine's ``save_best``

    def _save(self, runner, name: str, epoch: int, done: int) -> None:
        """Write the checkpoint, then move the pointer, then remove old checkpoints."""
        for hook in runner.hooks:
            if isinstance(hook, DeferredRuntimeInfoHook):
                hook.flush(runner)  # a loss that is not finite ends the run here, before it is saved
        _check_weights(runner.model)
        path = osp.join(self.out_dir, name)
        self.kept = [old for old in self.kept if old != name] + [name]
        runner.message_hub.update_info('kept_checkpoints', list(self.kept))
        runner.message_hub.update_info('last_ckpt', path)
        self.last_ckpt = path
        runner.logger.info(f'Saving checkpoint {name}')
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=dict(epoch=epoch, iter=done),
            by_epoch=False,
            backend_args=self.backend_args,
            **self.args,
        )
        if runner.rank == 0:
            atomic_write_text(osp.join(runner.work_dir, POINTER), path)
        while 0 < self.max_keep_ckpts < len(self.kept):
            old = osp.join(self.out_dir, self.kept.pop(0))
            if runner.rank == 0 and osp.isfile(old) and not seen_problem(path):  # one whole file always stays
                os.remove(old)
        self.last_time, self.saved_iter = time.monotonic(), done


def _say(message: str, end: str = '\n') -> None:
    """Print and flush. Errors are ignored: the reader may have ended by the same Ctrl-C (``| tee``), or the signal came
    during a write; neither may prevent saving."""
    with suppress(OSError, ValueError, RuntimeError, AttributeError):  # the last: stdout was replaced by another object
        try:
            print(message, end=end, flush=True)
        except BrokenPipeError:  # the buffer would fail again at exit, and change the exit code
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_weights(model: nn.Module) -> None:
    """Check that weights are finite before they replace good ones: a finite loss can have an infinite gradient.

    All ranks hold the same weights and stop together.
    """
    finite = torch.stack([p.detach().isfinite().all() for p in model.parameters()])
    if not bool(finite.all()):
        raise NonFiniteLossError(
            'some weights are not finite though the losses were: nothing was saved after the last '
            'good checkpoint. A lower learning rate or gradient clipping '
            '(optim_wrapper.clip_grad) may help'
        )


@HOOKS.register_module()
class ExportEncoderHook(Hook):
    """Writes ``encoder.safetensors`` to the work dir after training: timm's names, the config in the metadata.

    Where timm has such an encoder, ``config.json`` beside it tells timm what it is.

    Args:
        filename: Name of the file in the work dir.
    """

    priority = 'LOWEST'

    def __init__(self, filename: str = 'encoder.safetensors') -> None:
        self.filename = filename
        self.began = 0

    def before_train(self, runner) -> None:
        self.began = runner.iter

    @master_only
    def after_train(self, runner) -> None:
        path = osp.join(runner.work_dir, self.filename)
        if runner.iter == self.began and osp.isfile(path):
            return  # a finished run that is resumed: a better encoder may have been put there since
        export_run(runner, path)
        runner.logger.info(f'The encoder was exported to {path}')
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        mean, std = model.data_preprocessor.mean, model.data_preprocessor.std
        share = crop_share(test_pipeline(runner.cfg))
        runner.logger.info(write_timm_config(path, model.backbone, mean, std, share))
        with suppress(FileNotFoundError):  # of what the run had come to before
            os.remove(osp.join(runner.work_dir, LAST_ENCODER))


def export_run(runner, path: str, **facts: Any) -> None:
    """Write the encoder of a run as it is now, with what it started from: the licences go on with the weights."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    config = dict(
        backbone=dict(runner.cfg.model.backbone),
        mean=list(model.data_preprocessor.mean),
        std=list(model.data_preprocessor.std),
        algorithm=type(model).__name__,
        iterations=runner.iter,
        pipeline=test_pipeline(runner.cfg),
        **origin(runner.cfg),
        **facts,
    )
    os.makedirs(osp.dirname(path), exist_ok=True)
    export_encoder(model.backbone.state_dict(), path, config)


def test_pipeline(cfg: Any) -> List[Dict[str, Any]]:
    """The transforms that evaluation reads images with, as plain values; empty without a test data set."""
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    while isinstance(dataset.get('dataset'), dict):  # inside wrappers
        dataset = dataset['dataset']
    return json.loads(json.dumps(dataset.get('pipeline') or [], default=str))


def crop_share(pipeline: List[Dict[str, Any]]) -> float:
    """Which share of an image's shorter side a pipeline's central crop takes."""
    crops = [step for step in pipeline if str(step.get('type')).endswith('CenterCrop')]
    return crops[-1].get('ratio', 0.875) if crops else 0.875


def origin(cfg: Any) -> Dict[str, Dict[str, str]]:
    """What a run starts from, and whose features it learns, each with its licence: ``start`` and ``teacher``."""
    return {key: dict(cfg[key]) for key in ('start', 'teacher') if cfg.get(key)}
