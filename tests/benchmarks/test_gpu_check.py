"""The check of a GPU: a dry run on the CPU, and what becomes of stages that fail, hang or do not fit."""

import json
import os
import subprocess
import sys

import pytest
from harness import ROOT

import gpu_check
from gpu_stages import LEFT_OUT, Stage, peak_flops

STAND_IN = f"""
import sys, time
if sys.argv[1] == 'hang':
    time.sleep(60)
print('a warning')
print('{{"detail": "seen | done"}}')
sys.exit(dict(good=0, bad=1, lacking={LEFT_OUT})[sys.argv[1]])
"""


def run(monkeypatch, *args):
    """Exit code of the command in this process."""
    monkeypatch.setattr(sys, 'argv', ['gpu_check.py', *map(str, args)])
    monkeypatch.setattr(gpu_check.signal, 'signal', lambda *_: None)  # this process keeps its handler
    return gpu_check.main()


@pytest.mark.runs
def test_two_stages_on_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    out, page = tmp_path / 'o.json', tmp_path / 'page.md'
    assert run(monkeypatch, '--cpu', '--only', 'nvjpeg', 'steps-mae', '--out', out, '--page', page) == 0
    stages = json.loads(out.read_text())['stages']
    assert {name: found['result'] for name, found in stages.items()} == {'nvjpeg': 'passed', 'steps-mae': 'passed'}
    assert 0 < stages['nvjpeg']['mean'] < 2 and '2 steps' in stages['steps-mae']['detail']
    assert not page.exists()  # it is of GPUs


def test_the_script_hands_on_its_arguments(tmp_path):
    command = ['bash', ROOT / 'tools/benchmarks/gpu_check.sh', '--cpu', '--only', 'a b']
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, 'PYTHON': 'echo'}, capture_output=True, text=True)
    assert done.stdout == f'{ROOT}/tools/benchmarks/gpu_check.py --cpu --only a b\n'


@pytest.mark.parametrize(
    'names, results, code',
    [
        (['good'], ['passed'], 0),
        (['lacking', 'long', 'good'], ['left out', 'left out', 'passed'], 3),
        (['bad', 'hang', 'lacking', 'good'], ['failed', 'failed', 'left out', 'passed'], 1),
    ],
)
def test_other_stages_go_on(names, results, code, tmp_path, monkeypatch):
    (tmp_path / 'stages.py').write_text(STAND_IN)
    stages = {name: Stage(print, seconds=5) for name in ('good', 'bad', 'lacking')}
    stages.update(hang=Stage(print, seconds=0.5), long=Stage(print, seconds=1000))
    monkeypatch.setattr(gpu_check, 'STAGES', {name: stages[name] for name in names})
    monkeypatch.setattr(gpu_check, 'SCRIPT', tmp_path / 'stages.py')
    monkeypatch.setattr(gpu_check.torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(gpu_check, 'hardware', lambda: dict(gpu='NVIDIA H200'))
    out, page = tmp_path / 'new/o.json', tmp_path / 'gpu.md'
    assert run(monkeypatch, '--out', out, '--page', page) == code
    found = json.loads(out.read_text())['stages']
    assert [found[name]['result'] for name in names] == results
    rows = [line for line in page.read_text().splitlines() if line.startswith('| ')][2:]
    assert [row.split(' | ')[1] for row in rows] == results and 'seen \\| done' in rows[-1]
    assert 'NVIDIA H200' in page.read_text() and 'never' not in page.read_text()
    if 'hang' in names:
        assert 'not done after 2 s' in found['hang']['detail'] and found['hang']['seconds'] < 10
    if 'long' in names:
        assert 'needs up to 1000 s' in found['long']['detail']


def test_the_page_says_never_until_it_ran():
    text = (ROOT / 'docs/gpu.md').read_text()
    assert 'Last run: NVIDIA' in text or text == gpu_check.make_page(None)


@pytest.mark.parametrize('args, words', [(['--minutes', '0', '--cpu'], '--minutes 0'), ([], '--cpu makes a dry run')])
def test_bad_input(args, words, monkeypatch, capsys):
    monkeypatch.setattr(gpu_check.torch.cuda, 'is_available', lambda: False)
    with pytest.raises(SystemExit):
        run(monkeypatch, *args)
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    'name, tflops',
    [
        ('NVIDIA H200', 989),
        ('NVIDIA H200 NVL', 835),
        ('NVIDIA H100 PCIe', 756),
        ('NVIDIA A100-SXM4-80GB', 312),
        ('NVIDIA A10G', None),
        ('NVIDIA L40S', 362),
        ('NVIDIA H200 MIG 1g.18gb', None),
        ('Tesla T4', None),
    ],
)
def test_peaks(name, tflops):
    assert peak_flops(name) == (tflops and tflops * 1e12)
