"""CMAE against the authors' numbers (stored in float32), and what the method promises."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cmae_harness import tiny, views
from harness import METHODS, ROOT
from torch.nn import functional as F

from mmmim.checkpoint.encoder import from_mmmim, to_mmmim
from mmmim.engine.hooks import CosineMomentumHook
from mmmim.engine.optim import AutocastOptimWrapper
from mmmim.models.algorithms import MAE
from mmmim.models.layers.ema import momentum_update
from mmmim.registry import MODELS


def official(**changes):
    """The authors' preset at the size of the fixture."""
    decoder = dict(type='MAEDecoder', embed_dim=32, num_heads=4)
    heads = dict(type='Projector', hidden_dim=64, out_dim=16)
    return MODELS.build(
        dict(
            type='CMAE',
            mask_ratio=0.65,
            masking='unit',
            feature_out='pixels',
            target_backbone=dict(final_norm=False),
            backbone=dict(type='MaskedViT', arch=dict(embed_dim=48, depth=2, num_heads=3), img_size=32, patch_size=4),
            neck=dict(depth=2, **decoder),
            feature_decoder=dict(depth=1, **decoder),
            projector=heads,
            predictor=heads,
            contrast_head=dict(type='ContrastiveHead', scale=2 * 0.07),
            target=dict(type='PixelTarget'),
            head=dict(type='ReconstructionHead'),
            **changes,
        )
    )


@pytest.fixture
def reference():
    data = np.load(ROOT / 'tests/data/cmae_official.npz')
    torch.set_default_dtype(torch.float64)
    model = official().double().train()
    state = {key[3:]: torch.from_numpy(data[key]) for key in data if key.startswith('sd/')}
    model.load_state_dict(to_mmmim(state), strict=True)
    yield model, {key: torch.from_numpy(data[key]).double() for key in data if not key.startswith('sd/')}
    torch.set_default_dtype(torch.float32)


def test_forward_and_gradient_equal_the_authors_code(reference):
    model, data = reference
    inputs = [data['images'], data['images_target']]
    mask = model.masking(data['unit_noise'])
    torch.testing.assert_close(mask.mask, data['mask'].to(mask.mask.dtype))
    latent = model.backbone(inputs[0], mask)
    distance, where = torch.cdist(latent, data['latent']).min(dim=2)  # their order of visible patches is a sort's ties
    assert distance.max() < 1e-6 and all(len(set(row.tolist())) == latent.shape[1] for row in where)
    losses = model.loss(inputs, noise=data['unit_noise'])
    torch.testing.assert_close(losses['loss_recon'], data['loss_rc'], atol=1e-6, rtol=0)
    torch.testing.assert_close(losses['loss_contrast'], data['loss_ct'], atol=1e-6, rtol=0)
    (losses['loss_recon'] + losses['loss_contrast']).backward()
    torch.testing.assert_close(
        model.backbone.patch_embed.proj.weight.grad, data['grad_patch_embed'], atol=1e-7, rtol=1e-6
    )


def test_target_after_one_step_equals_the_authors_code(reference):
    model, data = reference
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    losses = model.loss([data['images'], data['images_target']], noise=data['unit_noise'])
    (losses['loss_recon'] + losses['loss_contrast']).backward()
    optimizer.step()
    model.update_target()
    torch.testing.assert_close(
        model.target_backbone.patch_embed.proj.weight, data['target_patch_embed_after_sgd01_ema0996'], atol=1e-7, rtol=0
    )


def test_authors_names_round_trip(reference):
    model, _ = reference
    theirs = from_mmmim(model.state_dict(), 'cmae')
    back = to_mmmim(theirs)
    assert back.keys() == model.state_dict().keys()
    assert all(torch.equal(back[key], value) for key, value in model.state_dict().items())


