"""Methods trained for the same minutes with several seeds, and their table."""

import json
import runpy
from types import SimpleNamespace

import pytest
from cls_harness import make_classifier_config
from harness import ROOT, make_config, python, save_config
from mmengine.config import Config

from mmmim.engine import hardware

pytestmark = pytest.mark.runs

TOOL = ROOT / 'tools/benchmarks/compare_methods.py'


def config(folder, images, method, **overrides):
    pipeline = [dict(type='LoadImage'), dict(type='Resize', size=16), dict(type='PackImage')]
    data = dict(type='ImageFolder', data_root=str(images), pipeline=pipeline)
    cfg = make_config(folder / 'unused', images, method, **{'custom_imports.imports': ['mmmim'], **overrides})
    cfg.merge_from_dict(
        dict(
            test_dataloader=dict(
                batch_size=32,
                num_workers=0,
                dataset=data,
                sampler=dict(type='EpochSampler', shuffle=False, pad=True),
                collate_fn=dict(type='mmmim.mim_collate'),
            ),
            test_cfg=dict(),
            test_evaluator=dict(type='ReconstructionMetric'),
            feature_eval=dict(bank=data, query=data, ks=(3,), num_workers=0),
        )
    )
    return save_config(cfg, folder / f'{method}.py')


def compare(*words, folder):
    return python(TOOL, *words, '--minutes', '0.02', '--out', 'out', cwd=folder, timeout=600)


