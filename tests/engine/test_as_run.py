"""The config in a work dir: what was stated, which runs again with any number of processes."""

import re

import pytest
from harness import largest_difference, load_weights, make_config, save_config, train_here
from mmengine.config import Config

from mmmim.config.images import loading_steps
from mmmim.config.load import load_config
from mmmim.config.schedule import set_batch_and_lr, set_schedule

pytestmark = pytest.mark.runs


def derive(cfg, processes):
    return [*set_batch_and_lr(cfg, processes), *set_schedule(cfg)]


@pytest.fixture(scope='module')
def ran(tmp_path_factory, image_root):
    """The config, and its work dir after a run that accumulates."""
    folder = tmp_path_factory.mktemp('as_run')
    config = save_config(
        make_config(folder / 'run', image_root, epochs=2, max_batch_per_device=8), folder / 'config.py'
    )
    train_here(load_config(str(config)))
    return config, folder / 'run'


def test_the_written_config_is_the_one_before_derivation(ran):
    config, run = ran
    text = (run / 'config.py').read_text()
    written = Config.fromfile(str(run / 'config.py'))
    before = Config.fromfile(str(config))
    for part in ('model', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'train_dataloader', 'base_lr', 'max_epochs'):
        assert written[part] == before[part], part
    for comment in (
        'with 1 process,',
        'train_dataloader.batch_size = 8',
        'train_cfg.batches_per_step = 2',
        r'optim_wrapper.optimizer.lr = 0.000625  \(base_lr \* 16 / 256\)',
        'train_cfg.max_epochs = 2',
        'param_scheduler.1.T_max = 1',
    ):
        assert re.search(f'^#.*{comment}', text, flags=re.M), comment


def test_it_runs_again_with_any_number_of_processes_and_other_settings(ran, tmp_path, image_root):
    _, run = ran
    for processes, batch in ((1, 8), (2, 8), (4, 4), (16, 1)):
        cfg = load_config(str(run / 'config.py'), dict(max_epochs=4, base_lr=2e-2))
        derive(cfg, processes)
        assert cfg.train_dataloader.batch_size == batch and cfg.param_scheduler[1].T_max == 3
        assert cfg.optim_wrapper.optimizer.lr == 2e-2 * 16 / 256
    again = load_config(str(run / 'config.py'), work_dir=str(tmp_path / 'again'))
    again.experiment_name = 'again'
    train_here(again)
    assert largest_difference(load_weights(run), load_weights(tmp_path / 'again')) == 0


@pytest.mark.parametrize('batch', [4, 5, 16])
def test_what_is_stated_in_it_or_in_its_child_is_told(ran, tmp_path, batch):
    _, run = ran
    child, edited = tmp_path / 'child.py', tmp_path / 'edited.py'
    child.write_text(f'_base_ = {str(run / "config.py")!r}\ntrain_dataloader = dict(batch_size={batch})\n')
    edited.write_text(f'{(run / "config.py").read_text()}\ntrain_dataloader["batch_size"] = {batch}\n')
    for path in (child, edited):
        with pytest.raises(ValueError, match=f'train_dataloader.batch_size={batch}: '):
            derive(load_config(str(path)), 1)


def test_a_segmentors_earlier_file_without_a_total_is_read(tmp_path):
    model = dict(type='EncoderDecoder', backbone=dict(type='mmmim.DenseViT'))
    lengths = dict(max_iters=10, train_cfg=dict(max_iters=20), source='config.py', launcher='none')
    wrapper = dict(accumulative_counts=2, optimizer=dict(lr=1.0))
    path = save_config(Config(dict(model=model, optim_wrapper=wrapper, **lengths)), tmp_path / 'as_run.py')
    assert load_config(str(path)).train_cfg.max_iters == 20


def test_how_images_are_read_is_said_once(tmp_path, image_root):
    path = save_config(
        make_config(tmp_path / 'run', image_root, epochs=1, warmup_epochs=0, value_range=(0, 200)),
        tmp_path / 'config.py',
    )
    train_here(load_config(str(path)))
    written = tmp_path / 'run/config.py'
    assert written.read_text().count('value_range') == 1

    def ranges(path, **overrides):
        cfg = load_config(str(path), overrides)
        return [step.get('value_range') for step in loading_steps(cfg.train_dataloader)]

    assert ranges(written) == [(0, 200)] and ranges(written, value_range=None) == [None]
    child = tmp_path / 'child.py'
    child.write_text(f'_base_ = {str(written)!r}\nvalue_range = (0, 100)\n')
    assert ranges(child) == [(0, 100)]


def earlier(cfg, processes, path):
    """The file that a run of an earlier version wrote: every value, for its number of processes."""
    cfg.merge_from_dict(dict(source='config.py', launcher='none'))
    derive(cfg, processes)
    return save_config(cfg, path)


@pytest.mark.parametrize('method', ['mae', 'gan_mae'])
@pytest.mark.parametrize('processes', [1, 2, 8])
def test_the_file_of_an_earlier_version_runs_with_other_processes(ran, tmp_path, image_root, method, processes):
    options = dict(max_batch_per_device=4, warmup_epochs=0)
    path = earlier(make_config(tmp_path / 'run', image_root, method, **options), processes, tmp_path / 'as_run.py')
    for now, expected in ((1, [4, 4]), (4, [4, 1]), (16, [1, 1])):
        cfg = load_config(str(path), dict(max_epochs=5))
        derive(cfg, now)
        assert [cfg.train_dataloader.batch_size, cfg.train_cfg.batches_per_step] == expected
        assert cfg.train_cfg.max_epochs == cfg.param_scheduler[0].T_max == 5


@pytest.mark.parametrize(
    'change, words',
    [
        ({'train_dataloader.batch_size': 5}, 'train_dataloader.batch_size=5: '),
        ({'optim_wrapper.optimizer.lr': 0.5}, r'optimizer\.lr=0\.5: .*base_lr=8 '),
        ({'param_scheduler.1.end': 2}, r'param_scheduler\.1\.end=2: .*max_epochs=2'),
    ],
)
def test_but_not_where_it_was_edited_since(tmp_path, image_root, change, words):
    path = earlier(make_config(tmp_path / 'run', image_root), 1, tmp_path / 'as_run.py')
    cfg = Config.fromfile(str(path))
    cfg.merge_from_dict(change)
    save_config(cfg, path)
    with pytest.raises(ValueError, match=words):
        derive(load_config(str(path)), 1)
