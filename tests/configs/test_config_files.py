"""Rules that every config keeps: its command, what a child states, one key for a thing."""

import re

import pytest
from config_harness import CONFIGS, ROOT, config, docstring, flat, of_a_toolbox, parents, plain, resolved, stated

from mmmim.config.schedule import batches_per_step

FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / 'configs').rglob('*.py'))
OWN = [name for name in CONFIGS if not of_a_toolbox(name)]
MISSING = object()


def look_up(values, key):
    for part in key.split('.'):
        values = values.get(part, MISSING) if isinstance(values, dict) else MISSING
    return values


@pytest.mark.parametrize('name', [name for name in FILES if '/_base_/' not in name])
def test_docstring_has_the_command_of_this_file(name):
    tools = r'tools/(?:dist_train\.sh|slurm_train\.sh|train\.py|test\.py)'
    commands = re.findall(rf'{tools}\s+(configs/\S+\.py)', docstring(name))
    assert commands and set(commands) == {name}


@pytest.mark.parametrize('name', [name for name in FILES if parents(name)])
def test_a_child_states_what_differs_from_its_parents_and_nothing_else(name):
    inherited = {key: value for parent in parents(name) for key, value in plain(parent).items()}
    keys = stated(name)
    assert keys, f'{name} is nothing but {parents(name)}'
    both = [(key, look_up(inherited, key), look_up(plain(name), key)) for key in keys]
    assert [key for key, before, now in both if before is not MISSING and before == now] == []


@pytest.mark.parametrize('name', OWN)
def test_no_key_is_stated_that_follows_from_another(name):
    values = flat(plain(name))
    governed = {
        'total_batch_size': [
            'train_dataloader.batch_size',
            'train_cfg.batches_per_step',
            'optim_wrapper.accumulative_counts',
        ],
        'base_lr': ['optim_wrapper.optimizer.lr'],
        'max_epochs': ['train_cfg.max_epochs'],
        'max_iters': ['train_cfg.max_iters'],
    }
    assert 'total_batch_size' in values and ('max_epochs' in values) != ('max_iters' in values)
    assert [key for governing, keys in governed.items() if governing in values for key in keys if key in values] == []
    first, last = values['param_scheduler']
    assert 'end' not in first and not {'begin', 'end', 'T_max'} & set(last)
    assert 'milestones' not in last or 'simmim' in name  # whose one fall of the rate nothing else gives


@pytest.mark.parametrize('name', [name for name in OWN if 'max_epochs' in plain(name)])
def test_schedule_batch_and_learning_rate(name, processes=8):
    cfg = resolved(name, processes)
    *warmup, main = cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == cfg.max_epochs == main.end
    assert main.begin == (0 if 'milestones' in cfg else cfg.warmup_epochs)  # from where milestones are counted
    assert [(part.begin, part.end) for part in warmup] == [(0, cfg.warmup_epochs)] * (cfg.warmup_epochs > 0)
    if main.type == 'CosineAnnealingLR':
        assert main.T_max == cfg.max_epochs - cfg.warmup_epochs
    elif main.get('milestones'):  # MMEngine counts a milestone from where the scheduler begins
        assert all(0 < place < cfg.max_epochs - cfg.warmup_epochs for place in main.milestones)
    batch, accumulation = cfg.train_dataloader.batch_size, batches_per_step(cfg)
    assert processes * batch * accumulation == cfg.total_batch_size and batch <= cfg.max_batch_per_device
    if 'base_lr' in cfg:
        assert cfg.train_dataloader.sampler.round_to == cfg.total_batch_size
        of_batch = cfg.get('lr_base_batch', 256)
        assert cfg.optim_wrapper.optimizer.lr == pytest.approx(cfg.base_lr * cfg.total_batch_size / of_batch)
    else:
        assert cfg.optim_wrapper.optimizer.lr == config(name).optim_wrapper.optimizer.lr