def test_equations_in_plain_torch():
    """Eq. 2 and 4 to 8 written out."""
    model, (online, second) = tiny(contrast_weight=0.5).double(), [v.double() for v in views()]
    noise = torch.rand(4, 16, generator=torch.Generator().manual_seed(1))
    losses = model.loss([online, second], noise=noise)
    mask = model.masking(noise)
    z = model.backbone(online, mask)
    y_m, removed = model.neck(z, mask), mask.mask.bool()
    patches = model.target(online)
    l_r = ((y_m - patches) ** 2).mean(-1)[removed].mean()  # Eq. 5
    y_s = model.feature_decoder(z, mask).sum(1) / 16  # Eq. 4
    z_t = model.target_backbone(second)[:, 1:].sum(1) / 16  # Eq. 2
    y_p, z_p = model.predictor(model.projector(y_s)), model.target_projector(z_t)
    rho = (y_p @ z_p.T) / y_p.norm(dim=1)[:, None] / z_p.norm(dim=1)[None]  # Eq. 6
    e = (rho / 0.07).exp()
    l_c = -(e.diag() / e.sum(1)).log().mean()  # Eq. 7
    assert losses['loss_recon'].item() == pytest.approx(l_r.item(), abs=1e-9)
    assert losses['loss_contrast'].item() == pytest.approx(0.5 * l_c.item(), abs=1e-9)
    assert losses['contrast_accuracy'].item() == (rho.argmax(1) == torch.arange(4)).double().mean().item()


def test_weight_zero_gives_the_losses_and_gradients_of_mae():
    model, (online, second) = tiny(contrast_weight=0.0), views()
    parts = {key: value for key, value in METHODS['cmae'].items() if key in ('backbone', 'neck', 'target', 'head')}
    mae = MAE(**{**parts, 'backbone': {**parts['backbone'], 'drop_path_rate': 0.0}})
    mae.load_state_dict({k: v for k, v in model.state_dict().items() if k in mae.state_dict()})
    noise = torch.rand(4, 16)
    losses, expected = model.loss([online, second], noise=noise), mae.loss(online, noise=noise)['loss']
    total, _ = model.parse_losses(losses)
    assert total.item() == expected.item()
    total.backward()
    expected.backward()
    theirs = dict(mae.named_parameters())
    for name, p in model.named_parameters():
        if name in theirs and p.requires_grad:
            torch.testing.assert_close(p.grad, theirs[name].grad, atol=1e-7, rtol=1e-6)
        elif p.requires_grad:
            assert not p.grad.abs().max() > 0, name


def test_no_gradient_reaches_the_target_branch_and_all_others_get_one():
    model = tiny()
    total, _ = model.parse_losses(model.loss(views()))
    total.backward()
    for name, p in model.named_parameters():
        if name.startswith('target_'):
            assert not p.requires_grad and p.grad is None
        elif p.requires_grad:
            assert p.grad is not None and p.grad.abs().max() > 0, name


def test_target_branch_keeps_no_activations(monkeypatch):
    model, saved = tiny(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        model._target_features(views()[1], None)
    assert not saved


@pytest.mark.parametrize('momentum', [0.0, 0.996, 1.0])
def test_momentum_update_is_the_formula(momentum):
    model = tiny(momentum=momentum)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p))
    old = copy.deepcopy(model.target_backbone.state_dict())
    model.update_target()
    trained = {name for name, p in model.backbone.named_parameters() if p.requires_grad}
    for name, new in model.target_backbone.state_dict().items():
        online = model.backbone.state_dict()[name]
        expected = momentum * old[name] + (1 - momentum) * online if name in trained else old[name]
        # one unit in the last place: the multiplication may be fused with the addition
        torch.testing.assert_close(new, expected, rtol=0 if name not in trained else 2.0**-23, atol=2.0**-26)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_target_moves_once_an_optimizer_step(dtype):
    """Not once a batch of it; and by the formula, whatever the precision of the forward pass."""
    model = tiny()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    wrapper = AutocastOptimWrapper(dtype=dtype, optimizer=optimizer)
    data = dict(inputs=[(255 * view).to(torch.uint8) for view in views()], data_samples=None)
    for _ in range(2):
        old = model.target_backbone.patch_embed.proj.weight.clone()
        log = model.train_steps([data, data], wrapper)
        new, online = model.target_backbone.patch_embed.proj.weight, model.backbone.patch_embed.proj.weight
        assert not torch.equal(old, new) and not torch.equal(new, online)
        torch.testing.assert_close(new, 0.996 * old + (1 - 0.996) * online, rtol=2.0**-23, atol=2.0**-26)
        assert torch.isfinite(log['loss'])


def test_momentum_rises_by_half_a_cosine():
    hook, model = CosineMomentumHook(end=1.0), tiny(momentum=0.9)
    runner = SimpleNamespace(model=model, iter=0, max_iters=100)
    hook.before_train(runner)
    values = []
    for runner.iter in (0, 50, 100):
        hook.before_train_iter(runner, 0)
        values.append(model.momentum)
    assert values == pytest.approx([0.9, 0.95, 1.0])
    runner.model = torch.nn.Linear(1, 1)
    with pytest.raises(TypeError, match='no momentum encoder'):
        hook.before_train(runner)


