"""Vision ELECTRA: its equations, who learns from which of them, and what cannot be built."""

import copy

import pytest
import torch
from harness import METHODS
from mmengine.logging import MessageHub
from torch.nn import functional as F

from mmmim.engine.optim import AutocastOptimWrapper
from mmmim.models.algorithms import MAE, vision_electra
from mmmim.models.build import check_model
from mmmim.models.patches import patchify, unpatchify
from mmmim.registry import MODELS
from mmmim.structures import DataSample

GENERATOR, DISCRIMINATOR = ('generator.', 'neck.'), ('backbone.', 'image_head.', 'patch_head.')
HEADS = dict(
    image=dict(image_head=dict(type='ImageDiscriminationHead'), patch_head=None),
    patch=dict(image_head=None, patch_head=dict(type='PatchDiscriminationHead')),
)
SWIN = dict(
    type='MaskedSwin', arch=dict(embed_dim=8, depths=(2, 2), num_heads=(1, 2)), img_size=16, patch_size=2, window_size=4
)
SIMMIM_SWIN = dict(generator=dict(SWIN, mask_tokens=True), neck=dict(type='SimMIMDecoder'))
SIMMIM_VIT = dict(
    neck=dict(type='SimMIMDecoder'),
    generator=dict(type='MaskedRelativeViT', arch=dict(embed_dim=32, depth=2, num_heads=2), img_size=16, patch_size=4),
)
RELATIVE_VIT = dict(SIMMIM_VIT['generator'], type='RelativeViT')
OTHER_VIT = dict(METHODS['vision_electra']['generator'], patch_size=2)


def tiny(**changes):
    torch.manual_seed(0)
    cfg = copy.deepcopy(METHODS['vision_electra'])
    cfg['backbone'].pop('drop_path_rate', None)
    return MODELS.build({**cfg, **copy.deepcopy(changes)})


def images(batch=4, size=16, seed=0):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


def samples(batch=4, first=0):
    return [DataSample(metainfo=dict(seed=first + i)) for i in range(batch)]


def noises(model, batch=4):
    """The mask's and the latent space's, from outside."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.rand(batch, *model.masking.noise_shape, generator=generator)
    visible = model.masking.num_keep + model.generator.num_prefix_tokens
    return dict(noise=noise, latent_noise=torch.randn(batch, visible, model.generator.embed_dim, generator=generator))


def reached(model, loss):
    """Parameters in which a loss has a gradient that is not all zero; these gradients."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
    return {name: g for name, g in zip(named, gradients) if g is not None and g.any()}


def trained(model, parts):
    return {name for name, p in model.named_parameters() if p.requires_grad and name.startswith(parts)}


# ------------------------------------------------------------------------------------------------- the equations


