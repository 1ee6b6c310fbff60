"""A resume with other rates: refused with the keys' names, or stretched to the schedule of the config."""

import re

import pytest
import torch
from harness import make_config, read_curve, train_here

from mmmim.engine.hooks.run_state import ResumeError
from mmmim.engine.rates import stretch

pytestmark = pytest.mark.runs
EPOCHS = 4  # of 4 iterations


def _config(work_dir, images, method='mae', **options):
    options = {'train_cfg.max_iters': 6, 'experiment_name': str(work_dir), **options}
    return make_config(work_dir, images, method, epochs=EPOCHS, **options)


@pytest.fixture(scope='module')
def stopped(tmp_path_factory, image_root):
    """A run of 4 epochs that stopped in the second."""
    work_dir = tmp_path_factory.mktemp('rates') / 'run'
    train_here(_config(work_dir, image_root))
    return work_dir / 'iter_6.pth'


def _resume(checkpoint, tmp_path, images, stretched=False, **options):
    more = {'resume': True, 'load_from': str(checkpoint), 'train_cfg.max_iters': None, **options}
    if stretched:
        more['resume_schedule'] = 'stretch'
    train_here(_config(tmp_path / 'run', images, **more))
    return [line['lr'] for line in read_curve(tmp_path / 'run') if 'lr' in line]


CHANGES = {
    'longer': {'max_epochs': 8},
    'shorter': {'max_epochs': 3},
    'warmup_epochs': {'warmup_epochs': 0.5},
    'base_lr': {'base_lr': 2e-2},
    'lr_base_batch': {'lr_base_batch': 128},
    'weight_decay': {'optim_wrapper.optimizer.weight_decay': 0.3},
    'betas': {'optim_wrapper.optimizer.betas': (0.9, 0.999)},
}


@pytest.mark.parametrize('change', CHANGES)
def test_other_rates_are_refused_by_the_key_and_both_values(stopped, tmp_path, image_root, change):
    with pytest.raises(ResumeError) as error:
        _resume(stopped, tmp_path, image_root, **CHANGES[change])
    ((key, value),) = CHANGES[change].items()
    assert re.search(
        rf'\n  {re.escape(key)}: the checkpoint has .*, this run {re.escape(repr(value))}', str(error.value)
    )
    assert '--stretch' in str(error.value) and 'load_from=PATH' in str(error.value)


@pytest.mark.parametrize('change', ['longer', 'shorter', 'warmup_epochs', 'base_lr'])
def test_a_stretched_run_has_the_rates_of_the_new_schedule_from_its_step_on(stopped, tmp_path, image_root, change):
    whole = _config(tmp_path / 'whole', image_root, **{**CHANGES[change], 'train_cfg.max_iters': None})
    train_here(whole)
    expected = [line['lr'] for line in read_curve(tmp_path / 'whole')]
    assert len(expected) == 4 * CHANGES[change].get('max_epochs', EPOCHS)
    assert _resume(stopped, tmp_path, image_root, True, **CHANGES[change]) == expected[6:]


def test_a_stretched_run_has_the_weight_decay_of_the_config_and_the_moments_of_the_checkpoint(
    stopped, tmp_path, image_root
):
    options = dict(CHANGES['weight_decay'], load_from=str(stopped), resume=True, resume_schedule='stretch')
    runner = train_here(_config(tmp_path / 'run', image_root, **options))  # at its end already: nothing is trained
    saved, now = torch.load(stopped, weights_only=True)['optimizer'], runner.optim_wrapper.optimizer.state_dict()
    assert sorted(group['weight_decay'] for group in now['param_groups']) == [0.0, 0.3]
    assert all(torch.equal(now['state'][i]['exp_avg'], saved['state'][i]['exp_avg']) for i in saved['state'])


def test_an_unchanged_run_resumes_as_ever_and_says_nothing(stopped, tmp_path, image_root):
    plain = _resume(stopped, tmp_path / 'plain', image_root)
    assert _resume(stopped, tmp_path / 'asked', image_root, True) == plain and len(plain) == 10
    assert 'rates from here on' not in ''.join(path.read_text() for path in (tmp_path / 'asked').rglob('*.log'))


