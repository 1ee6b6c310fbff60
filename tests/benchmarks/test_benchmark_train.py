"""Where the benchmark sees time and memory go, that the other libraries have the same model, and its command line."""

import itertools
import json
import runpy
import sys
from types import SimpleNamespace

import pytest
import torch
import toy_algorithm  # noqa: F401  (registers the two-phase method)
from harness import ROOT, make_config, save_config

import timing
from flops import FlopCounter
from libraries import LIBRARIES, check_libraries, plain_mae
from memory import in_own_process
from processes import OwnProcess
from timing import PhaseTimer, run_steps, summarize
from workload import build, default_batch, real_batches, settle, synthetic_batch

pytestmark = pytest.mark.runs

CPU = torch.device('cpu')
PARTS = ('data', 'forward', 'backward', 'optimizer')
PLAIN = {'model.backbone.drop_path_rate': 0.0}


def run_tool(monkeypatch, *args):
    """tools/benchmarks/benchmark_train.py in this process; what it exits with, or None."""
    monkeypatch.setattr(sys, 'argv', [str(ROOT / 'tools/benchmarks/benchmark_train.py'), *map(str, args)])
    try:
        runpy.run_path(sys.argv[0], run_name='__main__')
    except SystemExit as end:
        return end.code


def tiny(folder, images, batch=4, **overrides):
    cfg = make_config(folder / 'run', images, **{**PLAIN, **overrides})
    settle(cfg, batch, 'float32')
    return cfg


def two_phases(folder, images):
    optimizer = dict(type='AutocastOptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
    cfg = make_config(folder / 'run', images, **{'model.type': 'TwoPhaseToy'})
    cfg.optim_wrapper = dict(
        constructor='ToyConstructor', type='OptimWrapperDict', generator=optimizer, judge=dict(optimizer)
    )
    settle(cfg, 2, 'float32')
    return cfg


def test_time_goes_to_the_phase_that_takes_it(tmp_path, image_root, monkeypatch):
    """A step of two phases with two optimizers, by a clock that only moves inside what is named here."""
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(timing, 'time', clock)

    def taking(seconds, function):
        def call(*args, **kwargs):
            clock.now += seconds
            return function(*args, **kwargs)

        return call

    cfg = two_phases(tmp_path, image_root)
    algorithm, optim_wrapper = build(cfg, CPU)
    generator, judge = optim_wrapper['generator'], optim_wrapper['judge']
    batches = map(taking(1, lambda batch: batch), itertools.repeat(synthetic_batch(cfg, 2)))
    algorithm.generate, algorithm.judge_loss = taking(2, algorithm.generate), taking(4, algorithm.judge_loss)
    generator.backward, judge.backward = taking(8, generator.backward), taking(16, judge.backward)
    generator.step, judge.optimizer.step = taking(32, generator.step), taking(64, judge.optimizer.step)
    judge.optimizer.zero_grad = taking(128, judge.optimizer.zero_grad)
    timer = PhaseTimer(CPU)
    timer.watch(optim_wrapper)
    for count in (1, 3):
        seconds = run_steps(lambda batch: algorithm.train_step(batch, optim_wrapper), batches, count, timer)
        assert seconds == dict(data=1, forward=2 + 4, backward=8 + 16, optimizer=32 + 64 + 128, step=255)


def test_summary():
    assert summarize([5, 1, 2, 3, 4]) == dict(median=3, q1=2, q3=4, min=1, max=5)
    assert summarize([2]) == dict(median=2, q1=2, q3=2, min=2, max=2)


def test_resident_memory_of_a_process(monkeypatch):
    """32 MiB that stay, and 64 MiB for as long as a step lasts."""
    code = (
        'import json, torch\n'
        'from memory import resident_peak\n'
        'def make():\n'
        '    state = torch.ones(32 * 2**18)\n'
        '    return lambda: torch.ones(64 * 2**18).add_(state[0])\n'
        "print('other output'); print(json.dumps(dict(peak_bytes=resident_peak(make))))"
    )
    monkeypatch.chdir(ROOT / 'tools/benchmarks')  # from which `python -c` imports
    assert 94 < in_own_process(['-c', code]) / 2**20 < 112


def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match='ValueError: no such thing'):
        in_own_process(['-c', "raise ValueError('no such thing')"])
    with pytest.raises(RuntimeError, match='signal 9.*--batch'):
        in_own_process(['-c', 'import os; os.kill(os.getpid(), 9)'])