@pytest.mark.parametrize('fake_image', ['composite', 'full'])
@pytest.mark.parametrize('norm_pix', [False, True])
def test_equations_in_plain_torch(fake_image, norm_pix):
    model = tiny(
        fake_image=fake_image,
        gan_weight=0.3,
        image_weight=0.5,
        patch_weight=2.0,
        noise_scale=0.7,
        target=dict(type='PixelTarget', norm_pix=norm_pix),
    ).double()
    x, given = images().double(), noises(model)
    losses = model.loss(x, **given)

    removed = torch.ones(4, 16).scatter(1, given['noise'].argsort(1)[:, :4], 0).bool()
    mask = model.masking(given['noise'])
    z = model.generator(x, mask) + 0.7 * given['latent_noise'].double()
    prediction, patches = model.neck(z, mask), patchify(x, 4)
    mean, std = patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + 1e-6).sqrt()
    target = (patches - mean) / std if norm_pix else patches
    assert losses['loss_recon'].item() == pytest.approx(((prediction - target) ** 2).mean(-1)[removed].mean().item())

    painted = prediction * std + mean if norm_pix else prediction
    generated = torch.ones_like(removed) if fake_image == 'full' else removed
    fake = unpatchify(torch.where(generated[..., None], painted, patches), 4, (4, 4))
    log_d, log_1_d = {}, {}  # log D(.) and log(1 - D(.)), where D is the probability of "original"
    for name, shown in (('x', x), ('fake', fake)):
        tokens = model.backbone(shown)
        logits = dict(image=model.image_head.fc(tokens[:, 0]), patch=model.patch_head.fc(tokens[:, 1:]))
        for level in logits:
            log_1_d[level, name], log_d[level, name] = F.log_softmax(logits[level], dim=-1).unbind(-1)
    macro = -(log_d['image', 'x'].sum() + log_1_d['image', 'fake'].sum()) / 8
    kept = ~generated
    micro = -(
        log_d['patch', 'x'].sum() + log_d['patch', 'fake'][kept].sum() + log_1_d['patch', 'fake'][generated].sum()
    ) / (2 * 4 * 16)
    gan = -0.5 * log_d['image', 'fake'].mean() - 2.0 * log_d['patch', 'fake'][generated].mean()
    assert losses['loss_image'].item() == pytest.approx(0.5 * macro.item())
    assert losses['loss_patch'].item() == pytest.approx(2.0 * micro.item())
    assert losses['loss_gan'].item() == pytest.approx(0.3 * gan.item())

    right = {name: log_d['patch', name] > log_1_d['patch', name] for name in ('x', 'fake')}
    originals = torch.cat([right['x'].flatten(), right['fake'][kept]])
    assert losses['original_accuracy'].item() == pytest.approx(originals.double().mean().item())
    assert losses['generated_accuracy'].item() == pytest.approx(1 - right['fake'][generated].double().mean().item())
    by_hand = dict(
        zip(
            ('own', 'theirs'),
            (reached(model, losses['loss_gan']), {name: 0.3 * g for name, g in reached(model, gan).items()}),
        )
    )
    for name in trained(model, GENERATOR):
        torch.testing.assert_close(by_hand['own'][name], by_hand['theirs'][name], atol=1e-12, rtol=1e-9)


def test_minimax_gradient_is_the_discriminators_turned_around():
    model = tiny(gan_loss='minimax', gan_weight=0.3, patch_weight=2.0).double()
    given = noises(model)
    losses = model.loss(images().double(), **given)
    assert 'loss_gan' not in losses
    found = reached(model, losses['loss_image'] + losses['loss_patch'])

    model.gan_weight = -1.0  # what the generator would do to help the discriminator
    helping = model.loss(images().double(), **given)
    assert all(torch.equal(helping[name], losses[name]) for name in losses)
    theirs = reached(model, helping['loss_image'] + helping['loss_patch'])
    assert found.keys() == theirs.keys() == trained(model, GENERATOR + DISCRIMINATOR)
    for name, gradient in theirs.items():
        factor = -0.3 if name.startswith(GENERATOR) else 1
        torch.testing.assert_close(found[name], factor * gradient, atol=1e-12, rtol=1e-9)


# ----------------------------------------------------------------------------------------------------- who learns


@pytest.mark.parametrize(
    'change',
    [
        {},
        SIMMIM_SWIN,
        SIMMIM_VIT,
        dict(SIMMIM_SWIN, backbone=SWIN),
        dict(backbone=SWIN),
        dict(fake_image='full'),
        dict(backbone=OTHER_VIT),
        dict(backbone=RELATIVE_VIT),
    ],
    ids=['mae', 'simmim-swin', 'simmim-vit', 'both-swin', 'swin', 'full', 'finer-patches', 'relative'],
)
def test_each_loss_teaches_one_player(change):
    model = tiny(**change)
    losses = model.loss(images(), samples())
    assert set(reached(model, losses['loss_recon'])) == trained(model, GENERATOR)
    assert set(reached(model, losses['loss_gan'])) == trained(model, GENERATOR)
    heads = {'image': ('backbone.', 'image_head.'), 'patch': ('backbone.', 'patch_head.')}
    for level, parts in heads.items():
        assert set(reached(model, losses[f'loss_{level}'])) >= trained(model, (f'{level}_head.',))
        assert set(reached(model, losses[f'loss_{level}'])) <= trained(model, parts)
    assert set(reached(model, losses['loss_image'] + losses['loss_patch'])) == trained(model, DISCRIMINATOR)
    assert all(
        p.requires_grad == (name.split('.')[-1] not in ('pos_embed', 'decoder_pos_embed'))
        for name, p in model.named_parameters()
    )  # nothing stays frozen


