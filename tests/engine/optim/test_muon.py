"""MuonAdamW: torch's Muon on the matrices of blocks, AdamW on the rest; in every method, resumed, by two processes."""

import copy

import pytest
import torch
from harness import METHODS, largest_difference, load_weights, make_config, save_config, train, train_here
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS as MMPRETRAIN
from torch import nn

from mmmim.engine.launch import build_runner
from mmmim.engine.optim import MuonAdamW
from mmmim.engine.optim.muon import adjustment, orthogonalize
from mmmim.registry import MODELS

SHAPES = [(12, 8), (8, 12), (8, 8), (24, 8)]  # the last holds queries, keys and values


def parameters(dtype=torch.float32):
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape, dtype=torch.float64).to(dtype)) for shape in (*SHAPES, (8,))]


def groups(params, split=3):
    counts = [1, 1, 1, split, 0]
    return [
        dict(params=[p], matrices=count, weight_decay=0.0 if p.ndim == 1 else 0.1) for p, count in zip(params, counts)
    ]


def steps(optimizers, params, count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
        for optimizer in optimizers:
            optimizer.step()


@pytest.mark.parametrize('batched', [True, False])
def test_equals_torchs_muon_and_adamw(batched):
    ours, theirs = parameters(), parameters()
    muon = MuonAdamW(groups(ours), lr=0.02, batched=batched, dtype='bfloat16', betas=(0.9, 0.95))
    steps([muon], ours, 4)
    parts = [nn.Parameter(part.clone()) for part in theirs[3].detach().chunk(3)]
    expected = [
        torch.optim.Muon([*theirs[:3], *parts], lr=0.02, weight_decay=0.1, adjust_lr_fn='match_rms_adamw'),
        torch.optim.AdamW(theirs[4:], lr=0.02, weight_decay=0.0, betas=(0.9, 0.95)),
    ]
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        for p in theirs:
            p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).float()
        for part, grad in zip(parts, theirs[3].grad.chunk(3)):
            part.grad = grad
        for optimizer in expected:
            optimizer.step()
    assert torch.equal(ours[4], theirs[4])
    # four updates of about 0.02 * 0.2 * sqrt(12), in bfloat16
    bound = 4 * 0.02 * 0.2 * 12**0.5 * 2**-6 if batched else 0
    for mine, one in zip(ours, [*theirs[:3], torch.cat(parts)]):
        assert (mine - one).abs().max() <= bound


def test_the_update_has_singular_values_of_about_one_and_the_size_of_adamws():
    torch.manual_seed(0)
    found = orthogonalize(torch.randn(3, 32, 64, dtype=torch.float64))
    values = torch.linalg.svdvals(found)
    assert 0.6 < values.min() and values.max() < 1.3
    # the singular vectors stay
    matrix = torch.randn(1, 6, 9, dtype=torch.float64)
    u, _, v = torch.linalg.svd(matrix[0], full_matrices=False)
    turned = u.T @ orthogonalize(matrix)[0] @ v.T
    assert (turned - torch.diag(torch.diag(turned))).abs().max() < 1e-9
    assert (found * adjustment(32, 64)).square().mean().sqrt() == pytest.approx(
        0.2, rel=0.25
    )  # rms of U V^T: less, as values are below 1


def test_float32_is_near_float64_and_float64_stays():
    results = {}
    for dtype in (torch.float32, torch.float64):
        params = parameters(dtype)
        steps([MuonAdamW(groups(params), lr=0.02, dtype='float32')], params, 3)
        results[dtype] = params
    for one, other in zip(*results.values()):
        assert other.dtype == torch.float64
        assert (one.double() - other).abs().max() < 1e-5


def test_what_is_iterated_together_does_not_matter(monkeypatch):
    whole, parts = parameters(torch.float64), parameters(torch.float64)
    steps([MuonAdamW(groups(whole), lr=0.02)], whole, 3)
    monkeypatch.setattr('mmmim.engine.optim.muon.MOST_VALUES', 100)
    steps([MuonAdamW(groups(parts), lr=0.02)], parts, 3)
    for one, other in zip(whole, parts):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)


def test_state_survives_a_checkpoint():
    whole = parameters()
    optimizer = MuonAdamW(groups(whole), lr=0.02, fused=True)
    steps([optimizer], whole, 2)
    half = [nn.Parameter(p.detach().clone()) for p in whole]
    resumed = MuonAdamW(groups(half), lr=0.5, fused=True)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for params, one in ((whole, optimizer), (half, resumed)):
        steps([one], params, 2, seed=5)
    assert all(map(torch.equal, whole, half))


def test_its_state_is_half_of_adamws():
    param = nn.Parameter(torch.ones(4, 4))
    optimizer = MuonAdamW([dict(params=[param], matrices=1)])
    param.grad = torch.eye(4)
    optimizer.step()
    assert sum(value.numel() for value in optimizer.state[param].values()) == 16 + 1


@pytest.mark.parametrize(
    'marks, arguments, error',
    [
        ([0, 0], {}, 'optim_wrapper.constructor'),
        ([1, 1], {}, r'shape \[3\]'),
        ([3, 0], {}, 'no 3 matrices'),
        ([1, 0], dict(momentum=1.0), 'momentum=1.0'),
        ([1, 0], dict(ns_steps=0), 'ns_steps=0'),
        ([1, 0], dict(dtype='float16'), 'dtype'),
    ],
)
def test_errors(marks, arguments, error):
    params = [nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(3))]
    with pytest.raises(ValueError, match=error):
        MuonAdamW([dict(params=[p], matrices=mark) for p, mark in zip(params, marks)], **arguments)


