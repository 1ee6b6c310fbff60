"""Facts of the run in a checkpoint, and the check whether this run may resume from it."""

import difflib
from typing import Any, Dict, List

import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict

from ...checkpoint.config_text import ConfigTextError, parse_config_text
from ...checkpoint.defaults import CHANGED
from ...config.schedule import without_derived
from ...registry import HOOKS
from ..rates import STRETCH, other_rates, stretch
from .load_from import other_defaults

# length of the smoothing window; the whole curve is in curve.jsonl
HISTORY = 1000


class ResumeError(RuntimeError):
    """The checkpoint belongs to another kind of run."""


@HOOKS.register_module()
class RunStateHook(Hook):
    """Keeps checkpoints plain, and checks a resume.

    - When saving: MMEngine's histories become plain lists (its own objects would need ``getattr`` on the loader's
      allow-list), and the facts of the run are added under ``'mmmim'``.
    - When resuming: another model structure, optimizer, data set length, number of images in a step or of steps in an
      epoch, other rates, another schedule or weight decay, or a default that has changed since
      (checkpoint/defaults.py), is an error that names both values and lists the differences in the config; without such
      an error they are a warning. ``resume_schedule='stretch'`` goes on with the schedule of the config. The stored
      config is compared as text and never executed. The number of processes may be another one where the loop draws the
      same images with any.

    Args:
        guard: If False, only histories are made plain: for models and loops of other toolboxes, with their own resume.
    """

    priority = 'VERY_HIGH'

    def __init__(self, guard: bool = True) -> None:
        self.guard = guard
        self.loaded = dict(iter=0, epoch=0)  # of the loaded checkpoint; None if it does not state them

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        hub = checkpoint['message_hub']
        hub['log_scalars'] = {name: _plain(buffer) for name, buffer in hub['log_scalars'].items()}
        hub['resumed_keys'] = dict(hub['resumed_keys'])
        hub['runtime_info'] = {k: v.item() if isinstance(v, np.generic) else v for k, v in hub['runtime_info'].items()}
        if self.guard:
            checkpoint['mmmim'] = dict(run_facts(runner), changed_defaults=len(CHANGED))

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        meta = checkpoint.get('meta')
        self.loaded = {key: meta.get(key) if isinstance(meta, dict) else None for key in ('iter', 'epoch')}
        if getattr(runner, '_resume', False) and runner._train_loop is not None:
            if self.guard:
                self._check(runner, checkpoint)
            hub = checkpoint['message_hub']
            hub['log_scalars'] = {
                name: HistoryBuffer(**saved) if isinstance(saved, dict) else saved
                for name, saved in hub['log_scalars'].items()
            }  # others were saved without this hook

    def _check(self, runner, checkpoint: dict) -> None:
        absent = {'meta', 'state_dict', 'message_hub', 'mmmim', 'optimizer'} - set(checkpoint)
        if absent:
            raise ResumeError(
                f'this file cannot be resumed: it has no {", ".join(sorted(absent))}. To start from its '
                'weights, use load_from=PATH without --resume'
            )
        problems = _state_differences(checkpoint['state_dict'], _module(runner).state_dict())
        now = run_facts(runner)
        saved = {
            'repeat_crops': 1,
            'total_batch': now.get('total_batch'),
            **checkpoint['mmmim'],
        }  # older ones lack them
        problems += [
            f'{name}: the checkpoint has {saved.get(name)}, this run {now[name]}'
            for name in now
            if saved.get(name) != now[name]
        ]
        problems += other_defaults(checkpoint, runner.cfg)
        changes = _config_changes(runner, checkpoint['meta'])
        listed = ''.join(['\nThe config differs (- then, + now):'] * bool(changes) + changes)
        if problems:
            raise ResumeError(
                'the checkpoint belongs to another run and cannot be resumed:\n  '
                + '\n  '.join(problems)
                + '\nResume with the config and data that wrote it, or start anew from its weights with load_from=PATH '
                '(without --resume)' + listed
            )
        _settle_rates(runner, checkpoint, listed)
        if changes:
            runner.logger.warning(
                f'The config differs from the one in the checkpoint (- then, + now).{"".join(changes)}'
            )