def test_target_starts_as_the_online_encoder_after_a_checkpoint(tmp_path):
    source = tiny()
    with torch.no_grad():
        for p in source.backbone.parameters():
            p.add_(0.1)
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'a.pth')
    cfg = copy.deepcopy(METHODS['cmae'])
    cfg['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth'), prefix='backbone.')
    model = MODELS.build(cfg)
    model.init_weights()
    for ours in (model.backbone, model.target_backbone):
        assert all(torch.equal(v, source.backbone.state_dict()[k]) for k, v in ours.state_dict().items())


def test_a_checkpoint_of_mae_fills_the_target_too():
    model, other = tiny(), tiny()
    state = {k: v for k, v in other.state_dict().items() if k.startswith(('backbone.', 'neck.'))}
    model.complete_state_dict(state)
    assert {k for k in state if k.startswith('target_')} == {
        k for k in model.state_dict() if k.startswith('target_backbone.')
    }
    assert torch.equal(state['target_backbone.blocks.0.mlp.fc1.weight'], state['backbone.blocks.0.mlp.fc1.weight'])
    assert state['target_backbone.cls_token'].data_ptr() != state['backbone.cls_token'].data_ptr()


def test_byol_loss_is_the_distance_of_the_unit_vectors():
    head = MODELS.build(dict(type='ContrastiveHead', kind='byol'))
    query, key = torch.randn(6, 5), torch.randn(6, 5)
    loss, _ = head.loss(query, key)
    expected = ((F.normalize(query, dim=1) - F.normalize(key, dim=1)) ** 2).sum(1).mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize('kind', ['infonce', 'byol'])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_contrast_is_computed_in_float32_under_autocast(kind, dtype):
    head = MODELS.build(dict(type='ContrastiveHead', kind=kind))
    results = []
    for enabled in (False, True):
        generator = torch.Generator().manual_seed(0)
        # nearly the same vectors, whose cosines bf16 cannot tell apart
        query = (1 + 0.01 * torch.randn(16, 32, generator=generator)).to(dtype).float().requires_grad_()
        key = query.detach() + 0.001 * torch.randn(16, 32, generator=generator)
        with torch.autocast('cpu', dtype, enabled=enabled):
            loss, metrics = head.loss(query if not enabled else query.to(dtype), key)
        loss.backward()
        results.append((loss, metrics, query.grad))
    (plain, metrics, grad), (loss, under, low) = results
    assert loss.dtype == torch.float32 and torch.equal(loss, plain)
    assert all(torch.equal(value, under[name]) for name, value in metrics.items())
    torch.testing.assert_close(low, grad, rtol=2**-8, atol=2e-6)  # the gradient of such a query is rounded once


def test_collapse_shows_in_the_metrics():
    head = MODELS.build(dict(type='ContrastiveHead'))
    same = torch.ones(8, 16)
    _, collapsed = head.loss(same, same)
    spread = torch.eye(16)[:8] - 1 / 16
    _, healthy = head.loss(spread, spread)
    assert collapsed['negatives'].item() == 7
    assert collapsed['projection_std'].item() < 1e-6 and collapsed['contrast_accuracy'].item() <= 1 / 8
    assert healthy['projection_std'].item() > 0.15 and healthy['contrast_accuracy'].item() == 1
    assert math.sqrt(1 / 16) >= healthy['projection_std'].item()


def test_predict_reconstructs_the_online_view():
    model = tiny().eval()
    online, second = views()
    noise = torch.rand(4, 16)
    both, one = model.predict([online, second], noise=noise), model.predict(online, noise=noise)
    assert all(
        torch.equal(a.reconstruction, b.reconstruction) and a.recon_loss == b.recon_loss for a, b in zip(both, one)
    )


def test_cmae_learns_to_tell_images_apart():
    torch.manual_seed(0)
    model, (online, second) = tiny(), views(batch=16)
    second = online + 0.02 * torch.randn_like(online)
    noise = torch.rand(16, 16)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    for _ in range(60):
        losses = model.loss([online, second], noise=noise)
        total, _ = model.parse_losses(losses)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        model.update_target()
    assert losses['contrast_accuracy'] > 0.9 and losses['loss_contrast'] < 0.5 * math.log(16)


def test_shapes_of_a_moving_average_are_checked():
    with pytest.raises(ValueError, match='equal shapes'):
        momentum_update(torch.nn.Linear(2, 3), torch.nn.Linear(2, 4), 0.9)
