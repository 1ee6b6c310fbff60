"""run.json: the facts of a run for whoever reads its work dir."""

import json
import signal
from types import SimpleNamespace

import pytest
import torch
from harness import make_config, train_here
from mmengine.config import Config
from mmengine.hooks import Hook
from torch.utils.data import DataLoader

from mmmim.engine.hooks.run_record import add_to_record, run_facts
from mmmim.engine.hooks.run_start import batch_lines
from mmmim.registry import HOOKS

pytestmark = pytest.mark.runs


def _run(work_dir, images, **overrides):
    cfg = make_config(
        work_dir,
        images,
        epochs=3,
        **{'custom_imports.imports': ['mmmim'], 'experiment_name': f'{work_dir}{len(overrides)}', **overrides},
    )
    train_here(cfg)
    return json.loads((work_dir / 'run.json').read_text())


def test_facts_of_a_whole_run(tmp_path, image_root):
    record = _run(tmp_path / 'run', image_root)
    assert {
        key: record[key]
        for key in (
            'method',
            'images',
            'batch',
            'accumulation',
            'processes',
            'steps_per_epoch',
            'max_epochs',
            'max_iters',
            'seed',
            'dtype',
            'finished',
        )
    } == dict(
        method='MAE',
        images=64,
        batch=16,
        accumulation=1,
        processes=1,
        steps_per_epoch=4,
        max_epochs=3,
        max_iters=12,
        seed=0,
        dtype='float32',
        finished=True,
    )
    assert record['parameters']['backbone'] > record['parameters']['neck'] > 0
    assert record['hardware']['cores'] >= 1 and record['hardware']['cpu']
    assert record['versions']['torch'].split('+')[0] == torch.__version__.split('+')[0]
    (session,) = record['sessions']
    assert (session['from_iter'], session['to_iter']) == (0, 12)
    # seconds have two places: half of the last one is what they may be off
    assert 12 * 16 / session['images_per_second'] == pytest.approx(session['seconds'], rel=0.01, abs=0.006)
    assert 0 <= session['data_share'] <= 1


def test_batches_that_the_optimizer_wrapper_accumulates_belong_to_the_effective_batch():
    """As in segmentors and detectors, whose loop is MMEngine's: an iteration is one of the batches."""
    cfg = Config(
        dict(total_batch_size=16, optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0), accumulative_counts=4))
    )
    runner = SimpleNamespace(
        cfg=cfg,
        model=torch.nn.Sequential(torch.nn.Linear(1, 1)),
        train_dataloader=DataLoader(range(32), 4),
        train_loop=SimpleNamespace(),
        optim_wrapper=None,
        seed=0,
        max_epochs=1,
        max_iters=8,
    )
    facts = run_facts(runner)
    assert (facts['effective_batch'], facts['passes'], facts['accumulation']) == (16, 4, 1)
    assert batch_lines(cfg, facts) == ['Effective batch size 16 = 1 process x 4 x 4 passes']
    runner.cfg = Config()  # of a runner that was built without one
    assert run_facts(runner)['effective_batch'] == 4


def test_a_resumed_run_adds_a_session_and_counts_no_step_twice(tmp_path, image_root):
    first = _run(
        tmp_path / 'run',
        image_root,
        **{
            'train_cfg.max_iters': 6,
            'default_hooks.checkpoint.interval_iters': 5,
            'default_hooks.checkpoint.save_last': False,
        },
    )
    assert first['finished'] and first['max_iters'] == first['sessions'][0]['to_iter'] == 6  # as far as was asked for
    second = _run(tmp_path / 'run', image_root, resume=True)
    assert [(s['from_iter'], s['to_iter']) for s in second['sessions']] == [(0, 5), (5, 12)]
    assert second['sessions'][0]['seconds'] == pytest.approx(first['sessions'][0]['seconds'] * 5 / 6)
    assert second['finished']


