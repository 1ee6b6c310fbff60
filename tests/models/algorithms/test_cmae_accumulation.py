"""CMAE's step on several batches is that of one pass over all of their images."""

import copy

import pytest
import torch
from cmae_harness import batch_of, pieces_of, tiny
from harness import METHODS

from mmmim.engine.optim import AutocastOptimWrapper
from mmmim.models.algorithms import BaseAlgorithm
from mmmim.registry import MODELS


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def wrapper_of(model, dtype='float32'):
    trained = [p for p in model.parameters() if p.requires_grad]
    return AutocastOptimWrapper(dtype=dtype, optimizer=torch.optim.SGD(trained, lr=0.1, momentum=0.9))


def train(pieces, steps=3, **changes):
    """A model after some steps of 8 images in so many batches, and what they logged."""
    torch.manual_seed(0)
    model = tiny(**changes)
    optim_wrapper = wrapper_of(model)
    logs = [model.train_steps(pieces_of(batch_of(8, seed), pieces), optim_wrapper) for seed in range(steps)]
    return model, logs


def gradient_of(model, pieces, dtype='float32', scale=None):
    """The gradient of a step of 8 images, as the optimizer gets it: ``{name: gradient}``."""
    optim_wrapper, found = wrapper_of(model, dtype), {}
    if scale:
        optim_wrapper.scaler = torch.amp.GradScaler('cpu', init_scale=scale)

    def step(**kwargs):
        found.update({name: p.grad / (scale or 1) for name, p in model.named_parameters() if p.grad is not None})

    optim_wrapper.step = step
    model.train_steps(pieces_of(batch_of(8), pieces), optim_wrapper)
    return found


def relative_error(measured, expected):
    """Of all gradients together, and the largest of one part of the model."""
    parts = sorted({name.partition('.')[0] for name in expected})
    vectors = [
        [torch.cat([found[name].flatten() for name in expected if name.startswith(part)]) for part in ('', *parts)]
        for found in (measured, expected)
    ]
    errors = [(a - b).norm().item() / b.norm().item() for a, b in zip(*vectors)]
    return errors[0], max(errors[1:])


VARIANTS = {
    'infonce': dict(),
    'byol': dict(contrast_head=dict(type='ContrastiveHead', kind='byol')),
    'no-decoder': dict(feature_decoder=None),
    'shared-decoder': dict(feature_decoder=dict(type='SharedDecoder')),
    'masked-target': dict(target_mask_ratio=0.5),
}


@pytest.mark.parametrize('name', VARIANTS)
def test_accumulated_batches_make_the_step_of_the_whole(name, double):
    """Weights, the target's, batch statistics and what is logged, after several steps with momentum."""
    whole, logs = train(1, **VARIANTS[name])
    for pieces in (2, 4):
        model, ours = train(pieces, **VARIANTS[name])
        for key, value in whole.state_dict().items():
            torch.testing.assert_close(model.state_dict()[key], value, atol=1e-9, rtol=0, msg=key)
        for log, expected in zip(ours, logs):
            assert log.keys() == expected.keys()
            assert all(log[key].item() == pytest.approx(expected[key].item(), abs=1e-9) for key in log), (log, expected)


def test_float32_agrees_within_rounding():
    whole, logs = train(1, steps=2)
    model, ours = train(4, steps=2)
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, atol=1e-5, rtol=0, msg=key)
    for log, expected in zip(ours, logs):
        assert all(log[key].item() == pytest.approx(expected[key].item(), abs=1e-5) for key in log)


@pytest.mark.parametrize('dtype, scale', [('float32', None), ('bfloat16', None), ('float16', 2.0**10)])
def test_mixed_precision_has_the_gradient_of_the_whole(dtype, scale):
    """Of all parameters, and of each part; float16 with the gradient scaler's loss scale."""
    torch.manual_seed(0)
    model = tiny()
    expected = gradient_of(copy.deepcopy(model), 1, dtype, scale)
    for pieces in (2, 4):
        measured = gradient_of(copy.deepcopy(model), pieces, dtype, scale)
        assert max(relative_error(measured, expected)) < (1e-5 if dtype == 'float32' else 2e-2)


def test_gradients_that_float16_holds_only_with_their_scale_arrive():
    torch.manual_seed(0)
    model = tiny(contrast_head=dict(type='ContrastiveHead', scale=1e-6))
    of_contrast = ('projector', 'predictor', 'feature_decoder')
    expected, scaled, unscaled = (
        torch.cat([g.flatten() for name, g in gradient.items() if name.startswith(of_contrast)])
        for gradient in (
            gradient_of(copy.deepcopy(model), 1),
            gradient_of(copy.deepcopy(model), 2, 'float16', scale=2.0**13),
            gradient_of(copy.deepcopy(model), 2, 'float16', scale=1.0),
        )
    )
    assert (scaled - expected).norm() < 0.02 * expected.norm() < 0.02 * (unscaled - expected).norm()