@pytest.mark.parametrize('name', LIBRARIES)
def test_libraries_have_the_same_model(name, tmp_path, image_root):
    """As many trained values, and the same products but for patches that are computed and not used."""
    cfg = tiny(tmp_path, image_root)
    if name == 'lightly':
        pytest.importorskip('lightly')  # installed by hand, see the message that names the command
    check_libraries([name], cfg)
    ours, theirs = build(cfg, CPU).algorithm, LIBRARIES[name].build(plain_mae(cfg)).train()
    images = torch.randn(4, 3, 16, 16)
    if name == 'lightly':
        theirs.encoder.mask_token.requires_grad_(False)  # for methods that put it into the encoder: never used here

    def trained(model):
        return sum(p.numel() for p in model.parameters() if p.requires_grad)

    def forward(model, loss):
        with FlopCounter(model) as counter:
            loss(model, images)
        return sum(counter.counts.values())

    assert trained(theirs) == trained(ours)
    hidden = 4 * 12 * 48 * 32  # images, removed patches, values of a patch, width
    # class token and 4 visible patches of an image: others run the last MLP for them, all but Lightly predict them, too
    last_mlp, predicted = 4 * 5 * 8 * 16**2, 0 if name == 'lightly' else 4 * 5 * 16 * 48
    assert forward(theirs, LIBRARIES[name].loss) == 2 * (hidden + last_mlp + predicted) + forward(
        ours, lambda model, images: model(images, mode='loss')
    )


def test_rounds_of_all_libraries(tmp_path, image_root, monkeypatch, capsys):
    config = save_config(make_config(tmp_path / 'run', image_root, **PLAIN), tmp_path / 'config.py')
    out = tmp_path / 'o.json'
    assert (
        run_tool(
            monkeypatch,
            config,
            '--peers',
            'mmpretrain,hf',
            '--batch',
            4,
            '--steps',
            3,
            '--warmup',
            1,
            '--no-memory',
            '--dtype',
            'float32',
            '--out',
            out,
        )
        is None
    )
    result = json.loads(out.read_text())
    assert list(result['contenders']) == ['mmmim', 'mmpretrain', 'hf'] and result['real_data'] is None
    for contender in result['contenders'].values():
        turns = contender['turns']
        assert len(turns['step']) == 3 and contender['peak_memory_bytes'] is None
        for i, step in enumerate(turns['step']):
            assert sum(turns[part][i] for part in PARTS[1:]) == pytest.approx(step)
        assert all(value > 0 for part in PARTS[1:] for value in turns[part])
        median = sorted(turns['step'])[1]
        rate = 4 / median
        assert contender['images_per_second'] == pytest.approx(rate)
        assert contender['mfu'] == pytest.approx(rate * result['flops_per_image'] / result['matmul_tflops'] / 1e12)
        assert contender['step_time_over_ours'] == pytest.approx(
            median / sorted(result['contenders']['mmmim']['turns']['step'])[1]
        )
    assert result['versions']['transformers'] and result['hardware']['cpu']
    table = capsys.readouterr().out
    assert [line.split()[0] for line in table.splitlines()[4:7]] == ['mmmim', 'mmpretrain', 'hf']


def test_rounds_of_processes_of_their_own(tmp_path, image_root, monkeypatch, capsys):
    config = save_config(make_config(tmp_path / 'run', image_root, **PLAIN), tmp_path / 'config.py')
    out = tmp_path / 'o.json'
    monkeypatch.setattr('processes.make_step', None)  # in this process no step can be built
    assert (
        run_tool(
            monkeypatch,
            config,
            '--peers',
            'hf',
            '--batch',
            4,
            '--steps',
            2,
            '--warmup',
            0,
            '--no-memory',
            '--own-processes',
            '--out',
            out,
        )
        is None
    )
    result = json.loads(out.read_text())
    assert list(result['contenders']) == ['mmmim', 'hf'] and result['own_processes']
    for contender in result['contenders'].values():
        assert len(contender['turns']['step']) == 2
        assert all(value > 0 for part in PARTS[1:] for value in contender['turns'][part])
    assert run_tool(monkeypatch, config, '--own-processes', '--profile') == 2
    assert 'which --data and --profile look at' in capsys.readouterr().err


