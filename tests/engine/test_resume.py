"""A run that is killed anywhere and resumed equals one that was not."""

import os
import random
import re
import signal

import pytest
import torch
import torch.distributed as dist
from harness import (
    METHODS,
    largest_difference,
    load_weights,
    make_config,
    near,
    read_curve,
    save_config,
    train,
)
from mmengine.config import Config

from mmmim.checkpoint.newest import NoWholeCheckpointError
from mmmim.engine.resume import StartOverError, find_resume

pytestmark = pytest.mark.runs

EPOCHS, STEPS = 5, 4  # 64 images in batches of 16
SAVE_OFTEN = {'default_hooks.checkpoint.interval_iters': 3, 'custom_hooks': [dict(type='DieHook')]}


@pytest.fixture(scope='module', params=sorted(METHODS))
def undisturbed(request, tmp_path_factory, image_root):
    """(method, config path, weights, curve) of a run that nobody killed."""
    folder = tmp_path_factory.mktemp(f'undisturbed_{request.param}')
    cfg = make_config(folder / 'run', image_root, request.param, epochs=EPOCHS, **SAVE_OFTEN)
    config = save_config(cfg, folder / 'config.py')
    train(config, fresh=request.param == 'mae')  # by a new interpreter, which the forked processes have to equal
    return request.param, config, load_weights(folder / 'run'), read_curve(folder / 'run')


@pytest.mark.parametrize(
    'workers', [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(3, marks=pytest.mark.slow)]
)
def test_killed_five_times_and_resumed_is_bit_identical(undisturbed, tmp_path, workers):
    method, config, weights, curve = undisturbed
    moments = sorted(random.Random(workers).sample([i for i in range(2, EPOCHS * STEPS) if i % STEPS], 4))
    kills = [dict(TEST_KILL_AT=str(m)) for m in moments]
    kills.insert(2, dict(TEST_KILL_IN_WRITE='1'))  # the first checkpoint that this attempt writes
    args = [
        '--work-dir',
        str(tmp_path / 'run'),
        '--resume',
        '--cfg-options',
        f'train_dataloader.num_workers={workers}',
        f'train_dataloader.persistent_workers={workers > 0}',
    ]
    for kill in kills:
        done = train(config, *args, check=False, **kill)
        assert done.returncode == -signal.SIGKILL, f'{kill}: {done.stderr[-2000:]}'
    train(config, *args)
    assert largest_difference(weights, load_weights(tmp_path / 'run')) == 0
    assert read_curve(tmp_path / 'run') == curve


def test_a_lost_newest_checkpoint_and_an_empty_pointer_change_nothing(undisturbed, tmp_path):
    """After a kill while one is written; the one before it is cut off, as by a loss of power."""
    method, config, weights, curve = undisturbed
    if method != 'mae':
        pytest.skip('the same for every method')
    run, args = tmp_path / 'run', ['--work-dir', str(tmp_path / 'run'), '--resume']
    done = train(config, *args, check=False, TEST_KILL_IN_WRITE='4')
    assert done.returncode == -signal.SIGKILL and list(run.glob('.epoch_2.pth.*.tmp'))
    os.truncate(run / 'iter_6.pth', 5000)
    (run / 'last_checkpoint').write_text('')
    done = train(config, *args)
    assert re.search(r'goes on from \S*/epoch_1\.pth; passed over: \S*/iter_6\.pth: .*cut off', done.stderr)
    assert largest_difference(weights, load_weights(run)) == 0 and read_curve(run) == curve
    assert os.listdir(run / 'earlier_1') == ['iter_6.pth'] and not list(run.glob('.*.tmp'))


def _look(rank, folder):
    """Rank 1 has a folder of its own, without anything: what it sees does not count."""
    dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    found = []
    for name, resume in (('whole', 'auto'), ('broken', 'auto'), ('whole', False)):
        cfg = Config(dict(work_dir=f'{folder}/{name}' if rank == 0 else f'{folder}/none', resume=resume))
        try:
            found.append((find_resume(cfg, anew=False).path, cfg.resume))
        except (NoWholeCheckpointError, StartOverError) as error:
            found.append(str(error))
    dist.destroy_process_group()
    torch.save(found, f'{folder}/rank{rank}.pth')


def test_all_processes_do_what_rank_0_found(tmp_path):
    for name in ('whole', 'broken'):
        (tmp_path / name).mkdir()
    torch.save(dict(meta=dict(iter=4, epoch=1), state_dict={}, message_hub={}), tmp_path / 'whole/epoch_1.pth')
    (tmp_path / 'broken/epoch_1.pth').touch()
    torch.multiprocessing.start_processes(_look, (str(tmp_path),), nprocs=2, start_method='fork')
    found = [torch.load(tmp_path / f'rank{rank}.pth') for rank in (0, 1)]
    assert found[0][:2] == found[1][:2] and found[0][0] == (str(tmp_path / 'whole/epoch_1.pth'), True)
    assert str(tmp_path / 'broken/epoch_1.pth') in found[0][1]
    assert all('--anew' in message for _, _, message in found)


def test_two_processes_go_on_from_the_same_whole_one_or_end_together(tmp_path, image_root):
    config = save_config(make_config(tmp_path / 'whole', image_root, epochs=2), tmp_path / 'config.py')
    train(config, processes=2)
    run, args = tmp_path / 'run', ['--work-dir', str(tmp_path / 'run'), '--resume']
    train(config, *args, '--cfg-options', 'train_cfg.max_iters=6', processes=2)
    os.truncate(run / 'iter_6.pth', 5000)
    assert 'epoch_1.pth; passed over: ' in train(config, *args, processes=2).stderr
    assert largest_difference(load_weights(tmp_path / 'whole'), load_weights(run)) == 0
    for path in run.glob('*.pth'):
        os.truncate(path, 5000)
    done = train(config, *args, processes=2, check=False, timeout=120)
    assert done.returncode == 1 and 'NoWholeCheckpointError' in done.stderr and 'epoch_2.pth: ' in done.stderr