def test_a_step_that_float16_skips_changes_no_weight_and_has_finite_losses():
    model = tiny(momentum=1.0)
    optim_wrapper, before = wrapper_of(model, 'float16'), copy.deepcopy(model.state_dict())
    optim_wrapper.scaler = torch.amp.GradScaler('cpu', init_scale=2.0**60)
    log = model.train_steps(pieces_of(batch_of(8), 2), optim_wrapper)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    assert all(value.isfinite() for value in log.values())
    assert optim_wrapper.scaler.get_scale() < 2.0**60


def test_compiled_blocks_in_bf16_have_the_gradient_of_plain_ones_on_the_whole():
    cfg = copy.deepcopy(METHODS['cmae'])
    cfg['backbone'].pop('drop_path_rate')
    plain = MODELS.build(cfg)
    for part in ('backbone', 'feature_decoder'):  # which run with and without gradient
        cfg[part]['compiled'] = 'aot_eager'
    compiled = MODELS.build(cfg)
    compiled.load_state_dict(plain.state_dict())
    torch._dynamo.reset()
    before = dict(torch._dynamo.utils.counters['frames'])
    measured = gradient_of(compiled, 2, 'bfloat16')
    frames = {key: count - before.get(key, 0) for key, count in torch._dynamo.utils.counters['frames'].items()}
    assert frames['ok'] == frames['total'] > 0
    assert max(relative_error(measured, gradient_of(plain, 1, 'bfloat16'))) < 2e-2


def test_both_passes_of_a_batch_draw_the_same():
    """Stochastic depth, masks and colours, also without seeds in the samples: the pooled features are the same."""
    backbone = dict(type='MaskedViT', arch=dict(embed_dim=32, depth=4, num_heads=2), img_size=16, patch_size=4)
    torch.manual_seed(5)
    model, seen = tiny(backbone=dict(backbone, drop_path_rate=0.5)), []
    complete = model._complete
    model._complete = lambda *args: seen.append(complete(*args)) or seen[-1]
    batches = [dict(batch, data_samples=None) for batch in pieces_of(batch_of(8), 2)]
    model.train_steps(batches, wrapper_of(model))
    assert [features.requires_grad for features in seen] == [False, False, True, True]
    for first, again in zip(seen[:2], seen[2:]):
        assert torch.equal(first, again)
    seen.clear()
    model.train_steps([batches[0], batches[0]], wrapper_of(model))
    assert not torch.allclose(seen[0], seen[1])  # each batch has its own


def test_one_batch_is_passed_once(monkeypatch):
    model, passes = tiny(), []
    expected = gradient_of(copy.deepcopy(model), 1)
    model.backbone.register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    monkeypatch.setattr(type(model), 'train_steps', BaseAlgorithm.train_steps)
    assert all(torch.equal(expected[name], g) for name, g in gradient_of(model, 1).items())
    monkeypatch.undo()
    gradient_of(model, 1)
    assert passes == [True, True]
    gradient_of(model, 2)
    assert passes[2:] == [False, False, True, True]


def test_without_it_each_batch_is_contrasted_within_itself(double):
    torch.manual_seed(0)
    model = tiny(exact_accumulation=False)
    expected = {}
    for batch in pieces_of(batch_of(8), 2):
        alone, found = copy.deepcopy(model), {}
        total, _ = alone.parse_losses(alone.loss(**alone.data_preprocessor(batch, True)))
        (total / 2).backward()
        found = {name: p.grad for name, p in alone.named_parameters() if p.grad is not None}
        expected = {name: grad + expected.get(name, 0) for name, grad in found.items()}
    assert max(relative_error(gradient_of(copy.deepcopy(model), 2), expected)) < 1e-12
    assert relative_error(gradient_of(tiny_like(model), 2), expected)[0] > 0.01


def tiny_like(model):
    """The same weights with a contrast of the whole step."""
    other = tiny()
    other.load_state_dict(model.state_dict())
    return other


@pytest.mark.parametrize('options, negatives', [(dict(), 7), (dict(exact_accumulation=False), 3)])
def test_the_log_and_the_facts_of_a_run_have_the_number_of_negatives(options, negatives):
    model = tiny(**options)
    log = model.train_steps(pieces_of(batch_of(8), 2), wrapper_of(model))
    assert log['negatives'].item() == negatives
    assert model.facts(size=4, batches=2) == dict(negatives=negatives)
    byol = tiny(contrast_head=dict(type='ContrastiveHead', kind='byol'))
    assert byol.facts(4, 2) == dict(negatives=0)
