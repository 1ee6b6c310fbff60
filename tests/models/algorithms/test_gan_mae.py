"""GAN-MAE's equations written out, and where their gradients go."""

import copy

import pytest
import torch
from gan_harness import IMAGE_LEVEL, images, noise, tiny
from harness import METHODS
from torch.func import functional_call

from mmmim.models.algorithms.adversarial import DISCRIMINATOR, GENERATOR, adaptive_weight
from mmmim.models.algorithms.step import with_gradients
from mmmim.models.patches import patchify, unpatchify
from mmmim.registry import MODELS
from mmmim.structures import DataSample


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def written_out(model, x, u, constant=()):
    """L_mae, L_disc, L_adv and X_bar with one graph; parts of the discriminator named in ``constant`` are constant."""
    mask = model.masking(u)  # Eq. 2
    removed = mask.mask.bool()
    h = model.encoder_of(GENERATOR)(x, mask)  # Eq. 3
    x_m = model.neck(h, mask)  # Eq. 4
    patches = patchify(x, 4)
    squared = ((x_m - patches) ** 2)[removed]
    l_mae = squared.mean()  # Eq. 1
    x_bar = unpatchify(torch.where(removed[..., None], x_m, patches), 4, (4, 4))

    def run(name, module, *args):
        values = {key: p.detach() if name in constant else p for key, p in module.named_parameters()}
        return functional_call(module, values, args)

    name = model.encoder_name(DISCRIMINATOR)
    tokens = run(name, model.encoder_of(DISCRIMINATOR), x_bar)[:, 1:]
    d = run('patch_head', model.patch_head.fc, tokens).softmax(-1)[..., 1]  # Eq. 5: probability of original
    per_patch = torch.where(removed, -(1 - d).log(), -d.log())
    l_adv = torch.where(removed, (1 - d).log(), d.log()).mean()  # Eq. 7
    return l_mae, per_patch.mean(), l_adv, x_bar  # Eq. 6


def gamma_by_hand(model, l_mae, l_adv, parameters=None):
    layer = parameters or list(model.neck.decoder_pred.parameters())
    norms = [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, layer, retain_graph=True)]).norm()
        for loss in (l_mae, l_adv)
    ]
    return norms[0] / (norms[1] + 1e-6)  # Eq. 9


def grads(model):
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_close(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-12, rtol=1e-9, msg=lambda m, n=name: f'{n}: {m}')


HELD = {'shared': {'patch_head', 'backbone'}, 'separate': {'patch_head', 'discriminator_backbone'}}


def test_equations_of_the_adversarial_scheme():
    model, x, u = tiny(), images(), noise()
    l_mae, l_disc, l_adv, x_bar = written_out(model, x, u)
    gamma = gamma_by_hand(model, l_mae, l_adv)
    losses, corrupted = model.generator_loss(x, noise=u)
    torch.testing.assert_close(losses['loss_mae'], l_mae)
    torch.testing.assert_close(losses['loss_adv'], gamma * l_adv)  # Eq. 8
    torch.testing.assert_close(losses['l_adv'], l_adv.detach())  # as it is, for the log
    torch.testing.assert_close(losses['gamma'], gamma)
    torch.testing.assert_close(corrupted.images, x_bar)
    torch.testing.assert_close(corrupted.is_original, 1 - model.masking(u).mask)
    own = model.discriminator_loss(corrupted)
    torch.testing.assert_close(own['loss_disc'], l_disc)
    torch.testing.assert_close(own['l_disc'], l_disc.detach())
    right = written_accuracy(model, x_bar, model.masking(u).mask.bool())
    assert [own[name].item() for name in ('original_accuracy', 'generated_accuracy')] == pytest.approx(right)


def written_accuracy(model, x_bar, removed):
    says_original = model.patch_head.fc(model.backbone(x_bar)[:, 1:]).argmax(-1).bool()
    return [says_original[~removed].double().mean().item(), (~says_original)[removed].double().mean().item()]


@pytest.mark.parametrize('sharing', ['shared', 'separate'])
def test_generator_gets_the_gradient_of_eq_8_with_a_constant_discriminator(sharing):
    model, x, u = tiny(sharing=sharing), images(), noise()
    l_mae, _, l_adv, _ = written_out(model, x, u, constant=HELD[sharing])
    (l_mae + gamma_by_hand(model, l_mae, l_adv).detach() * l_adv).backward()
    expected = grads(model)
    assert {name.partition('.')[0] for name in expected} == {'backbone', 'neck'}
    model.zero_grad()
    losses, _ = model.generator_loss(x, noise=u)
    assert all(p.requires_grad for name, p in model.named_parameters() if 'pos_embed' not in name)  # none stays frozen
    (losses['loss_mae'] + losses['loss_adv']).backward()
    assert_close(grads(model), expected)


