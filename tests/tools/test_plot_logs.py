"""Curves of several runs as one picture."""

import json
import os
import runpy
import sys

import numpy as np
import pytest
from harness import ROOT
from PIL import Image

BLUE, ORANGE = (0x1F, 0x5F, 0xB4), (0xC2, 0x41, 0x0C)


@pytest.fixture
def plot_logs(monkeypatch, tmp_path):
    """The tool as a function of its arguments, run in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['plot_logs.py', *map(str, arguments)])
        runpy.run_path(str(ROOT / 'tools/visualize/plot_logs.py'), run_name='__main__')

    return run


def make_run(folder, steps=40, epoch=10, start=1.0, **record):
    os.makedirs(folder)
    with open(folder / 'curve.jsonl', 'w') as file:
        for i in range(steps + 1):
            if i:
                file.write(json.dumps(dict(iter=i, epoch=(i - 1) // epoch + 1, lr=1e-3, loss=start / i)) + '\n')
            if i % epoch == 0:
                file.write(json.dumps({'iter': i, 'epoch': i // epoch, 'knn/top1_k20': 10 + i * start}) + '\n')
    if record:
        (folder / 'run.json').write_text(json.dumps(record))
    return folder


def share(path, colour):
    pixels = np.asarray(Image.open(path).convert('RGB'), int)
    return (np.abs(pixels - colour).max(axis=2) < 12).mean()


def test_two_runs_are_drawn_in_their_colours(plot_logs, tmp_path, capsys):
    a, b = make_run(tmp_path / 'a'), make_run(tmp_path / 'b', start=2.0)
    plot_logs(a, '--out', 'one.png')
    plot_logs(a, b / 'curve.jsonl', '--out', 'two')
    assert capsys.readouterr().out.splitlines() == ['one.png: loss, knn/top1_k20', 'two.png: loss, knn/top1_k20']
    assert share('one.png', BLUE) > 1e-3 and share('one.png', ORANGE) == 0
    assert share('two.png', BLUE) > 1e-3 and share('two.png', ORANGE) > 1e-3


def test_each_key_gets_a_panel(plot_logs, tmp_path):
    run = make_run(tmp_path / 'run')
    plot_logs(run, '--keys', 'lr')
    plot_logs(run, '--keys', 'lr', 'loss', 'knn/top1_k20', '--x', 'epoch', '--log', '--out', 'three.png')
    one, three = Image.open('curves.png'), Image.open('three.png')
    assert (three.width, three.height) == (3 * one.width, one.height)


def test_a_curve_file_with_another_name(plot_logs, tmp_path, capsys):
    os.rename(make_run(tmp_path / 'run') / 'curve.jsonl', 'copied.jsonl')
    plot_logs('copied.jsonl')
    assert 'knn/top1_k20' in capsys.readouterr().out


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--keys', 'los'], r'--keys los: no run has that. There are lr, loss, knn/top1_k20'),
        (['--x', 'time'], r'run has no run.json'),
        (['--out', 'curves.doc'], r'ends in one of .png'),
        (['nothing'], r'there is no nothing: give the work dir'),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(plot_logs, tmp_path, arguments, message):
    run = make_run(tmp_path / 'run')
    with pytest.raises(SystemExit, match=message) as end:
        plot_logs(run, *arguments)
    assert str(end.value).splitlines()[1:] == ['(MMMIM_TRACEBACK=1 shows where)']
    assert not os.path.exists('curves.png')


def test_an_empty_curve_is_told(plot_logs, tmp_path):
    os.makedirs(tmp_path / 'run')
    (tmp_path / 'run/curve.jsonl').touch()
    with pytest.raises(SystemExit, match='nothing was logged yet'):
        plot_logs(tmp_path / 'run')


def test_a_run_without_a_quantity_is_named(plot_logs, tmp_path, capsys):
    a, b = make_run(tmp_path / 'a'), make_run(tmp_path / 'b')
    (b / 'curve.jsonl').write_text('{"iter": 1, "epoch": 1, "loss": 2.0}\n{"iter": 2, "epo')
    plot_logs(a, b, '--keys', 'knn/top1_k20')
    errors = capsys.readouterr().err
    assert 'b has no knn/top1_k20' in errors and 'b: 1 line(s)' in errors


def test_training_time_leaves_out_pauses(tmp_path):
    tool = runpy.run_path(str(ROOT / 'tools/visualize/plot_logs.py'))
    sessions = [
        dict(started='2026-01-01T00:00:00+00:00', from_iter=0, to_iter=10, seconds=60),
        dict(started='2026-01-05T00:00:00+00:00', from_iter=10, to_iter=30, seconds=240),
    ]
    (run,) = tool['load']([str(make_run(tmp_path / 'run', sessions=sessions))])
    minutes = tool['horizontal'](run, np.array([0, 5, 10, 20, 30, 40]), 'time')
    np.testing.assert_allclose(minutes, [0, 0.5, 1, 3, 5, 5 + 10 * 5 / 30])  # the last at the mean pace
    np.testing.assert_allclose(tool['horizontal'](run, np.array([5, 40]), 'epoch'), [0.5, 4])
