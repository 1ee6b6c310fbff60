"""A method trains the same with plain, compiled and checkpointed blocks, and with a step's images in pieces."""

import copy
from functools import lru_cache

import pytest
import torch
from gan_harness import IMAGE_LEVEL, images, optimizers
from harness import METHODS, TWO_VIEWS, largest_difference

from mmmim.models.build import _keys_of
from mmmim.registry import MODELS
from mmmim.structures import DataSample

# biases before a batch norm have a gradient of round-off alone, which AdamW would divide by itself
ADAMW = dict(type='AdamW', lr=1e-2, betas=(0.9, 0.95), weight_decay=0.05, eps=1e-5)
STEPS = 3
# how a step is run: options of all parts that have them, and the number of batches that its images come in
VARIANTS = {
    'plain': dict(),
    'checkpointed': dict(activation_checkpointing=True),
    'compiled': dict(compiled='aot_eager'),
    'compiled+checkpointed': dict(compiled='aot_eager', activation_checkpointing=True),
    'accumulated 2': dict(pieces=2),
    'accumulated 4': dict(pieces=4),
}

VIT, DECODER = METHODS['mae']['backbone'], METHODS['mae']['neck']
SWIN = dict(
    type='MaskedSwin', arch=dict(embed_dim=8, depths=(2, 2), num_heads=(1, 2)), img_size=16, patch_size=2, window_size=4
)
CONV = dict(type='ConvViT', arch=dict(embed_dims=(8, 8, 32), depths=(1, 1, 2), num_heads=2), img_size=16, patch_size=4)
DRAWING = METHODS['crossmae']['drawing_head']
IN_A_BLOCK = 'decoder_blocks.0.mlp.fc2'
# what else a method can be told to do, beside METHODS
OPTIONS = {
    'mae': {
        'mask tokens': dict(backbone=dict(VIT, mask_tokens=True)),
        'conv': dict(backbone=CONV),
        'relative': dict(backbone=dict(VIT, type='MaskedRelativeViT'), neck=dict(type='LinearPredictor')),
        'swin': dict(backbone=dict(SWIN, mask_tokens=True), neck=dict(type='SimMIMDecoder')),
    },
    'cmae': {
        'shared decoder': dict(feature_decoder=dict(type='SharedDecoder', num_blocks=1)),
        'no feature decoder': dict(feature_decoder=None),
        'masked target': dict(target_mask_ratio=0.5),
    },
    'vision_electra': {
        'minimax': dict(gan_loss='minimax'),
        'full': dict(fake_image='full'),
        'one level': dict(image_head=None),
        'swin': dict(backbone=SWIN),
    },
    'gan_mae': {
        'two-stage': dict(scheme='two_stage'),
        'non-saturating': dict(adv_loss='non_saturating'),
        'fixed gamma': dict(gamma=0.5),
        'gamma in a block': dict(gamma_layer=IN_A_BLOCK),
        'combined': dict(scheme='combined'),
        'combined non-saturating': dict(scheme='combined', adv_loss='non_saturating'),
        'combined gamma in a block': dict(scheme='combined', gamma_layer=IN_A_BLOCK),
        'separate': dict(sharing='separate'),
        'separate combined': dict(sharing='separate', scheme='combined', adv_loss='non_saturating'),
        'image level': IMAGE_LEVEL,
        'image level combined': dict(IMAGE_LEVEL, scheme='combined'),
    },
    'crossmae': {
        'hog': dict(target=dict(type='HOGTarget')),
        'momentum': dict(target=dict(type='MomentumTarget', ema_momentum=0.9), pred_on='masked'),
        'pixels': dict(target=dict(type='PixelTarget'), pred_loss='mse', predictor=DECODER),
        'noise token': dict(drawing_head=dict(DRAWING, noise='concat', concat='token')),
        'no noise': dict(drawing_head=dict(DRAWING, noise='none', final_norm=True)),
        'u-net': dict(drawing_head=dict(type='UNetDrawingHead', levels=2)),
    },
}
CASES = {
    **{method: (method, {}) for method in METHODS},
    **{f'{method} {name}': (method, changes) for method in OPTIONS for name, changes in OPTIONS[method].items()},
}


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(autouse=True)
def compiler():
    """A block that is compiled too often is an error; torch would run it as it is."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        yield


def with_options(node, options):
    """A config whose parts have these options, where they know them."""
    if isinstance(node, (list, tuple)):
        return [with_options(child, options) for child in node]
    if not isinstance(node, dict):
        return node
    known = _keys_of(MODELS.get(node['type'])) if 'type' in node else ()
    node = {key: with_options(child, options) for key, child in node.items()}
    return {**node, **{key: value for key, value in options.items() if key in known}}


def config(case, options):
    method, changes = CASES[case]
    return with_options({**METHODS[method], **changes}, {'drop_path_rate': 0.0, **options})


def cases_and_variants():
    """In the default run each method as it is; its other options, and blocks that are only compiled, are slow."""
    for case, (method, _) in CASES.items():
        tried = []
        for variant, how in VARIANTS.items():
            given = (config(case, how), how.get('pieces'))
            if given in tried:
                continue  # no part has this variant's option
            tried.append(given)
            if variant != 'plain':
                slow = case not in METHODS or variant == 'compiled'
                yield pytest.param(case, variant, id=f'{case}, {variant}', marks=pytest.mark.slow if slow else ())


def build(case, **options):
    torch.manual_seed(0)
    return MODELS.build(config(case, options)).train()


def batches_of(method, seed, pieces=1):
    """The same 8 images, in one batch or in several."""
    views = [images(8, 2 * seed + view) * 255 for view in range(1 + (method in TWO_VIEWS))]
    samples = [DataSample(metainfo=dict(seed=100 * seed + i)) for i in range(8)]
    size = 8 // pieces
    for start in range(0, 8, size):
        part = [view[start : start + size].byte() for view in views]
        yield dict(inputs=part if method in TWO_VIEWS else part[0], data_samples=samples[start : start + size])


@lru_cache
def train(case, variant, drop_path_rate=0.0):
    """The weights after some steps, and the losses of each."""
    how = dict(VARIANTS[variant])
    pieces = how.pop('pieces', 1)
    torch._dynamo.utils.counters.clear()
    model = build(case, drop_path_rate=drop_path_rate, **how)
    optim_wrapper, losses = optimizers(model, optimizer=ADAMW), []
    for seed in range(STEPS):
        torch.manual_seed(seed)  # StepSeedHook: stochastic depth
        log = model.train_steps(list(batches_of(CASES[case][0], seed, pieces)), optim_wrapper)
        losses.append(log['loss'].item())
    assert bool(torch._dynamo.utils.counters['frames']['ok']) == ('compiled' in how)
    return copy.deepcopy(model.state_dict()), losses


@pytest.mark.parametrize('case, variant', cases_and_variants())
def test_a_step_is_that_of_plain_blocks_on_the_whole_batch(case, variant):
    """Weights within 1e-9 after some updates of AdamW, and bit by bit where blocks are only computed twice."""
    weights, losses = train(case, variant)
    expected, expected_losses = train(case, 'plain')
    bound = 0 if variant == 'checkpointed' else 1e-9
    assert all(weight.dtype == torch.float64 for weight in weights.values() if weight.is_floating_point())
    assert largest_difference(weights, expected) <= bound
    assert losses == pytest.approx(expected_losses, rel=0, abs=bound)


@pytest.mark.parametrize('case', METHODS)
@pytest.mark.parametrize('variant', ['checkpointed', pytest.param('compiled+checkpointed', marks=pytest.mark.slow)])
def test_checkpointed_blocks_drop_the_same_paths_twice(case, variant):
    weights, _ = train(case, variant, 0.5)
    expected, _ = train(case, 'plain', 0.5)
    assert largest_difference(weights, expected) <= (0 if variant == 'checkpointed' else 1e-9)
    assert largest_difference(expected, train(case, 'plain')[0]) > 1e-3


@pytest.mark.parametrize('variant', ['compiled', pytest.param('compiled+checkpointed', marks=pytest.mark.slow)])
def test_l_disc_trains_the_whole_shared_encoder(variant):
    """Also after blocks were compiled in the generator's pass, where the discriminator is constant."""
    gradients = {}
    for name in ('plain', variant):
        model = build('gan_mae', **VARIANTS[name])
        model.train_steps(list(batches_of('gan_mae', 0)), optimizers(model, optimizer=ADAMW))
        _, x_bar = model(
            images(8), mode='generator', noise=torch.rand(8, 16, generator=torch.Generator().manual_seed(0))
        )
        model.zero_grad()
        model(x_bar, mode='discriminator')['loss_disc'].backward()
        gradients[name] = {key: p.grad for key, p in model.backbone.named_parameters() if p.requires_grad}
    assert all(gradient.any() for gradient in gradients[variant].values())
    assert largest_difference(gradients[variant], gradients['plain']) < 1e-9