@pytest.mark.parametrize(
    'options',
    [dict(), dict(sharing='separate'), dict(gamma=0.3, disc_weight=5.0)],
    ids=['shared', 'separate', 'fixed'],
)
def test_one_pass_of_the_discriminator_gives_both_gradients_of_eq_10(options):
    model, x, u = tiny(scheme='combined', **options), images(), noise()
    l_mae, _, l_adv, _ = written_out(model, x, u, HELD[options.get('sharing', 'shared')])
    gamma = options['gamma'] if 'gamma' in options else gamma_by_hand(model, l_mae, l_adv).detach()
    x_bar = written_out(model, x, u)[3].detach()
    tokens = model.encoder_of(DISCRIMINATOR)(x_bar)[:, 1:]
    log_d = model.patch_head.fc(tokens).log_softmax(-1)  # the discriminator's own graph: X_bar is a constant in it
    removed = model.masking(u).mask.bool()
    per_patch = -torch.where(removed, log_d[..., 0], log_d[..., 1])
    l_disc = per_patch.mean()
    weight = options.get('disc_weight', 2.0)
    (l_mae + gamma * l_adv + weight * l_disc).backward()
    expected = grads(model)
    model.zero_grad()
    passes = []
    handle = model.patch_head.register_forward_hook(lambda *_: passes.append(1))
    losses = model.loss(x, noise=u)
    handle.remove()
    total, _ = model.parse_losses(losses)
    torch.testing.assert_close(total, (l_mae + gamma * l_adv + weight * l_disc).detach())
    torch.testing.assert_close(losses['l_disc'], l_disc.detach())  # unweighted, for the log
    total.backward()
    assert_close(grads(model), expected)
    assert len(passes) == 1


@pytest.mark.parametrize(
    'options',
    [
        dict(adv_loss='non_saturating'),
        dict(IMAGE_LEVEL),
        dict(IMAGE_LEVEL, adv_loss='non_saturating'),
    ],
    ids=['non-saturating', 'image', 'image-non-saturating'],
)
@pytest.mark.parametrize('scheme', ['adversarial', 'combined'])
def test_other_forms_of_the_adversarial_loss(options, scheme):
    """Against what they are said to be, the discriminator's parameters constant in them."""
    model, x, u = tiny(scheme=scheme, gamma=0.7, sharing='separate', **options), images(8), noise(8)
    seeds = [DataSample(metainfo=dict(seed=i)) for i in range(8)]
    prediction = model.reconstruct(x, model.masking(u))
    corrupted = model.corrupt(x, prediction, model.masking(u), seeds)
    y, removed = corrupted.is_original, model.masking(u).mask
    tokens = model.discriminator_backbone(corrupted.images)
    log_d = model.patch_head.fc(tokens[:, 1:]).log_softmax(-1)
    if options.get('adv_loss') == 'non_saturating':
        l_adv = -(log_d[..., 1] * (1 - y)).mean()
    else:
        l_adv = torch.where(y.bool(), log_d[..., 1], log_d[..., 0]).mean()
    if 'image_head' in options:
        whole, log_i = (y == 1).all(1), model.image_head.fc(tokens[:, 0]).log_softmax(-1)
        l_adv = l_adv + (
            -(log_i[:, 1] * ~whole).mean()
            if 'adv_loss' in options
            else torch.where(whole, log_i[:, 1], log_i[:, 0]).mean()
        )
    l_mae = ((prediction - patchify(x, 4)) ** 2)[removed.bool()].mean()
    (l_mae + 0.7 * l_adv).backward()
    expected = {name: g for name, g in grads(model).items() if name.startswith(('backbone', 'neck'))}
    model.zero_grad()
    losses = model.loss(x, seeds, noise=u) if scheme == 'combined' else model.generator_loss(x, seeds, noise=u)[0]
    torch.testing.assert_close(losses['loss_adv'], 0.7 * l_adv.detach())
    model.parse_losses(losses)[0].backward()
    assert_close({name: g for name, g in grads(model).items() if name.startswith(('backbone', 'neck'))}, expected)


def test_half_of_the_images_stay_unchanged_by_their_seeds():
    model, x = tiny(**IMAGE_LEVEL), images(64)
    mask, seeds = model.masking(noise(64)), [DataSample(metainfo=dict(seed=i)) for i in range(64)]
    prediction = torch.randn(64, 16, 48)
    corrupted = model.corrupt(x, prediction, mask, seeds)
    unchanged = (corrupted.is_original == 1).all(1)
    assert 20 <= unchanged.sum() <= 44
    assert all(torch.equal(corrupted.images[i], x[i]) == unchanged[i] for i in range(64))
    again = model.corrupt(x[:3], prediction[:3], type(mask)(*(part[:3] for part in mask)), seeds[:3])
    assert torch.equal(again.is_original, corrupted.is_original[:3])
    few = tiny(**IMAGE_LEVEL, unchanged_ratio=0.1).corrupt(x, prediction, mask, seeds)
    assert (few.is_original == 1).all(1).sum() < 16
    losses = model.discriminator_loss(corrupted)
    logits = model.image_head.fc(model.backbone(corrupted.images)[:, 0])
    expected = (
        torch.nn.functional.cross_entropy(logits, unchanged.long()) + tiny().discriminator_loss(corrupted)['loss_disc']
    )
    torch.testing.assert_close(losses['loss_disc'], expected)
    assert 0 <= losses['image_original_accuracy'] <= 1 and 0 <= losses['image_generated_accuracy'] <= 1


