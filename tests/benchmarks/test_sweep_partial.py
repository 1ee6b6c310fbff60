"""Sweeping the number of trained blocks: a run each, resumed where it was, and the curve."""

import json
import os
from types import SimpleNamespace

import pytest
from cls_harness import make_classifier_config
from harness import ROOT, python, read_curve, save_config

import sweep_partial
from started_runs import final_accuracy

pytestmark = pytest.mark.runs

TOOL = str(ROOT / 'tools/benchmarks/sweep_partial.py')


def sweep(*args):
    return python(TOOL, *args)


def test_sweep_trains_each_and_draws(tmp_path, image_root):
    config = save_config(make_classifier_config(tmp_path / 'run', image_root, 'partial', epochs=2), tmp_path / 'c.py')
    done = sweep(config, '--blocks', '0.5,0', '--work-dir', tmp_path / 'sweep')
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((tmp_path / 'sweep/sweep.json').read_text())
    assert record['blocks'] == [0, 0.5]
    for blocks, accuracy in zip(('0', '0.5'), record['accuracy']):
        folder = tmp_path / f'sweep/blocks_{blocks}'
        assert accuracy == read_curve(folder)[-1]['accuracy/top1']
    trained = [
        json.loads((tmp_path / f'sweep/blocks_{n}/run.json').read_text())['parameters'].get('backbone', 0)
        for n in ('0', '0.5')
    ]
    assert trained == [0, 64 + 2 * 32 * 128 + 128 + 32]  # the norm and the MLP of a block of width 32
    assert (tmp_path / 'sweep/partial.png').read_bytes().startswith(b'\x89PNG')
    before = os.stat(tmp_path / 'sweep/blocks_0/run.json').st_mtime_ns
    assert sweep(config, '--blocks', '0', '--work-dir', tmp_path / 'sweep').returncode == 0
    assert os.stat(tmp_path / 'sweep/blocks_0/run.json').st_mtime_ns == before  # a finished run is not repeated
    kept = (tmp_path / 'sweep/sweep.json').read_text()
    done = sweep(config, '--blocks', '0,1', '--work-dir', tmp_path / 'sweep', '--cfg-options', 'pretrained=other.pth')
    assert done.returncode == 1 and 'Traceback' not in done.stderr, done.stderr
    then, now = done.stderr.split('This call would start it with')
    assert 'blocks_0 holds a run' in then and 'pretrained=other.pth' not in then
    assert f'{config} pretrained=other.pth model.backbone.trainable_blocks=0' in now and '(--work-dir)' in now
    assert (tmp_path / 'sweep/sweep.json').read_text() == kept
    assert not (tmp_path / 'sweep/blocks_1/run.json').exists()


def test_a_run_that_fails_ends_the_sweep(tmp_path, image_root):
    config = save_config(make_classifier_config(tmp_path / 'run', image_root, 'partial'), tmp_path / 'c.py')
    done = sweep(config, '--blocks', '1', '--work-dir', tmp_path / 'sweep', '--cfg-options', 'num_classes=5')
    assert done.returncode == 1 and 'num_classes=2' in done.stderr and 'goes on' in done.stderr


def test_a_run_without_its_last_validation_is_not_finished(tmp_path):
    (tmp_path / 'run.json').write_text('{"finished": true, "max_iters": 8}')
    (tmp_path / 'curve.jsonl').write_text('{"iter": 4, "epoch": 1, "accuracy/top1": 50.0}\n')
    trained = []
    with pytest.raises(RuntimeError, match='no accuracy/top1 of the last iteration'):
        final_accuracy(str(tmp_path), lambda: trained.append('again'))
    with open(tmp_path / 'curve.jsonl', 'a') as file:
        file.write('{"iter": 8, "epoch": 2, "accuracy/top1": 60.0}\n')
    assert final_accuracy(str(tmp_path), lambda: trained.append('once more')) == 60 and trained == ['again']


@pytest.mark.parametrize(
    'text, depth, expected',
    [
        ('1, 0,2.5,1', 12, [0, 1, 2.5]),
        (None, 12, [0, 0.5, 1, 2, 4, 8, 12]),
        (None, 6, [0, 0.5, 1, 2, 4, 6]),
        (None, 24, [0, 0.5, 1, 2, 4, 8, 16, 24]),
    ],
)
def test_blocks(text, depth, expected):
    assert sweep_partial.parse_blocks(text, depth) == expected


@pytest.mark.parametrize('text', ['13', '-1', '0.3', 'all', ','])
def test_impossible_blocks(text):
    with pytest.raises(ValueError, match='--blocks'):
        sweep_partial.parse_blocks(text, 12)


def test_linear_config_stands_in_at_no_blocks(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(
        sweep_partial.subprocess, 'run', lambda command: commands.append(command) or SimpleNamespace(returncode=0)
    )
    args = SimpleNamespace(config='fine.py', linear='linear.py', gpus=4, cfg_options=['pretrained=a.pth'])
    for blocks in (0, 0.5):
        sweep_partial.train(args, blocks, str(tmp_path / str(blocks)))
    assert [command[2:4] for command in commands] == [['linear.py', '4'], ['fine.py', '4']]
    assert all(
        command[-2:] == ['pretrained=a.pth', f'model.backbone.trainable_blocks={n}']
        for command, n in zip(commands, (0, 0.5))
    )
