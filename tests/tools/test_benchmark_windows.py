"""The benchmark of windows: its two contenders are one model, and its command line."""
import re
import runpy
import sys
from types import SimpleNamespace

import pytest
import torch
from harness import ROOT

from mmmim.analysis.timing import PhaseTimer

TOOL = str(ROOT / 'tools/analysis/benchmark_windows.py')
SMALL = ['--arch', 'tiny', '--size', '64', '--patch-size', '8', '--window', '3', '--steps', '2', '--device', 'cpu']


def run_tool(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', [TOOL, *args])
    try:
        runpy.run_path(TOOL, run_name='__main__')
    except SystemExit as end:
        return end.code


def test_a_step_of_each_has_a_backward_pass_and_an_update():
    make_step = runpy.run_path(TOOL)['make_step']
    args = SimpleNamespace(arch='tiny', size=64, patch_size=8, window=3, relative_positions='decomposed', with_cp=False,
                           device='cpu', dtype='bfloat16')
    timer = PhaseTimer(torch.device('cpu'))
    for kind in ('windows', 'full'):
        make_step(kind, args, timer)(torch.randn(1, 3, 64, 64))
    spent = timer.collect()
    assert set(spent) == {'backward', 'optimizer'} and min(spent.values()) > 0


def test_it_prints_times_memory_and_ratios(monkeypatch, capsys):
    assert not run_tool(monkeypatch, *SMALL)
    said = capsys.readouterr().out
    number = r'[\d.]+'
    for kind in ('windows', 'full'):
        assert re.search(rf'^{kind} +step +{number} ms \(quartiles {number}-{number}\), memory 0\.\d+ GiB$', said, re.M)
    times = [float(value) for value in re.findall(r'step +(\d+) ms', said)]
    ratio = float(re.search(rf'windows over full: ({number}) of the step time, {number} of the memory', said)[1])
    assert ratio == pytest.approx(times[0] / times[1], rel=0.1)


@pytest.mark.parametrize('extra, message', [(['--arch', 'giant'], "arch='giant' is not known"),
                                            (['--steps', '0'], 'must be at least 1')])
def test_mistakes_end_in_one_line(extra, message, monkeypatch, capsys):
    code = run_tool(monkeypatch, *SMALL, *extra)
    said = capsys.readouterr()
    assert code and message in f'{code}{said.out}{said.err}' and 'Traceback' not in said.out + said.err