@pytest.fixture(scope='module')
def compared(tmp_path_factory, image_root):
    """(folder, what was printed) of MAE, and of another that starts from it for half the time, with two seeds each."""
    folder = tmp_path_factory.mktemp('compared')
    mae = config(folder, image_root, 'mae')
    words = [
        f'a={mae}',
        f'more={mae},minutes=0.01,model.mask_ratio=0.5,load_from={{a}}',
        '--seeds',
        '0',
        '1',
        '--jobs',
        '2',
        '--finetune',
        save_config(make_classifier_config(folder / 'unused', image_root), folder / 'finetune.py'),
        '--finetune-options',
        'max_epochs=1',
        'warmup_epochs=0',
    ]
    done = compare(*words, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, words, done.stdout


@pytest.mark.slow
def test_every_method_has_its_minutes_and_its_numbers(compared):
    folder, _, printed = compared
    found = json.loads((folder / 'out/comparison.json').read_text())['rows']
    assert list(found) == ['a', 'more']
    for name, rows in found.items():
        assert [row['seed'] for row in rows] == [0, 1]
        for row in rows:
            assert {'knn', 'linear', 'finetune'} < set(row) and all(0 <= row[key] <= 100 for key in ('knn', 'linear'))
            assert (folder / row['checkpoint']).is_file()
    assert found['a'][0]['images'] == found['a'][1]['images'] > 1.3 * found['more'][0]['images']
    lines = (folder / 'out/comparison.md').read_text().splitlines()
    assert lines[0] == '| method | images seen | minutes | k-NN | linear | fine-tuned |' and len(lines) == 4
    knn = [row['knn'] for row in found['a']]
    assert f'| {sum(knn) / 2:.1f} ± ' in lines[2] and lines[2] in printed


@pytest.mark.parametrize('images, epochs, samples', [(300, 5, 60), (100, 2, 50), (40, 1, 40)])
def test_a_short_run_has_a_warm_up_of_two_steps(images, epochs, samples, tmp_path, image_root):
    tool = runpy.run_path(str(TOOL))
    cfg = Config.fromfile(config(tmp_path, image_root, 'mae', warmup_epochs=0.1))
    assert tool['lengths'](cfg, images, 10) == (epochs, samples)
    comparison = object.__new__(tool['Comparison'])
    comparison.write_config(cfg, str(tmp_path / 'run'), 3, epochs, samples)
    written = Config.fromfile(tmp_path / 'run.py')
    assert written.max_epochs == epochs and written.randomness.seed == 3
    assert int(written.warmup_epochs * (samples // 16)) == max(2, int(0.1 / 3 * epochs * (samples // 16)))


@pytest.mark.slow
def test_seeds_differ_and_a_start_is_the_same_seeds_checkpoint(compared):
    folder = compared[0]
    curves = [(folder / f'out/a/seed{seed}/curve.jsonl').read_text() for seed in (0, 1)]
    assert curves[0] != curves[1]
    for seed in (0, 1):
        written = (folder / f'out/more/seed{seed}.py').read_text()
        start = json.loads((folder / 'out/comparison.json').read_text())['rows']['a'][seed]['checkpoint']
        assert f"load_from = '{start}'" in written and f'seed{seed}/' in start
        assert f'Load checkpoint from {start}' in (folder / f'out/more/seed{seed}.log').read_text()


@pytest.mark.slow
def test_what_is_done_is_not_repeated(compared):
    folder, words, printed = compared
    before = {path: path.stat().st_mtime_ns for path in (folder / 'out').rglob('*.pth')}
    done = compare(*words, folder=folder)
    assert done.returncode == 0 and done.stdout.splitlines()[-4:] == printed.splitlines()[-4:]
    assert {path: path.stat().st_mtime_ns for path in (folder / 'out').rglob('*.pth')} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    'before, after',
    [
        ('minutes=0.01,', 'minutes=0.03,'),
        ('mask_ratio=0.5', 'mask_ratio=0.6'),
        ('max_epochs=1', 'max_epochs=2'),
        ('warmup_epochs=0', 'pretrained=other.pth'),
    ],
    ids=['minutes', 'options', 'finetune', 'checkpoint'],
)
def test_what_another_command_has_started_is_not_taken_for_its_result(compared, before, after):
    folder, words, _ = compared
    assert before in ' '.join(map(str, words))
    kept = (folder / 'out/comparison.json').read_bytes()
    done = compare(*[str(word).replace(before, after) for word in words], folder=folder)
    assert done.returncode == 1 and 'Traceback' not in done.stderr, done.stderr
    then, now = done.stderr.split('This call would start it with')
    assert before.strip(',') in then and after.strip(',') in now and 'another folder (--out)' in now
    assert (folder / 'out/comparison.json').read_bytes() == kept


def test_fine_tuning_without_its_last_validation_is_not_finished(tmp_path, image_root):
    path = save_config(make_classifier_config(tmp_path / 'unused', image_root), tmp_path / 'finetune.py')
    comparison = object.__new__(runpy.run_path(str(TOOL))['Comparison'])
    comparison.args = SimpleNamespace(finetune=str(path), finetune_options=[])
    work_dir = tmp_path / 'seed0/finetune'
    lines = [json.dumps({'iter': i, 'epoch': i // 4, 'accuracy/top1': 10.0 * i}) + '\n' for i in (4, 8)]

    def train(*words, log):
        calls.append(words)
        (work_dir / 'run.json').write_text('{"finished": true, "max_iters": 8}')
        (work_dir / 'curve.jsonl').write_text(''.join(lines[:count]))

    calls, count, comparison.call = [], 1, train
    for _ in range(2):
        with pytest.raises(RuntimeError, match='no accuracy/top1 of the last iteration'):
            comparison.finetuned(str(tmp_path / 'seed0'), 'a.pth', 0)
    count = 2
    assert [comparison.finetuned(str(tmp_path / 'seed0'), 'a.pth', 0) for _ in range(2)] == [80.0, 80.0]
    assert len(calls) == 3 and '--resume' in calls[0]


@pytest.mark.parametrize('given, expected', [(None, '3'), ('5', '5')])
def test_threads_are_a_share_of_the_usable_cores_or_as_many_as_were_asked_for(monkeypatch, given, expected):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    if given:
        monkeypatch.setenv('OMP_NUM_THREADS', given)
    monkeypatch.setattr(hardware, 'usable_cores', lambda: 6)
    args = SimpleNamespace(methods=['a.py'], minutes=1, jobs=2)
    assert runpy.run_path(str(TOOL))['Comparison'](args).environment['OMP_NUM_THREADS'] == expected


@pytest.mark.parametrize(
    'words, message',
    [
        (['a=nowhere.py'], "there is no config 'nowhere.py'"),
        (['a.py', 'b/a.py'], "two methods are called 'a'"),
        (['a.py,minutes'], 'KEY=VALUE'),
        (['x=a.py,load_from={y}', 'y=a.py'], "x needs the checkpoint of 'y'"),
        (['a.py', '--seeds', '1', '1'], 'a seed is given twice'),
    ],
    ids=['no-config', 'names', 'option', 'order', 'seeds'],
)
def test_bad_input(tmp_path, words, message):
    done = compare(*words, folder=tmp_path)
    assert done.returncode and message in done.stderr and 'Traceback' not in done.stderr


def test_a_run_that_fails_is_named_with_its_log(tmp_path, image_root):
    path = config(tmp_path, image_root, 'mae')
    done = compare(f'a={path},data_root=x', folder=tmp_path)
    assert done.returncode == 1 and 'the config has no `data_root`' in done.stderr
    done = compare(f'a={path},train_dataloader.dataset.data_root=nowhere', folder=tmp_path)
    assert done.returncode == 1 and 'nowhere' in done.stderr and 'Traceback' not in done.stderr
    done = compare(f'a={path},base_lr=1e30', folder=tmp_path)  # ends when a loss is not finite
    assert done.returncode == 1 and 'what it printed is in out/a/timing.log' in done.stderr
    assert 'finite' in (tmp_path / 'out/a/timing.log').read_text()
