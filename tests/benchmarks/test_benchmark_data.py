"""Images a second of the pipelines, side by side."""

import json
import runpy
import sys

import pytest
from harness import ROOT

TOOL = str(ROOT / 'tools/benchmarks/benchmark_data.py')


@pytest.fixture
def benchmark(monkeypatch):
    def run(*args):
        monkeypatch.setattr(sys, 'argv', [TOOL, *map(str, args)])
        try:
            runpy.run_path(TOOL, run_name='__main__')
        except SystemExit as end:
            return end.code

    return run


def test_three_pipelines_take_turns(benchmark, image_root, tmp_path, capsys):
    step = tmp_path / 'step.json'
    step.write_text(json.dumps(dict(contenders=dict(mmmim=dict(images_per_second=100.0)))))
    out = tmp_path / 'made/out.json'
    assert benchmark(image_root, '--size', 16, '--images', 6, '--turns', 2, '--step', step, '--out', out) is None
    found, printed = json.loads(out.read_text()), capsys.readouterr().out
    rates = found['images_per_second']
    assert list(rates) == ['mmmim', 'mmpretrain', 'torchvision'] and found['images'] == 6
    assert found['ours_over']['mmpretrain'] == pytest.approx(rates['mmmim'] / rates['mmpretrain'])
    assert found['step']['cores_to_feed_it'] == pytest.approx(100 / rates['mmmim'])
    assert f'ours {found["ours_over"]["torchvision"]:.2f} times as fast' in printed and 'cores feed it' in printed


def test_shards_are_measured_alone(benchmark, image_root, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['make_shards.py', str(image_root), str(tmp_path / 'shards')])
    runpy.run_path(str(ROOT / 'tools/datasets/make_shards.py'), run_name='__main__')
    out = tmp_path / 'out.json'
    assert (
        benchmark(tmp_path / 'shards', '--size', 16, '--images', 6, '--turns', 1, '--repeat-crops', 3, '--out', out)
        is None
    )
    assert list(json.loads(out.read_text())['images_per_second']) == ['mmmim', 'mmmim x3']


def test_bad_input(benchmark, tmp_path):
    assert 'does not exist' in benchmark(tmp_path / 'nowhere')
    assert benchmark(tmp_path, '--turns', 0) == 2
