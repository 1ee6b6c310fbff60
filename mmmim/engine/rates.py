"""Learning rate, its schedule and the optimizer's settings when a run resumes: compared, and stretched."""

import math
import warnings
from typing import Any, Dict, Iterator, List, Tuple

from mmengine.config import Config
from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop

from ..config.derived import ABSENT, same, stated

# keys at the top of a config that govern rates, and those of optimizers
_KEYS = ('base_lr', 'lr_base_batch', 'max_epochs', 'warmup_epochs', 'max_iters', 'warmup_iters', 'milestones')
_OPTIMIZER = ('lr', 'weight_decay', 'betas', 'momentum', 'eps', 'ns_steps', 'split_qkv')
_PROGRESS = ('last_step', '_global_step', '_last_value', 'base_values', 'verbose')
STRETCH = (
    'To go on with the rates of this config at the same step, as if its schedule had run from the beginning: --stretch '
    "(resume_schedule='stretch')"
)


def other_rates(runner: Any, checkpoint: Dict[str, Any], before: Config) -> List[str]:
    """Where the checkpoint's rates differ from those that this run's config describes; MMEngine takes the former.

    Args:
        runner: With its optimizer and schedulers built, at step 0.
        checkpoint: With ``optimizer`` and ``param_schedulers`` of the same structure.
        before: The config in the checkpoint; it only serves to name the keys.
    """
    found = [
        f'{name} of the {title}: the checkpoint has {then!r}, this run {now!r}'
        for title, then, now in _pairs(runner, checkpoint)
        for name, then, now in _differences(then, now)
    ]
    if not found:
        return []
    named = [
        f'{key}: the checkpoint has {_shown(before, key)}, this run {_shown(runner.cfg, key)}'
        for key in _governing(runner.cfg)
        if not same(stated(before, key), stated(runner.cfg, key))
    ]
    return named or list(dict.fromkeys(found))[:10]


def _shown(cfg: Config, key: str) -> str:
    value = stated(cfg, key)
    return str(256 if key == 'lr_base_batch' else None) if value is ABSENT else repr(value)


def _governing(cfg: Config) -> Iterator[str]:
    yield from _KEYS
    for name, part in {'': cfg.optim_wrapper, **cfg.optim_wrapper}.items():
        if isinstance(part, dict) and isinstance(part.get('optimizer'), dict):
            path = f'optim_wrapper.{name}'.rstrip('.')
            yield from (f'{path}.optimizer.{key}' for key in _OPTIMIZER if key != 'lr' or 'base_lr' not in cfg)
            yield f'{path}.paramwise_cfg'


def _by_optimizer(runner: Any, checkpoint: Dict[str, Any]) -> Iterator[Tuple[str, Any, Any, List[Any], List[Any]]]:
    """Of each optimizer: its name, the saved state and the wrapper, the saved schedulers and the objects."""
    wrapper, saved = runner.optim_wrapper, checkpoint.get('param_schedulers') or []
    own = runner.param_schedulers or []
    if not isinstance(wrapper, OptimWrapperDict):
        yield '', checkpoint['optimizer'], wrapper, saved, own
        return
    for name, part in wrapper.items():
        schedulers = [value.get(name, []) if isinstance(value, dict) else value for value in (saved, own)]
        yield name, checkpoint['optimizer'][name], part, *schedulers


def _pairs(runner: Any, checkpoint: Dict[str, Any]) -> Iterator[Tuple[str, Dict[str, Any], Dict[str, Any]]]:
    for name, state, wrapper, saved, own in _by_optimizer(runner, checkpoint):
        for then, now in zip(state['param_groups'], wrapper.optimizer.param_groups):
            yield f'optimizer {name}'.strip(), *(_initial(group) for group in (then, now))
        if len(saved) != len(own):
            yield 'param_scheduler', dict(entries=len(saved)), dict(entries=len(own))
        for place, (then, scheduler) in enumerate(zip(saved, own)):
            states = (then, scheduler.state_dict())
            yield f'schedule {place}', *({k: v for k, v in s.items() if k not in _PROGRESS} for s in states)


def _initial(group: Dict[str, Any]) -> Dict[str, Any]:
    """What an optimizer began with: schedulers keep it beside the value of the step."""
    return {key: group.get(f'initial_{key}', group[key]) for key in _OPTIMIZER if key in group}


def _differences(then: Dict[str, Any], now: Dict[str, Any]) -> Iterator[Tuple[str, Any, Any]]:
    for key in then.keys() & now.keys():
        if not _near(then[key], now[key]):
            yield key, then[key], now[key]


def _near(one: Any, other: Any) -> bool:
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-12)
    return same(one, other)


def stretch(runner: Any, checkpoint: Dict[str, Any]) -> None:
    """Give a checkpoint the rates that this run's schedule has at its step, instead of its own.

    The schedulers of the run step from 0 to there, as training would have done it; settings of the optimizer that are
    no state of it (weight decay, betas) become those of the config, too.

    Args:
        runner: With its optimizer and schedulers built, at step 0, where they stay behind at the checkpoint's step.
        checkpoint: It is changed.

    Raises:
        ValueError: The checkpoint is at the end of this run's schedule, or beyond.
    """
    step, epoch = checkpoint['meta']['iter'], checkpoint['meta']['epoch']
    if step >= runner.max_iters:
        raise ValueError(
            f'the checkpoint is at iteration {step}, and this run ends at {runner.max_iters}: there is nothing to do'
        )
    parts = list(_by_optimizer(runner, checkpoint))
    _replay([scheduler for *_, own in parts for scheduler in own], step, epoch, _epoch_length(runner))
    for name, state, wrapper, _, own in parts:
        groups = [*zip(state['param_groups'], wrapper.optimizer.param_groups)]
        if state.get('base_param_settings') and wrapper.base_param_settings:  # of which groups are multiples
            groups.append((state['base_param_settings'], wrapper.base_param_settings))
        for group, now in groups:
            group.update({key: value for key, value in now.items() if key != 'params'})
        states = [scheduler.state_dict() for scheduler in own]
        if isinstance(checkpoint.get('param_schedulers'), dict):
            checkpoint['param_schedulers'][name] = states
        else:
            checkpoint['param_schedulers'] = states


def _epoch_length(runner: Any) -> int:
    """Iterations after which schedulers of epochs step; 0 in a loop without epochs."""
    return len(runner.train_dataloader) if isinstance(runner.train_loop, EpochBasedTrainLoop) else 0


def _replay(schedulers: List[Any], steps: int, epochs: int, length: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that no optimizer has stepped
        for step in range(1, steps + 1):
            at_end = length and step % length == 0 and step // length <= epochs
            for scheduler in schedulers:
                if not scheduler.by_epoch or at_end:
                    scheduler.step()