@pytest.mark.parametrize('stopped_at', [1, 3])
def test_a_run_that_is_asked_to_stop_counts_the_step_it_has_saved(tmp_path, image_root, stopped_at):
    @HOOKS.register_module(name=f'AskToStop{stopped_at}', force=True)
    class AskToStop(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter + 1 == stopped_at:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        _run(tmp_path / 'run', image_root, custom_hooks=[dict(type=f'AskToStop{stopped_at}')])
    stopped = json.loads((tmp_path / 'run/run.json').read_text())
    assert [(s['from_iter'], s['to_iter']) for s in stopped['sessions']] == [(0, stopped_at)]
    assert not stopped['finished'] and stopped['sessions'][0]['images_per_second'] > 0
    record = _run(tmp_path / 'run', image_root, resume=True)
    assert [(s['from_iter'], s['to_iter']) for s in record['sessions']] == [(0, stopped_at), (stopped_at, 12)]


def test_a_run_whose_last_files_could_not_be_written_is_not_finished(tmp_path, image_root, monkeypatch):
    def refuse(*_):
        raise OSError('no space')

    monkeypatch.setattr('mmmim.engine.hooks.checkpoint.export_encoder', refuse)
    with pytest.raises(OSError, match='no space'):
        _run(tmp_path / 'run', image_root)
    record = json.loads((tmp_path / 'run/run.json').read_text())
    assert not record['finished'] and record['sessions'][0]['to_iter'] == 12
    monkeypatch.undo()
    assert _run(tmp_path / 'run', image_root, resume=True)['finished']
    assert (tmp_path / 'run/encoder.safetensors').exists()


def test_a_torn_record_does_not_stop_a_resume(tmp_path, image_root):
    _run(tmp_path / 'run', image_root, **{'train_cfg.max_iters': 6})
    (tmp_path / 'run/run.json').write_text('{"sessions": [')
    record = _run(tmp_path / 'run', image_root, resume=True)
    assert [(s['from_iter'], s['to_iter']) for s in record['sessions']] == [(6, 12)]


def test_facts_that_others_add_survive_training_and_results_are_of_this_run_alone(tmp_path, image_root):
    @HOOKS.register_module(name='AddFacts', force=True)
    class AddFacts(Hook):
        def after_train_epoch(self, runner):
            add_to_record(runner.work_dir, 'layer', runner.epoch + 1)
            add_to_record(runner.work_dir, 'finished', 'no')  # the run's own facts stay its own

    work_dir = tmp_path / 'run'
    add_to_record(work_dir, 'seen', 'by others')  # before there is a folder
    add_to_record(work_dir, 'kept', 'of an earlier run')
    record = _run(work_dir, image_root, custom_hooks=[dict(type='AddFacts')], **{'train_cfg.max_iters': 6})
    assert record['seen'] == 'by others' and record['layer'] == 1 and 'kept' not in record
    assert 'start' not in record  # no config says so
    assert record['finished'] is True and record['images'] == 64
    add_to_record(work_dir, 'kept', 'all')
    record = _run(work_dir, image_root, resume=True)  # what it came to was of a shorter run
    assert 'kept' not in record and 'layer' not in record and record['finished'] is True
    add_to_record(work_dir, 'layer', 2)
    assert json.loads((work_dir / 'run.json').read_text()) == dict(record, layer=2)
    (work_dir / 'run.json').write_text('{"layer"')
    add_to_record(work_dir, 'layer', 3)
    assert json.loads((work_dir / 'run.json').read_text()) == dict(layer=3)


@HOOKS.register_module(force=True)
class TimeLeftHook(Hook):
    """What the log will say of the time left, in iterations of one second."""

    priority = 'BELOW_NORMAL'  # between the progress and the logger
    seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        info, seconds = runner.message_hub.runtime_info, runner.message_hub.get_scalar('train/time').mean()
        self.seen.append(round(info['eta'] / seconds))


@pytest.mark.parametrize('stop', [5, 12, 40])
def test_the_loops_max_iters_count_for_the_end_and_the_time_left(tmp_path, image_root, stop):
    TimeLeftHook.seen.clear()
    hooks = [dict(type='TimeLeftHook')]
    record = _run(tmp_path / 'run', image_root, custom_hooks=hooks, **{'train_cfg.max_iters': stop})
    last = min(stop, 12)
    assert record['finished'] and record['max_iters'] == record['sessions'][0]['to_iter'] == last
    assert TimeLeftHook.seen == list(range(last - 1, -1, -1))
    again = _run(tmp_path / 'run', image_root, resume='auto', **{'train_cfg.max_iters': None})
    assert again['finished'] and again['max_iters'] == 12