def _settle_rates(runner, checkpoint: Dict[str, Any], changes: str) -> None:
    """MMEngine resumes rates, schedule and weight decay of the checkpoint: others in the config are an error, or with
    ``resume_schedule='stretch'`` those of the run from here on."""
    other, wanted = other_rates(runner, checkpoint, _stored(checkpoint['meta'])), runner.cfg.get('resume_schedule')
    if wanted not in (None, 'stretch'):
        raise ValueError(f"resume_schedule={wanted!r}: 'stretch', or None for the checkpoint's own")
    if other and wanted == 'stretch':
        stretch(runner, checkpoint)
        runner.logger.info('The rates from here on are those of this config: ' + '; '.join(other))
    elif other:
        raise ResumeError(
            'a resumed run keeps the rates and the schedule of its checkpoint, and this config has others:\n  '
            + '\n  '.join(other)
            + f'\n{STRETCH}. Or set the keys as they were; or start anew from its weights with load_from=PATH (without '
            f'--resume){changes}'
        )


def _stored(meta: Dict[str, Any]) -> Config:
    """The config in a checkpoint; empty where it is more than plain values."""
    try:
        return Config(parse_config_text(str(meta.get('cfg_text', ''))))
    except ConfigTextError:
        return Config()


def _config_changes(runner, meta: Dict[str, Any]) -> List[str]:
    """Lines of the config that differ from the checkpoint's, each after a line break; none without a config in it.

    What follows from other keys is left out: another number of processes is no difference.
    """
    old, now = str(meta.get('cfg_text', '')), runner.cfg.pretty_text
    then = _stored(meta)
    if then:
        old, now = (without_derived(cfg).pretty_text for cfg in (then, runner.cfg))
    changes = [
        f'\n{line}'
        for line in difflib.unified_diff(old.splitlines(), now.splitlines(), n=0, lineterm='')
        if line[:1] in '+-'
        and line[:3] not in ('+++', '---')
        and not line[1:].startswith(('resume', 'load_from', 'work_dir', 'source', 'launcher'))
    ]
    return changes[:60] if old else []


def run_facts(runner) -> Dict[str, Any]:
    """Facts that must agree for a run to resume from a checkpoint."""
    loader, images = runner.train_dataloader, getattr(runner.train_loop, 'samples_per_step', None)
    # what other toolboxes' samplers draw depends on the number of processes
    share = dict(world_size=runner.world_size) if images is None else dict(total_batch=images * runner.world_size)
    return dict(
        **share,
        dataset_length=len(loader.dataset),
        steps_per_epoch=len(loader),
        repeat_crops=getattr(loader.sampler, 'repeat_crops', 1),
        optimizer=_optimizer_facts(runner.optim_wrapper),
    )


def _optimizer_facts(optim_wrapper: Any) -> Any:
    if isinstance(optim_wrapper, OptimWrapperDict):
        return {name: _optimizer_facts(wrapper) for name, wrapper in optim_wrapper.items()}
    optimizer = optim_wrapper.optimizer
    return [type(optimizer).__name__, [len(group['params']) for group in optimizer.param_groups]]


def _module(runner) -> Any:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _plain(buffer: HistoryBuffer) -> dict:
    values, counts = buffer.data
    return dict(log_history=values[-HISTORY:].tolist(), count_history=counts[-HISTORY:].tolist())


def _state_differences(saved: Dict[str, Any], own: Dict[str, Any]) -> List[str]:
    problems = []
    for title, keys in (
        ('missing in the checkpoint', set(own) - set(saved)),
        ('not in this model', set(saved) - set(own)),
    ):
        if keys:
            problems.append(f'model: {len(keys)} parameters {title}: {", ".join(sorted(keys)[:5])}')
    shapes = [
        f'{k} {list(saved[k].shape)} against {list(own[k].shape)}'
        for k in own
        if k in saved and saved[k].shape != own[k].shape
    ]
    if shapes:
        problems.append(
            f'model: {len(shapes)} parameters of another shape (checkpoint against model): {", ".join(shapes[:5])}'
        )
    return problems
