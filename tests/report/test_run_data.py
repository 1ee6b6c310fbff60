"""Work dirs are read whole where they are whole, and with patience where they are not."""

import json

import numpy as np
import pytest

from mmmim.report.run_curve import find_curve, make_series, read_curve, running_mean
from mmmim.report.run_data import RANDOM, load_run, load_runs
from mmmim.report.run_metrics import first_and_last
from mmmim.report.summary import duration, images_per_second, result


def write_lines(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join((r if isinstance(r, str) else json.dumps(r)) + '\n' for r in records))
    return path


def evaluation(folder, name, **values):
    write_lines(folder / 'evaluations' / f'{name}.json', {key.replace('__', '/'): v for key, v in values.items()})


def test_a_curve_becomes_one_series_a_quantity(tmp_path):
    curve = read_curve(
        write_lines(
            tmp_path / 'curve.jsonl',
            dict(iter=0, epoch=0, **{'knn/top1_k20': 10.0}),
            *(dict(iter=i, epoch=(i + 2) // 3, lr=0.1 * i, loss=1 / i) for i in range(1, 8)),
            '{"iter": 8, "epoch": 3, "lo',
        )
    )
    assert curve.skipped == 1 and curve.steps_per_epoch == 3 and curve.last_iter == 7
    assert set(curve.training) == {'lr', 'loss'} and set(curve.measured) == {'knn/top1_k20'}
    assert curve.training['loss'].iters.tolist() == list(range(1, 8))
    np.testing.assert_allclose(curve.training['loss'].values, [1 / i for i in range(1, 8)])


def test_what_is_no_finite_number_is_a_gap_and_a_repeated_iteration_counts_once(tmp_path):
    curve = read_curve(
        write_lines(
            tmp_path / 'curve.jsonl',
            dict(iter=1, loss=3.0),
            '{"iter": 2, "loss": NaN}',
            dict(iter=4, loss='x', note=True),
            dict(iter=3, loss=2.0),
            dict(iter=1, loss=5.0),
            '[1]',
            '{"loss": 1}',
            '\x00\xff',
            f'{{"iter": 5, "loss": {10**400}}}',
        )
    )
    assert curve.training['loss'].iters.tolist() == [1, 3] and curve.training['loss'].values.tolist() == [5, 2]
    assert curve.steps_per_epoch is None and curve.skipped == 3 and set(curve.training) == {'loss'}


def test_a_missing_curve_names_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match='no curve.jsonl: give the work dir'):
        find_curve(str(tmp_path))
    with pytest.raises(FileNotFoundError, match='there is no'):
        find_curve(str(tmp_path / 'nothing'))


def test_the_running_mean_is_centred_and_follows_a_steep_start():
    values = np.random.default_rng(0).normal(size=101)
    smooth = running_mean(values, 11)
    np.testing.assert_allclose(smooth[50], values[45:56].mean())
    np.testing.assert_allclose(running_mean(np.full(40, 3.0), 9), 3)
    assert smooth[-20:].std() < 0.6 * values[-20:].std()  # the end is smooth, too
    steep = np.exp(-np.arange(200) / 10)
    assert running_mean(steep, 51)[0] > 0.8
    assert running_mean(values, 1) is values


def test_series_are_sorted():
    series = make_series([5, 1, 5], [1, 2, 3])
    assert series.iters.tolist() == [1, 5] and series.values.tolist() == [2, 3]


def test_evaluations_are_ordered_and_joined_with_what_training_measured(tmp_path):
    evaluation(tmp_path, 'b', checkpoint='x/epoch_2.pth', iter=20, epoch=2, linear__top1=50.0, knn__top1_k20=41.0)
    evaluation(tmp_path, 'a', checkpoint=RANDOM, iter=0, epoch=0, linear__top1=30.0)
    evaluation(tmp_path, 'c', checkpoint='y/foreign.pth', iter=None, linear__top1=90.0)
    write_lines(
        tmp_path / 'curve.jsonl',
        {'iter': 0, 'epoch': 0, 'knn/top1_k20': 20.0},
        {'iter': 10, 'epoch': 1, 'knn/top1_k20': 33.0, 'loss': 1.0},
        {'iter': 11, 'epoch': 2, 'loss': 1.0},
        {'iter': 20, 'epoch': 2, 'knn/top1_k20': 40.0},
    )
    run = load_run(str(tmp_path))
    assert [(row.label, row.iter) for row in run.evaluations] == [
        (RANDOM, 0),
        ('epoch 1', 10),
        ('epoch_2.pth', 20),
        ('foreign.pth', None),
    ]
    assert run.evaluations[0].metrics == {'linear/top1': 30.0, 'knn/top1_k20': 20.0}
    assert run.evaluations[2].metrics['knn/top1_k20'] == 41.0  # what was measured on purpose stands
    assert run.measured['knn/top1_k20'].values.tolist() == [20, 33, 41]
    assert first_and_last(run, 'linear/top1') == (30, 50)


def test_the_result_of_a_run_in_a_sentence(tmp_path):
    evaluation(tmp_path, 'a', checkpoint=RANDOM, knn__top1_k20=23.04, held_out__recon_loss=1.88)
    evaluation(tmp_path, 'b', checkpoint='epoch_9.pth', iter=90, knn__top1_k20=46.3, held_out__recon_loss=0.651)
    sessions = [
        dict(from_iter=0, to_iter=30, seconds=100.0, images_per_second=300.0),
        dict(from_iter=30, to_iter=90, seconds=192.0, images_per_second=100.0),
        dict(seconds='x'),
        3,
    ]
    write_lines(
        tmp_path / 'run.json',
        json.dumps(dict(sessions=sessions, hardware=dict(cpu='A CPU', cores=2, gpu=None), finished=True)),
    )
    run = load_run(str(tmp_path))
    assert images_per_second(run) == pytest.approx((100 * 300 + 192 * 100) / 292)
    assert result(run) == (
        'k-NN accuracy (k = 20) 23.0 → 46.3%, held-out loss 1.88 → 0.651, in 4 min 52 s '
        'on 2 cores of A CPU, 168 images/s.'
    )


@pytest.mark.parametrize(
    'seconds, words',
    [(0.4, '0 s'), (59.6, '1 min'), (292, '4 min 52 s'), (3600, '1 h'), (11530, '3 h 12 min'), (187200, '2 d 4 h')],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize('content', [b'', b'{', b'[]', b'null', b'\x80\xff\x00', b'"text"', b'[' * 100000])
def test_broken_files_are_noted_and_nothing_is_raised(tmp_path, content):
    for name in (
        'curve.jsonl',
        'run.json',
        'non_finite.json',
        'config.py',
        'bad_images.txt',
        'last_checkpoint',
        'evaluations/a.json',
        'reconstructions/epoch_0001.png',
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    run = load_run(str(tmp_path))
    assert run.record == {} and run.config == {} and not run.evaluations and run.panels
    notes = '\n'.join(run.notes)
    assert all(name in notes for name in ('run.json', 'evaluations/a.json', 'non_finite.json', 'curve.jsonl'))


def test_an_empty_run_says_what_is_missing(tmp_path):
    (tmp_path / 'curve.jsonl').touch()
    notes = '\n'.join(load_run(str(tmp_path)).notes)
    for part in ('run.json', 'no config', 'no loss curve', 'no pictures', 'nothing was measured'):
        assert part in notes


def test_a_config_is_read_and_never_executed(tmp_path):
    trap = tmp_path / 'executed'
    (tmp_path / 'curve.jsonl').touch()
    config = tmp_path / 'config.py'
    config.write_text(f'import os\nos.mkdir({str(trap)!r})\nmax_epochs = 3\n')
    run = load_run(str(tmp_path))
    assert not trap.exists() and run.config == {} and any('config.py' in note for note in run.notes)
    config.write_text('max_epochs = 3\nmodel = dict(type="MAE", mask_ratio=-0.5)\n')
    assert load_run(str(tmp_path)).config == dict(max_epochs=3, model=dict(type='MAE', mask_ratio=-0.5))


def test_folders_that_are_no_work_dir(tmp_path):
    write_lines(tmp_path / 'runs/first/curve.jsonl')
    (tmp_path / 'file').touch()
    with pytest.raises(FileNotFoundError, match='there is no folder'):
        load_runs([str(tmp_path / 'nothing')])
    with pytest.raises(NotADirectoryError, match='is a file'):
        load_runs([str(tmp_path / 'file')])
    with pytest.raises(ValueError, match='curve.jsonl, run.json.*Work dirs in it: .*first'):
        load_runs([str(tmp_path / 'runs')])


def test_runs_get_the_shortest_names_that_differ(tmp_path):
    for name in ('a/run', 'b/run', 'b/other'):
        write_lines(tmp_path / name / 'curve.jsonl')
    names = [run.name for run in load_runs([str(tmp_path / name) for name in ('b/run', 'a/run', 'a/../b/run')])]
    assert names == ['b/run', 'a/run']  # the same folder twice is one run
    assert [run.name for run in load_runs([str(tmp_path / 'a/run'), str(tmp_path / 'b/other')])] == ['run', 'other']