@pytest.mark.parametrize(
    'change, still',
    [
        ({}, ()),
        (HEADS['image'], ()),
        (HEADS['patch'], ()),
        (dict(gan_loss='minimax'), ()),
        (dict(gan_weight=0.0), ()),
        (dict(noise_scale=0.0), ()),
        (dict(image_weight=0.0, patch_weight=0.0), DISCRIMINATOR),
    ],
    ids=['both', 'image', 'patch', 'minimax', 'no-gan', 'no-noise', 'no-weight'],
)
def test_one_step_changes_these_parameters(change, still):
    model = tiny(**change)
    wrapper = AutocastOptimWrapper(
        dtype='float32',
        optimizer=torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0),
    )
    before = copy.deepcopy(model.state_dict())
    log = model.train_step(dict(inputs=(40 * images() + 128).clamp(0, 255).byte(), data_samples=samples()), wrapper)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == trained(model, GENERATOR + DISCRIMINATOR) - (trained(model, still) if still else set())
    assert torch.isfinite(log['loss'])


@pytest.mark.parametrize('gan_loss', ['non_saturating', 'minimax'])
def test_without_gan_loss_and_noise_the_generator_learns_as_mae(gan_loss):
    model = tiny(gan_weight=0.0, noise_scale=0.0, gan_loss=gan_loss)
    cfg = METHODS['vision_electra']
    mae = MAE(cfg['generator'], cfg['neck'], cfg['target'], cfg['head'])
    mae.load_state_dict(
        {
            name.replace('generator.', 'backbone.', 1): value
            for name, value in model.state_dict().items()
            if name.startswith(GENERATOR)
        }
    )
    noise = noises(model)['noise']
    losses = model.loss(images(), noise=noise)
    expected = mae.loss(images(), noise=noise)['loss']
    assert 'loss_gan' not in losses and losses['loss_recon'].item() == expected.item()
    model.parse_losses(losses)[0].backward()
    expected.backward()
    theirs = dict(mae.named_parameters())
    for name in trained(model, GENERATOR):
        own = model.get_parameter(name).grad
        assert torch.equal(own, theirs[name.replace('generator.', 'backbone.', 1)].grad), name


@pytest.mark.parametrize('level, other', [('image', 'patch'), ('patch', 'image')])
def test_a_level_that_is_off_leaves_nothing(level, other):
    model, both = tiny(**HEADS[level]), tiny()
    losses = model.loss(images(), **noises(model))
    assert f'loss_{other}' not in losses and {'loss_recon', f'loss_{level}', 'loss_gan'} <= set(losses)
    assert not trained(model, (f'{other}_head.',))
    both.load_state_dict({**both.state_dict(), **model.state_dict()})
    setattr(both, f'{other}_weight', 0.0)
    expected = both.loss(images(), **noises(both))
    for name in (f'loss_{level}', 'loss_gan', 'loss_recon'):
        assert losses[name].item() == pytest.approx(expected[name].item(), rel=1e-6)


def test_patches_of_other_sizes_have_the_truth_of_their_place():
    """A coarse generator and a fine discriminator, and the other way round with blocks of patches removed."""
    fine = tiny(backbone=OTHER_VIT)
    mask = fine.masking(noises(fine)['noise'])
    _, truth = fine.show(images(), torch.zeros(4, 16, 48), mask)
    expected = 1 - mask.mask.unflatten(1, (4, 4)).repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.equal(truth, expected.flatten(1))
    coarse = tiny(generator=OTHER_VIT, masking='unit')
    mask = coarse.masking(torch.rand(4, 16))
    generated, truth = coarse.show(images(), torch.full((4, 64, 12), 9.0), mask)
    assert truth.shape == (4, 16)
    assert torch.equal((patchify(generated, 4) != 9).all(-1).float(), truth)


