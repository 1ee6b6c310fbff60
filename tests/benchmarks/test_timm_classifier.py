"""The classifier that the benchmark compares with: timm's, and the same as ours."""

import json
import runpy
import sys

import pytest
import torch
from cls_harness import make_classifier_config, mixing
from harness import ROOT, make_config, save_config
from mmengine.registry import DefaultScope

from libraries import check_libraries, make_step, timm_model
from timing import PhaseTimer
from workload import build, settle, synthetic_batch

CPU = torch.device('cpu')


@pytest.fixture()
def settled(tmp_path, image_root):
    def make(**options):
        cfg = make_classifier_config(tmp_path / 'run', image_root, **{'base_lr': 0.1, **options})
        settle(cfg, 4, 'float32')
        return cfg

    yield make


def test_the_same_weights_give_the_same_scores(settled):
    cfg = settled()
    ours, theirs = build(cfg, CPU).algorithm.eval(), timm_model(cfg).eval()
    names = {'neck.norm': 'fc_norm', 'head.fc': 'head'}
    state = {
        names.get(key.rpartition('.')[0], key.removeprefix('backbone.').rpartition('.')[0])
        + '.'
        + key.rpartition('.')[2]
        if '.' in key.removeprefix('backbone.')
        else key.removeprefix('backbone.'): value
        for key, value in ours.state_dict().items()
    }
    theirs.load_state_dict(state, strict=True)
    images = torch.randn(4, 3, 16, 16)
    assert torch.allclose(ours(images), theirs(images), atol=1e-6)

    def trained(model):
        return sum(p.numel() for p in model.parameters() if p.requires_grad)

    assert trained(ours) == trained(theirs)


@pytest.mark.parametrize('options', [dict, mixing], ids=['plain', 'mixed'])
def test_its_steps_train(settled, options):
    """On one batch of one class the loss must fall; the optimizer has the config's layer decay."""
    cfg = settled(**options())
    check_libraries(['timm'], cfg)
    step, losses = make_step('timm', cfg, None, torch.float32, PhaseTimer(CPU)), []
    torch.manual_seed(0)
    batch = synthetic_batch(cfg, 4)
    rates = {round(group['lr'] / cfg.optim_wrapper.optimizer.lr, 6) for group in step.optimizer.param_groups}
    assert rates == {round(0.75**i, 6) for i in range(4)}
    step.model.head.register_forward_hook(
        lambda module, args, output: losses.append(-output.log_softmax(1)[:, 0].mean().item())
    )
    for _ in range(12):
        step(batch)
    assert losses[-1] < losses[0] - 0.05


@pytest.mark.parametrize(
    'options, words',
    [
        ({'model.backbone.trainable_blocks': 1}, 'trains a part'),
        ({'model.backbone.final_norm': True}, 'where timm has it'),
    ],
)
def test_what_timm_does_not_have(settled, options, words):
    with DefaultScope.overwrite_default_scope('mmpretrain'), pytest.raises(ValueError, match=words):
        timm_model(settled(**options))


def test_side_by_side(tmp_path, image_root, monkeypatch, capsys):
    config = save_config(make_classifier_config(tmp_path / 'run', image_root, **mixing()), tmp_path / 'config.py')
    out = tmp_path / 'o.json'
    monkeypatch.setattr(
        sys,
        'argv',
        [
            str(ROOT / 'tools/benchmarks/benchmark_train.py'),
            str(config),
            '--peers',
            'timm',
            '--batch',
            '4',
            '--steps',
            '2',
            '--warmup',
            '1',
            '--dtype',
            'float32',
            '--no-memory',
            '--out',
            str(out),
        ],
    )
    runpy.run_path(sys.argv[0], run_name='__main__')
    result = json.loads(out.read_text())
    assert list(result['contenders']) == ['mmmim', 'timm']
    assert all(min(c['turns']['step']) > 0 for c in result['contenders'].values())
    assert 'timm' in capsys.readouterr().out


def test_a_pre_training_config_has_no_such_model(tmp_path, image_root):
    with pytest.raises(ValueError, match="'timm' is not known.*mmpretrain, hf"):
        check_libraries(['timm'], make_config(tmp_path / 'run', image_root))