def test_a_torch_without_muon_is_named(monkeypatch):
    monkeypatch.delattr(torch.optim, 'Muon')
    param = nn.Parameter(torch.ones(4, 4))
    with pytest.raises(ImportError, match='torch.optim.Muon'):
        MuonAdamW([dict(params=[param], matrices=1)], batched=False)


# -------------------------------------------------------------------------------------------------- in a model, a run


def settings(**others):
    return {'optim_wrapper.optimizer.type': 'MuonAdamW', **others}


def optimizers(model, constructor, **optimizer):
    wrapper = dict(type='AutocastOptimWrapper', dtype='float32', constructor=constructor)
    wrapper.update(optimizer=dict(type='MuonAdamW', lr=1e-3, weight_decay=0.05, **optimizer))
    built = build_optim_wrapper(model, wrapper)
    return [one.optimizer for one in built.values()] if isinstance(built, OptimWrapperDict) else [built.optimizer]


def marked(model, optimizer):
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: group['matrices'] for group in optimizer.param_groups for p in group['params']}


@pytest.mark.parametrize('method', sorted(METHODS))
def test_which_parameters_of_a_method_are_matrices(method):
    model = MODELS.build(copy.deepcopy(METHODS[method]))
    two = hasattr(model, 'parts_of')
    constructor = 'PlayersOptimWrapperConstructor' if two else 'GroupedOptimWrapperConstructor'
    parameters = dict(model.named_parameters())
    for optimizer in optimizers(model, constructor):
        found = marked(model, optimizer)
        assert found['backbone.blocks.0.attn.qkv.weight'] == 3 if 'backbone.blocks.0.attn.qkv.weight' in found else two
        for name, count in found.items():
            inside = 'blocks.' in name and name.endswith('.weight') and parameters[name].ndim == 2
            assert bool(count) == inside, name
        assert any(found.values())


def test_layer_decay_marks_them_too():
    cfg = dict(
        type='ImageClassifier',
        backbone=dict(METHODS['mae']['backbone'], type='mmmim.MaskedViT'),
        neck=dict(type='mmmim.PoolTokens', in_dim=32),
        head=dict(type='LinearClsHead', in_channels=32, num_classes=3),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MMPRETRAIN.build(cfg)
    wrapper = dict(type='mmmim.AutocastOptimWrapper', dtype='float32')
    wrapper.update(
        constructor='mmmim.LayerDecayOptimWrapperConstructor',
        optimizer=dict(type='mmmim.MuonAdamW', lr=1.0, weight_decay=0.05, split_qkv=False),
        paramwise_cfg=dict(layer_decay_rate=0.5),
    )
    optimizer = build_optim_wrapper(model, wrapper).optimizer
    rates = {}
    names = {id(p): name for name, p in model.named_parameters()}
    for group in optimizer.param_groups:
        rates.update({names[id(p)]: (group['lr'], group['matrices']) for p in group['params']})
    assert rates['backbone.blocks.0.attn.qkv.weight'] == (0.25, 1)
    assert rates['backbone.blocks.1.mlp.fc1.weight'] == (0.5, 1)
    assert rates['head.fc.weight'] == (1.0, 0)
    assert rates['backbone.blocks.1.mlp.fc1.bias'][1] == 0


@pytest.mark.parametrize('method', sorted(METHODS))
def test_accumulation_equals_the_whole_batch(method, tmp_path, image_root):
    before, weights = torch.get_default_dtype(), []
    torch.set_default_dtype(torch.float64)
    try:
        for limit in (None, 8):
            others = {'model.backbone.drop_path_rate': 0.0, 'max_batch_per_device': limit}
            if method == 'cmae':
                others['optim_wrapper.optimizer.eps'] = 1e-6  # as in test_distributed.py
            cfg = make_config(tmp_path / str(limit), image_root, method, epochs=2, **settings(**others))
            cfg.default_hooks.export_encoder = None
            runner = train_here(cfg)
            weights.append({name: value.clone() for name, value in runner.model.state_dict().items()})
    finally:
        torch.set_default_dtype(before)
    assert largest_difference(*weights) < 1e-9


@pytest.mark.runs
@pytest.mark.parametrize(
    'method', [m if m == 'gan_mae' else pytest.param(m, marks=pytest.mark.slow) for m in sorted(METHODS)]
)
def test_killed_and_resumed_by_two_processes(method, tmp_path, image_root):
    """One process, whole, equals one that was killed bit by bit, and two processes within rounding of float64."""
    others = {'model.backbone.drop_path_rate': 0.0, 'custom_hooks': [dict(type='DieHook')]}
    if method == 'cmae':
        others['optim_wrapper.optimizer.eps'] = 1e-6
    configs = {
        name: save_config(
            make_config(tmp_path / name / 'run', image_root, method, epochs=3, workers=1, **settings(**others)),
            tmp_path / name / 'config.py',
        )
        for name in ('whole', 'killed', 'two')
    }
    train(configs['whole'], TEST_DTYPE='float64')
    train(configs['killed'], check=False, TEST_DTYPE='float64', TEST_KILL_AT='7')
    train(configs['killed'], '--resume', TEST_DTYPE='float64')
    train(configs['two'], processes=2, TEST_DTYPE='float64')
    whole = load_weights(tmp_path / 'whole/run')
    assert largest_difference(whole, load_weights(tmp_path / 'killed/run')) == 0
    assert largest_difference(whole, load_weights(tmp_path / 'two/run')) < 1e-9


def test_a_resume_with_other_iterations_is_refused(tmp_path, image_root):
    cfg = make_config(tmp_path / 'run', image_root, epochs=2, **settings())
    cfg.default_hooks.export_encoder = None
    train_here(cfg)
    cfg.resume, cfg.max_epochs = True, 2
    cfg.optim_wrapper.optimizer.momentum = 0.9
    with pytest.raises(Exception, match='momentum'):
        build_runner(cfg.copy()).train()
