"""The benchmark of windows: what it compares is one model, and its command line."""

import json
import re
import runpy
import sys
from types import SimpleNamespace

import pytest
import torch
from harness import ROOT

from timing import PhaseTimer

pytestmark = pytest.mark.runs

TOOL = str(ROOT / 'tools/benchmarks/benchmark_windows.py')
SMALL = ['--arch', 'tiny', '--size', '64', '--patch-size', '8', '--window', '3', '--steps', '2', '--device', 'cpu']


def run_tool(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', [TOOL, *args])
    try:
        runpy.run_path(TOOL, run_name='__main__')
    except SystemExit as end:
        return end.code


def test_a_step_of_each_has_a_backward_pass_and_an_update():
    make_step = runpy.run_path(TOOL)['make_step']
    args = SimpleNamespace(
        arch='tiny',
        size=64,
        patch_size=8,
        window=3,
        relative_positions='decomposed',
        with_cp=False,
        device='cpu',
        dtype='bfloat16',
    )
    timer = PhaseTimer(torch.device('cpu'))
    for kind in ('windows', 'full', 'products'):
        make_step(kind, args, timer)(torch.randn(1, 3, 64, 64))
    spent = timer.collect()
    assert set(spent) == {'backward', 'optimizer'} and min(spent.values()) > 0


def test_full_attention_is_fused_and_products_keep_their_weights():
    """What a step keeps for its backward pass: 36 x 36 weights a head in every block, by plain products alone."""
    make_step = runpy.run_path(TOOL)['make_step']
    args = SimpleNamespace(
        arch='tiny',
        size=48,
        patch_size=8,
        window=3,
        relative_positions=None,
        with_cp=False,
        device='cpu',
        dtype='bfloat16',
    )
    for kind, blocks in (('full', 0), ('products', 12)):
        kept = {}
        step = make_step(kind, args, PhaseTimer(torch.device('cpu')))
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x: (kept.setdefault(x.untyped_storage().data_ptr(), x), x)[1], lambda x: x
        ):
            step(torch.randn(1, 3, 48, 48))
        assert sum(x.shape[-2:] == (36, 36) and x.ndim > 2 for x in kept.values()) == blocks, kind


def test_it_prints_times_memory_and_ratios(monkeypatch, capsys, tmp_path):
    assert not run_tool(monkeypatch, *SMALL, '--out', str(tmp_path / 'o.json'))
    said = capsys.readouterr().out
    number = r'[\d.]+'
    kinds = ('windows', 'full', 'products')
    for kind in kinds:
        assert re.search(rf'^{kind} +step +{number} ms \(quartiles {number}-{number}\), memory 0\.\d+ GiB$', said, re.M)
    result = json.loads((tmp_path / 'o.json').read_text())
    for kind in kinds[1:]:
        printed = re.search(rf'windows over {kind}: ({number}) of the step time, ({number}) of the memory', said)
        time, memory = (result[key] for key in ('seconds', 'memory_bytes'))
        assert float(printed[1]) == pytest.approx(time['windows']['median'] / time[kind]['median'], abs=1e-3)
        assert float(printed[2]) == pytest.approx(memory['windows'] / memory[kind], abs=1e-3)


def test_one_of_the_two_can_be_left_out(monkeypatch, capsys):
    assert not run_tool(monkeypatch, *SMALL, '--against', 'full')
    said = capsys.readouterr().out
    assert 'windows over full' in said and 'products' not in said


@pytest.mark.parametrize(
    'extra, message', [(['--arch', 'giant'], "arch='giant' is not known"), (['--steps', '0'], 'must be at least 1')]
)
def test_mistakes_end_in_one_line(extra, message, monkeypatch, capsys):
    code = run_tool(monkeypatch, *SMALL, *extra)
    said = capsys.readouterr()
    assert code and message in f'{code}{said.out}{said.err}' and 'Traceback' not in said.out + said.err