def test_beyond_the_new_end_there_is_nothing_to_stretch(stopped, tmp_path, image_root):
    with pytest.raises(ValueError, match='is at iteration 6, and this run ends at 4'):
        _resume(stopped, tmp_path, image_root, True, max_epochs=1, warmup_epochs=0.5)


def test_a_checkpoint_of_an_earlier_version_has_its_derived_values_in_its_config(stopped, tmp_path, image_root):
    """As written: the whole config, with batch and accumulation of one process. Another number is no difference."""
    cfg = _config(tmp_path / 'other', image_root, **{'max_batch_per_device': 8, 'train_cfg.max_iters': 7})
    cfg.merge_from_dict(dict(resume=True, load_from=str(stopped)))
    train_here(cfg)
    log = ''.join(path.read_text() for path in (tmp_path / 'other').rglob('*.log'))
    said = re.findall(r'^([-+])(?!\+|-)(.*)', log[log.index('The config differs') :], flags=re.M)
    assert not any('batch_size' in line or 'batches_per_step' in line for _, line in said)
    assert ('+', 'max_batch_per_device = 8') in said


def test_each_of_two_players_is_compared_and_stretched(tmp_path, image_root):
    work_dir = tmp_path / 'first'
    train_here(_config(work_dir, image_root, 'gan_mae'))
    with pytest.raises(ResumeError, match=r'max_epochs: the checkpoint has 4, this run 8'):
        _two_players(work_dir, tmp_path / 'refused', image_root)
    runner = _two_players(work_dir, tmp_path / 'second', image_root, resume_schedule='stretch')
    train_here(_config(tmp_path / 'whole', image_root, 'gan_mae', max_epochs=8, **{'train_cfg.max_iters': 8}))
    names = [name for name in read_curve(tmp_path / 'whole')[0] if 'lr' in name]
    assert len(names) > 1 and runner.iter == 8
    for then, now in zip(read_curve(tmp_path / 'whole')[6:], read_curve(tmp_path / 'second')):
        assert [then[name] for name in names] == [now[name] for name in names]


def _two_players(work_dir, to, images, **options):
    options = dict(options, max_epochs=8, resume=True, load_from=str(work_dir / 'iter_6.pth'))
    return train_here(_config(to, images, 'gan_mae', **{**options, 'train_cfg.max_iters': 8}))


def test_stretch_steps_epochs_and_iterations_in_their_order():
    """Schedulers of epochs move at their ends; those of iterations at each step: as training does it."""
    from types import SimpleNamespace

    from mmengine.optim import CosineAnnealingLR, LinearLR, OptimWrapper
    from mmengine.runner import EpochBasedTrainLoop

    def build():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        return optimizer, [
            LinearLR(optimizer, start_factor=0.1, by_epoch=False, begin=0, end=6),
            CosineAnnealingLR(optimizer, T_max=5, by_epoch=True, begin=0, end=5),
        ]

    optimizer, schedulers = build()
    optimizer.step()
    rates = []
    for step in range(1, 12):
        schedulers[0].step()
        if step % 4 == 0:
            schedulers[1].step()
        rates.append(optimizer.param_groups[0]['lr'])
    for step in (3, 4, 9, 11):
        fresh, own = build()
        loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
        runner = SimpleNamespace(
            max_iters=20, train_dataloader=range(4), train_loop=loop, param_schedulers=own,
            optim_wrapper=OptimWrapper(fresh),
        )  # fmt: skip
        checkpoint = dict(
            meta=dict(iter=step, epoch=step // 4), optimizer=build()[0].state_dict(), param_schedulers=[{}, {}]
        )
        stretch(runner, checkpoint)
        assert checkpoint['optimizer']['param_groups'][0]['lr'] == rates[step - 1]
        assert [state['_global_step'] for state in checkpoint['param_schedulers']] == [step, step // 4]