# ------------------------------------------------------------------------------------------- what cannot be built


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(gan_loss='wgan'), "gan_loss='wgan' is not known; use 'non_saturating' or 'minimax'"),
        (dict(fake_image='half'), "'composite' or 'full'"),
        (dict(noise_per='pixel'), "'token' or 'image'"),
        (dict(noise_scale=-1), 'must not be negative'),
        (dict(gan_weight=-0.1), 'must not be negative'),
        (dict(image_head=None, patch_head=None), 'keep one of the levels'),
        (
            dict(image_head=dict(type='ImageDiscriminationHead', pool='cls'), backbone=SWIN),
            'the encoder has no class token',
        ),
        (dict(backbone=dict(SWIN, img_size=32)), 'images of 32x32 .* the generator for 16x16'),
        (dict(generator=OTHER_VIT), "2x2 pixels are removed, which cut through .* 4x4: use masking='unit'"),
        (dict(SIMMIM_SWIN, generator=SWIN), 'has to see mask tokens'),
        (
            dict(SIMMIM_SWIN, generator=dict(SWIN, mask_tokens=True, window_size=3)),
            'windows of 3x3 do not fit .* 16x16',
        ),
        (
            dict(SIMMIM_SWIN, generator=dict(SWIN, mask_tokens=True, img_size=20, window_size=4)),
            r'windows of 4x4 do not fit .* 20x20 .* stage 0 has 10x10',
        ),
        (dict(backbone=SIMMIM_VIT['generator']), 'would never train a mask token.* take RelativeViT'),
        (dict(neck=None), 'has to make pixels'),
        (dict(mask_ratio=0.99), 'leaves no visible patch'),
    ],
)
def test_what_cannot_be_built_says_why(change, message):
    with pytest.raises(ValueError, match=message):
        tiny(**change)


def test_unknown_keys_are_named():
    with pytest.raises(TypeError, match='did you mean `noise_scale`'):
        check_model({**METHODS['vision_electra'], 'noise_scael': 1})
    with pytest.raises(TypeError, match=r'model\.generator: MaskedViT has no key `mask_token`'):
        tiny(generator=dict(METHODS['vision_electra']['generator'], mask_token=True))


def test_normalised_pixels_are_said_in_the_log(monkeypatch):
    said = []
    monkeypatch.setattr(vision_electra, 'print_log', lambda message, logger: said.append(message))
    tiny()
    assert not said
    tiny(target=dict(type='PixelTarget'))
    assert len(said) == 1 and 'mean and variance of the original ones' in said[0]


# ------------------------------------------------------------------------------------------- the weight of the GAN loss


@pytest.mark.parametrize('gan_loss', ['non_saturating', 'minimax'])
def test_the_weight_of_the_gan_loss_may_grow(gan_loss, monkeypatch):
    """Linearly, by the iteration of the run alone: the generator's gradient is that of the weight of the moment."""
    x, weight = images(), 0.4
    for iteration, share in ((0, 0.25), (2, 0.75), (3, 1), (8, 1)):
        monkeypatch.setitem(MessageHub.get_current_instance().runtime_info, 'iter', iteration)
        found = []
        for options in (dict(gan_weight=weight, gan_ramp=4), dict(gan_weight=share * weight)):
            model = tiny(gan_loss=gan_loss, **options)
            losses = model.loss(x, **noises(model))
            found.append((losses, reached(model, sum(losses[key] for key in losses if 'loss' in key))))
        (losses, ours), (others, theirs) = found
        assert ours.keys() == theirs.keys()
        for key in ours:
            torch.testing.assert_close(ours[key], theirs[key], atol=1e-6, rtol=1e-5, msg=key)
        if gan_loss == 'non_saturating':
            assert losses['loss_gan'].item() == pytest.approx(share * weight * losses['l_gan'].item())
            assert losses['l_gan'].item() == pytest.approx(others['l_gan'].item())
    with pytest.raises(ValueError, match='gan_ramp=-1'):
        tiny(gan_ramp=-1)


def test_the_log_has_the_norms_of_both_players_gradients():
    model = tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = dict(inputs=(images() * 50 + 100).clamp(0, 255).to(torch.uint8), data_samples=samples())
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    log = model.train_step(data, AutocastOptimWrapper(dtype='float32', optimizer=optimizer))
    moved = {key: (before[key] - p.detach()) / 0.1 for key, p in model.named_parameters()}
    for player, parts in dict(generator=GENERATOR, discriminator=DISCRIMINATOR).items():
        norm = torch.stack([value.norm() for key, value in moved.items() if key.startswith(parts)]).norm()
        assert log[f'{player}_grad_norm'].item() == pytest.approx(norm.item(), rel=1e-3)
    assert not any('loss' in key for key in log if key.endswith('norm') or key.startswith('l_'))