def test_what_goes_wrong_in_another_process_is_told(tmp_path, image_root):
    cfg = tiny(tmp_path, image_root)
    with OwnProcess('hf', cfg, dict(inputs=None), CPU, torch.float32, 1) as steps:
        with pytest.raises(RuntimeError, match='hf: .*Error'):
            steps()
    with OwnProcess('hf', cfg, dict(inputs=None), CPU, torch.float32, 1) as steps:
        with pytest.raises(RuntimeError):
            steps()
        steps.process.join()
        with pytest.raises(RuntimeError, match='hf'):  # also when it has ended long before
            steps()
    with OwnProcess('mmmim', cfg, {}, CPU, torch.float32, 1) as steps:
        steps.process.kill()
        with pytest.raises(RuntimeError, match='mmmim ended with -9, as happens when memory runs out'):
            steps()


def test_real_data_and_memory(tmp_path, image_root, monkeypatch, capsys):
    cfg = make_config(tmp_path / 'run', image_root, workers=1, **{'custom_imports.imports': ['mmmim']})
    out = tmp_path / 'o.json'
    assert (
        run_tool(
            monkeypatch, save_config(cfg, tmp_path / 'config.py'), '--data', '--steps', 2, '--turn', 3, '--out', out
        )
        is None
    )
    result = json.loads(out.read_text())
    assert result['batch'] == default_batch(cfg, CPU) == 8 and result['steps_per_turn'] == 3
    turns = result['real_data']['turns']
    assert len(turns['step']) == 2 and min(turns['data']) > 0
    assert sum(turns[part][0] for part in PARTS) == pytest.approx(turns['step'][0])
    assert 2**20 < result['contenders']['mmmim']['peak_memory_bytes'] < 2**30
    assert 'real data' in capsys.readouterr().out
    assert not (tmp_path / 'run').exists()  # no run is started, no work dir made


def test_real_batches_go_on_after_an_epoch(tmp_path, image_root):
    batches = real_batches(tiny(tmp_path, image_root, batch=24))  # 64 images: two batches an epoch
    paths = [[sample.img_path for sample in next(batches)['data_samples']] for _ in range(4)]
    batches.close()
    assert all(len(set(path)) == 24 for path in paths)
    assert set(paths[0]).isdisjoint(paths[1]) and paths[0] + paths[1] != paths[2] + paths[3]


@pytest.mark.parametrize(
    'options, args, words',
    [
        ({}, ['--peers', 'timm'], ["'timm'", 'mmpretrain, hf']),
        ({'model.masking': 'block', 'model.head.loss_on': 'all', **PLAIN}, ['--peers', 'hf'], ['masking, loss_on']),
        ({}, ['--peers', 'hf'], ['drop_path_rate']),
        ({'model.type': 'TwoPhaseToy'}, ['--peers', 'hf'], ['TwoPhaseToy', '--peers']),
        ({}, ['--batch', '0'], ['--batch 0']),
        (
            {},
            ['--data', '--no-memory', '--steps', '1', '--cfg-options', 'train_dataloader.dataset.data_root=/no/folder'],
            ['/no/folder'],
        ),
        ({}, ['--cfg-options', 'model.backbone=None'], ['backbone', 'pre-training']),
    ],
)
def test_bad_input_is_told_in_a_line(options, args, words, tmp_path, image_root, monkeypatch):
    cfg = make_config(tmp_path / 'run', image_root, **options)
    message = run_tool(monkeypatch, save_config(cfg, tmp_path / 'config.py'), *args)
    for word in words:
        assert word in message


def test_a_missing_library_is_told_with_the_command_that_installs_it(tmp_path, image_root, monkeypatch):
    monkeypatch.setitem(sys.modules, LIBRARIES['hf'].module, None)
    config = save_config(make_config(tmp_path / 'run', image_root, **PLAIN), tmp_path / 'config.py')
    assert "pip install 'transformers" in run_tool(monkeypatch, config, '--peers', 'hf')


@pytest.mark.gpu
def test_on_a_gpu(tmp_path, image_root, monkeypatch):
    out = tmp_path / 'o.json'
    config = save_config(make_config(tmp_path / 'run', image_root, **PLAIN), tmp_path / 'config.py')
    assert run_tool(monkeypatch, config, '--peers', 'hf', '--steps', 2, '--data', '--out', out) is None
    for contender in json.loads(out.read_text())['contenders'].values():
        assert contender['peak_memory_bytes'] > 2**20
        assert all(value > 0 for part in PARTS[1:] for value in contender['turns'][part])