@pytest.mark.parametrize(
    'layer, maximum',
    [('decoder_pred', None), ('decoder_pred.weight', None), ('decoder_blocks.0.mlp.fc2', None), ('decoder_pred', 0.01)],
)
def test_gamma_is_the_ratio_of_norms_at_the_layer(layer, maximum):
    model, x, u = tiny(gamma_layer=layer, gamma_max=maximum), images(), noise()
    l_mae, _, l_adv, _ = written_out(model, x, u)
    parameters = [p for name, p in model.neck.named_parameters() if f'{name}.'.startswith(f'{layer}.')]
    assert parameters
    gamma = gamma_by_hand(model, l_mae, l_adv, parameters)
    gamma = gamma.clamp(max=maximum) if maximum else gamma
    measured = model.generator_loss(x, noise=u)[0]['gamma']
    torch.testing.assert_close(measured, gamma)
    assert not measured.requires_grad and (maximum is None or measured == maximum)


def test_gamma_of_overflown_gradients_is_seen_by_the_scaler():
    inf, nan = float('inf'), float('nan')
    found = [adaptive_weight(torch.tensor(both)[:, None]) for both in ((1.0, inf), (inf, 1.0), (1.0, nan))]
    assert all(weight.isnan() for weight in found)
    assert adaptive_weight(torch.tensor([[inf], [1.0]]), maximum=10.0).isnan()
    assert adaptive_weight(torch.tensor([[1.0], [0.0]]), delta=0.5) == 2


def test_discriminator_step_does_not_touch_the_generators_graph():
    model, x, u = tiny(sharing='separate'), images(), noise()
    _, corrupted = model.generator_loss(x, noise=u)
    assert not corrupted.images.requires_grad and not corrupted.is_original.requires_grad
    entered = []
    for name in ('backbone', 'neck'):
        getattr(model, name).register_forward_pre_hook(lambda *_, name=name: entered.append(name))
    model.discriminator_loss(corrupted)['loss_disc'].backward()
    assert not entered
    assert {name.partition('.')[0] for name in grads(model)} == {'discriminator_backbone', 'patch_head'}


def test_with_gradients_hands_out_what_it_was_given():
    a, b, unused = (torch.ones(size, requires_grad=True) for size in (3, 2, 1))
    loss = with_gradients(torch.tensor(7.0), [a, unused, b], [torch.arange(3.0), None, torch.ones(2)])
    (3 * loss).backward()
    assert loss == 7 and torch.equal(a.grad, 3 * torch.arange(3.0)) and torch.equal(b.grad, torch.full((2,), 3.0))
    assert unused.grad is None


def test_reconstruction_is_the_generators_whichever_encoder_is_kept():
    model, x, u = tiny(sharing='separate', export='discriminator').eval(), images(), noise()
    assert model.encoder_of(DISCRIMINATOR) is model.backbone
    generator = tiny()
    generator.backbone, generator.neck = copy.deepcopy(model.generator_backbone), copy.deepcopy(model.neck)
    for ours, theirs in zip(model.predict(x, noise=u), generator.eval().predict(x, noise=u)):
        assert torch.equal(ours.reconstruction, theirs.reconstruction)
        assert not ours.uses_original_statistics


def test_normalised_pixels_are_painted_with_the_originals_statistics(monkeypatch):
    lines = []
    monkeypatch.setattr('mmmim.models.algorithms.adversarial.print_log', lambda text, *_, **__: lines.append(text))
    tiny()
    assert not lines
    model, x, u = tiny(target=dict(type='PixelTarget', norm_pix=True)), images(), noise()
    assert 'mean and variance of the original ones' in lines[0]
    prediction, patches = torch.randn(4, 16, 48), patchify(x, 4)
    corrupted = model.corrupt(x, prediction, model.masking(u))
    painted = prediction * (patches.var(-1, keepdim=True) + 1e-6).sqrt() + patches.mean(-1, keepdim=True)
    removed = model.masking(u).mask.bool()
    torch.testing.assert_close(patchify(corrupted.images, 4)[removed], painted[removed])
    assert torch.equal(patchify(corrupted.images, 4)[~removed], patches[~removed])


def test_target_is_raw_pixels_by_default():
    cfg = {key: value for key, value in METHODS['gan_mae'].items() if key != 'target'}
    assert MODELS.build(cfg).target.norm_pix is False