def test_curve_has_each_iteration_once(undisturbed):
    curve = undisturbed[3]
    assert [line['iter'] for line in curve] == list(range(1, EPOCHS * STEPS + 1))


def test_finished_run_resumes_to_nothing(undisturbed, tmp_path):
    _, config, weights, curve = undisturbed
    run = config.parent / 'run'
    train(config, '--resume')
    assert largest_difference(weights, load_weights(run)) == 0
    assert read_curve(run) == curve


def test_resume_starts_from_load_from_where_there_is_nothing_to_resume(tmp_path, image_root):
    """The same command every time, as a cluster runs it: first from other weights, then from its own checkpoint."""
    first = make_config(tmp_path / 'first', image_root, epochs=2)
    train(save_config(first, tmp_path / 'first.py'))
    again = make_config(
        tmp_path / 'again', image_root, epochs=2, base_lr=0.0, load_from=str(tmp_path / 'first/epoch_2.pth')
    )
    config = save_config(again, tmp_path / 'again.py')
    for iters in (1, 3):
        train(config, '--resume', '--cfg-options', f'train_cfg.max_iters={iters}')
        assert largest_difference(load_weights(tmp_path / 'first'), load_weights(tmp_path / 'again')) == 0
    assert [line['iter'] for line in read_curve(tmp_path / 'again')] == [1, 2, 3]


@pytest.mark.parametrize('group, workers', [(False, 0), (True, 1)], ids=['process', 'whole-group'])
def test_sigterm_saves_and_ends_with_its_own_code(undisturbed, tmp_path, group, workers):
    _, config, weights, curve = undisturbed
    args = ['--work-dir', str(tmp_path / 'run'), '--resume', '--cfg-options', f'train_dataloader.num_workers={workers}']
    done = train(config, *args, check=False, TEST_KILL_AT='6', TEST_SIGNAL='SIGTERM', TEST_KILL_GROUP=str(int(group)))
    assert done.returncode == 75, done.stderr[-2000:]
    assert (tmp_path / 'run/last_checkpoint').read_text().endswith('iter_7.pth')
    train(config, *args)
    assert largest_difference(weights, load_weights(tmp_path / 'run')) == 0
    assert read_curve(tmp_path / 'run') == curve


def test_a_stop_in_the_very_last_iteration_leaves_the_end_of_its_epoch_to_the_resumed_run(undisturbed, tmp_path):
    _, config, weights, _ = undisturbed
    args = ['--work-dir', str(tmp_path / 'run'), '--resume']
    done = train(config, *args, check=False, TEST_KILL_AT=str(EPOCHS * STEPS - 1), TEST_SIGNAL='SIGTERM')
    assert done.returncode == 75, done.stderr[-2000:]
    assert (tmp_path / 'run/last_checkpoint').read_text().endswith(f'iter_{EPOCHS * STEPS}.pth')
    train(config, *args)
    assert largest_difference(weights, load_weights(tmp_path / 'run', f'epoch_{EPOCHS}.pth')) == 0
    assert (tmp_path / 'run/encoder.safetensors').exists()


def test_old_checkpoints_go_after_the_pointer_moves(undisturbed):
    run = undisturbed[1].parent / 'run'
    kept = sorted(name for name in os.listdir(run) if name.endswith('.pth'))
    assert kept == ['epoch_5.pth', 'iter_18.pth']
    assert (run / 'last_checkpoint').read_text() == str(run / 'epoch_5.pth')


def test_run_can_end_in_mid_epoch_and_go_on(undisturbed, tmp_path):
    """Also with persistent workers, whose process must end: a worker that waits for more would keep it for ever."""
    _, config, weights, curve = undisturbed
    args = ['--work-dir', str(tmp_path / 'run'), '--resume']
    train(
        config,
        *args,
        '--cfg-options',
        'train_cfg.max_iters=10',
        'train_dataloader.num_workers=2',
        'train_dataloader.persistent_workers=True',
    )
    assert (tmp_path / 'run/last_checkpoint').read_text().endswith('iter_10.pth')
    train(config, *args)
    assert largest_difference(weights, load_weights(tmp_path / 'run')) == 0
    assert read_curve(tmp_path / 'run') == curve


def test_repeated_crops_go_on_in_mid_epoch_and_in_two_processes(tmp_path, image_root):
    options = {'train_dataloader.sampler.repeat_crops': 4, 'model.backbone.drop_path_rate': 0.0}
    config = save_config(make_config(tmp_path / 'whole', image_root, epochs=2, **options), tmp_path / 'config.py')
    train(config)
    curve = read_curve(tmp_path / 'whole')
    parts = ['--work-dir', str(tmp_path / 'parts'), '--resume']
    train(config, *parts, '--cfg-options', 'train_cfg.max_iters=6')
    train(config, *parts)
    assert largest_difference(load_weights(tmp_path / 'whole'), load_weights(tmp_path / 'parts')) == 0
    assert read_curve(tmp_path / 'parts') == curve
    train(config, '--work-dir', str(tmp_path / 'two'), processes=2)
    two = read_curve(tmp_path / 'two')
    assert [line['loss'] for line in two] == near([line['loss'] for line in curve])
