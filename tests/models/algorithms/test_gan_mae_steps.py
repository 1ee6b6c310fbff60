"""GAN-MAE's training steps: who learns in which, and that they are the same in pieces and in other precisions."""

import copy

import pytest
import torch
from gan_harness import IMAGE_LEVEL, batch_of, optimizers, tiny, train, wrappers_of
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper, build_optim_wrapper

from mmmim.models.algorithms.adversarial import DISCRIMINATOR, GENERATOR

ADAMW = dict(type='AdamW', lr=1e-2, betas=(0.9, 0.95), weight_decay=0.05)
MOMENTUM = dict(type='SGD', lr=0.1, momentum=0.9)  # does not divide round-off, as AdamW does


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def learners(model, optim_wrapper, batches=1):
    """Parts of the model that each optimizer step changes, and parameters in them that stay; in order."""
    steps = []
    for name, wrapper in wrappers_of(optim_wrapper).items():

        def step(wrapper=wrapper, name=name, **kwargs):
            before = {key: p.detach().clone() for key, p in model.named_parameters()}
            type(wrapper).step(wrapper, **kwargs)
            changed = {key for key, p in model.named_parameters() if not torch.equal(before[key], p)}
            steps.append((name, {key.partition('.')[0] for key in changed}, changed))

        wrapper.step = step
    for i in range(batches):
        model.train_step(batch_of(seed=i), optim_wrapper)
    return steps


GENERATES, JUDGES = {'backbone', 'neck'}, {'backbone', 'patch_head'}
APART = {
    GENERATOR: ({'backbone', 'neck'}, {'discriminator_backbone', 'patch_head'}),
    DISCRIMINATOR: ({'generator_backbone', 'neck'}, {'backbone', 'patch_head'}),
}


@pytest.mark.parametrize('scheme', ['adversarial', 'two_stage'])
@pytest.mark.parametrize(
    'sharing, export', [('shared', GENERATOR), ('separate', GENERATOR), ('separate', DISCRIMINATOR)]
)
@pytest.mark.parametrize('number', [1, 2])
def test_each_player_learns_in_its_own_step(scheme, sharing, export, number):
    model = tiny(scheme=scheme, sharing=sharing, export=export)
    steps = learners(model, optimizers(model, number, ADAMW), batches=2)
    generates, judges = (GENERATES, JUDGES) if sharing == 'shared' else APART[export]
    names = [GENERATOR, DISCRIMINATOR] if number == 2 else ['both', 'both']
    assert [(name, parts) for name, parts, _ in steps] == 2 * [(names[0], generates), (names[1], judges)]
    trained = {key for key, p in model.named_parameters() if p.requires_grad}
    for _, parts, changed in steps:  # and all of it
        assert changed == {key for key in trained if key.partition('.')[0] in parts}


@pytest.mark.parametrize('sharing', ['shared', 'separate'])
def test_all_learn_in_the_one_step_of_the_combined_scheme(sharing):
    model = tiny(scheme='combined', sharing=sharing, **IMAGE_LEVEL)
    steps = learners(model, optimizers(model, optimizer=ADAMW))
    assert [name for name, *_ in steps] == ['both']
    assert steps[0][2] == {key for key, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize('number', [1, 2])
def test_players_alternate_by_epoch(number, monkeypatch):
    model, hub = tiny(alternate='epoch'), MessageHub.get_current_instance()
    optim_wrapper = optimizers(model, number, ADAMW)
    for epoch, (parts, logged) in enumerate([(GENERATES, 'loss_mae'), (JUDGES, 'loss_disc')] * 2):
        monkeypatch.setitem(hub.runtime_info, 'epoch', epoch)
        assert [changed for _, changed, _ in learners(model, optim_wrapper)] == [parts]
        log = model.train_step(batch_of(), optim_wrapper)
        assert logged in log and ('loss_mae' in log) != ('loss_disc' in log)


@pytest.mark.parametrize('options', [dict(scheme='two_stage'), dict(gamma=0)], ids=['two-stage', 'gamma-0'])
def test_separate_generator_without_adversary_is_mae(options, double):
    """Bit by bit, over several updates; a shared one in its first update."""
    mae, batches = tiny('mae'), [batch_of(seed=i) for i in range(4)]
    for sharing in ('separate', 'shared'):
        model = tiny(sharing=sharing, **options)
        model.load_state_dict(mae.state_dict(), strict=False)
        ours, theirs = optimizers(model, 2, ADAMW), None
        alone = copy.deepcopy(mae)
        theirs = optimizers(alone, optimizer=ADAMW)
        for i, data in enumerate(batches if sharing == 'separate' else batches[:1]):
            seen = {}
            after_generator(
                ours,
                lambda: seen.update(  # noqa: B023
                    {key: p.detach().clone() for key, p in model.named_parameters()}
                ),
            )
            model.train_step(copy.deepcopy(data), ours)
            expected, _ = train(alone, theirs, [data])
            for key, value in expected.items():
                assert torch.equal(seen[key], value), (sharing, i, key)


def after_generator(optim_wrapper, function):
    wrapper = optim_wrapper[GENERATOR]

    def step(**kwargs):
        type(wrapper).step(wrapper, **kwargs)
        function()

    wrapper.step = step


CUT = {
    'two-stage': dict(scheme='two_stage'),
    'adversarial': dict(),
    'fixed': dict(gamma=0.5),
    'combined': dict(scheme='combined'),
    'combined-non-saturating': dict(scheme='combined', adv_loss='non_saturating'),
    'image-level': dict(IMAGE_LEVEL),
    'separate': dict(sharing='separate'),
    'ramp': dict(adv_ramp=4),
}


@pytest.mark.parametrize('name', CUT)
@pytest.mark.parametrize('number', [1, 2])
def test_accumulated_batches_make_the_step_of_the_whole(name, number, double):
    """Gamma of Eq. 9, too, is that of the whole step; stochastic depth off, whose draws differ."""
    if name.startswith('combined') and number == 2:
        pytest.skip("one step is one optimizer's")
    results = []
    for pieces in (1, 4):
        model = tiny(**CUT[name])
        optim_wrapper, logs = optimizers(model, number, MOMENTUM), []
        for seed in range(3):
            whole, size = batch_of(8, seed), 8 // pieces
            batches = [{key: value[i : i + size] for key, value in whole.items()} for i in range(0, 8, size)]
            logs.append(model.train_steps(batches, optim_wrapper))
        results.append((model.state_dict(), logs))
    for ours, theirs in zip(results[0][1], results[1][1]):
        assert ours.keys() == theirs.keys()
        for key in ours:
            if 'accuracy' not in key:  # means of shares of images that are changed, which are not equally many
                assert ours[key].item() == pytest.approx(theirs[key].item(), abs=1e-12), key
    for key, value in results[0][0].items():
        torch.testing.assert_close(value, results[1][0][key], atol=1e-11, rtol=0, msg=key)


def test_what_is_measured_for_gamma_is_drawn_again_in_the_step():
    """Stochastic depth in both passes of a batch: the completed images are the same."""
    backbone = dict(type='MaskedViT', arch=dict(embed_dim=32, depth=4, num_heads=2), img_size=16, patch_size=4)
    model, seen = tiny(backbone=dict(backbone, drop_path_rate=0.5)), []
    corrupt = model.corrupt
    model.corrupt = lambda *args: seen.append(corrupt(*args)) or seen[-1]
    torch.manual_seed(5)
    model.train_steps([batch_of(seed=0), batch_of(seed=1)], optimizers(model))
    assert len(seen) == 4 and not torch.equal(seen[0].images, seen[1].images)
    for first, again in zip(seen[:2], seen[2:]):
        assert torch.equal(first.images, again.images)


def test_the_discriminator_sees_what_was_completed_before_the_generators_step(double):
    model, seen = tiny(), []
    corrupt, judged = model.corrupt, model.discriminator_loss
    model.corrupt = lambda *args: seen.append(corrupt(*args)) or seen[-1]
    model.discriminator_loss = lambda x_bar: seen.append(x_bar) or judged(x_bar)
    model.train_steps([batch_of(seed=0)], optimizers(model, optimizer=ADAMW))
    assert torch.equal(seen[0].images, seen[1].images) and not seen[1].images.requires_grad
    assert all(p.grad is None for p in model.parameters())  # nothing of one step is left for the next


def test_an_optimizer_that_counts_by_itself_is_refused():
    model = tiny()
    with pytest.raises(ValueError, match='accumulative_counts=2.*max_batch_per_device'):
        model.train_step(batch_of(), optimizers(model, accumulative_counts=2))


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(scheme='two_stage'),
        dict(scheme='combined'),
        dict(sharing='separate'),
    ],
    ids=['adversarial', 'two-stage', 'combined', 'separate'],
)
def test_mixed_precision_makes_the_step_of_float32(options, dtype):
    """Also float16, whose gradients would vanish without their scale: gamma and both players' updates agree."""
    results = []
    for precision in ('float32', dtype):
        model = tiny(**options)
        model.patch_head.fc.weight.data.mul_(1e-4)  # gradients by the image that float16 alone cannot hold
        before = {key: p.detach().clone() for key, p in model.named_parameters()}
        weights, log = train(model, optimizers(model, dtype=precision), [batch_of()])
        results.append(({key: weights[key] - before[key] for key in weights}, log))
    (expected, theirs), (measured, ours) = results
    for key in theirs:
        if not key.endswith('accuracy'):  # with such a head, which logit is the larger is a matter of rounding
            assert float(ours[key]) == pytest.approx(float(theirs[key]), rel=0.03), key
    for part in {key.partition('.')[0] for key in expected}:
        a, b = [
            torch.cat([v.flatten() for key, v in deltas.items() if key.startswith(f'{part}.')])
            for deltas in (expected, measured)
        ]
        assert torch.nn.functional.cosine_similarity(a, b, dim=0) > 0.995, part
        assert b.norm() == pytest.approx(a.norm().item(), rel=0.03), part


def test_a_step_that_float16_skips_changes_nothing_and_has_finite_losses():
    model = tiny(scheme='combined')
    optim_wrapper = optimizers(model, dtype='float16')
    optim_wrapper.scaler = torch.amp.GradScaler('cpu', init_scale=2.0**60)
    before = copy.deepcopy(model.state_dict())
    log = model.train_step(batch_of(), optim_wrapper)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(value.isfinite() for value in log.values())
    assert optim_wrapper.scaler.get_scale() < 2.0**60


def test_log_has_both_players_and_no_graph():
    model = tiny()
    log = model.train_step(batch_of(), optimizers(model))
    assert list(log) == [
        'loss',
        'loss_mae',
        'loss_adv',
        'l_adv',
        'gamma',
        'generator_grad_norm',
        'loss_disc',
        'l_disc',
        'original_accuracy',
        'generated_accuracy',
        'discriminator_grad_norm',
    ]
    assert not any(value.requires_grad for value in log.values())
    assert log['loss'].item() == pytest.approx(sum(log[f'loss_{part}'].item() for part in ('mae', 'adv', 'disc')))


@pytest.mark.parametrize('scheme', ['adversarial', 'combined'])
def test_the_adversarial_loss_may_start_later(scheme, monkeypatch):
    model, hub = tiny(scheme=scheme, adv_start=2), MessageHub.get_current_instance()
    optim_wrapper, logged = optimizers(model), []
    for i in range(4):
        monkeypatch.setitem(hub.runtime_info, 'iter', i)
        logged.append(set(model.train_step(batch_of(), optim_wrapper)))
    assert ['loss_adv' in names for names in logged] == [False, False, True, True]
    assert all({'loss_mae', 'loss_disc', 'l_disc'} <= names for names in logged)


@pytest.mark.parametrize('scheme', ['adversarial', 'combined'])
@pytest.mark.parametrize('gamma', [0.5, 'adaptive'])
def test_the_weight_of_the_adversarial_loss_may_grow(scheme, gamma, monkeypatch, double):
    """By the iteration of the run alone: linearly from adv_start on, and then as without a ramp."""
    hub, data = MessageHub.get_current_instance(), batch_of()
    for iteration, share in ((1, None), (2, 0.25), (4, 0.75), (5, 1), (9, 1)):
        monkeypatch.setitem(hub.runtime_info, 'iter', iteration)
        weights, logs = [], []
        for ramp in (4, 0):
            model = tiny(scheme=scheme, gamma=gamma, adv_start=2, adv_ramp=ramp)
            after, log = train(model, optimizers(model), [data])
            weights.append(after)
            logs.append(log)
        if share is None:
            assert 'gamma' not in logs[0] and 'gamma' not in logs[1]
        else:
            assert logs[0]['gamma'].item() == pytest.approx(share * logs[1]['gamma'].item())
            assert logs[0]['l_adv'].item() == pytest.approx(logs[1]['l_adv'].item())
            assert logs[0]['loss_adv'].item() == pytest.approx(share * logs[1]['loss_adv'].item())
        equal = all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
        assert equal == (share in (None, 1))


@pytest.mark.parametrize('scheme', ['adversarial', 'two_stage', 'combined'])
@pytest.mark.parametrize('sharing', ['shared', 'separate'])
@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_the_log_has_the_norms_of_both_players_gradients(scheme, sharing, dtype):
    """Of plain SGD a step is the rate times the gradient, here of a batch in two pieces; clipping comes after."""
    model = tiny(scheme=scheme, sharing=sharing)
    options = dict(clip_grad=dict(max_norm=1e-3)) if scheme == 'two_stage' else {}
    steps, optim_wrapper = {}, optimizers(model, dtype=dtype, **options)
    for name, wrapper in wrappers_of(optim_wrapper).items():

        def step(wrapper=wrapper, name=name, **kwargs):
            before = {key: p.detach().clone() for key, p in model.named_parameters()}
            wrapper.clip_grad_kwargs = None
            type(wrapper).step(wrapper, **kwargs)
            steps[name] = {key: (before[key] - p.detach()) / 0.1 for key, p in model.named_parameters()}

        wrapper.step = step
    log = model.train_steps([batch_of(2, 0), batch_of(2, 1)], optim_wrapper)
    for player in (GENERATOR, DISCRIMINATOR):
        moved = steps['both' if scheme == 'combined' else player]
        parts = tuple(f'{part}.' for part in model.parts_of(player))
        norm = torch.stack([value.norm() for key, value in moved.items() if key.startswith(parts)]).norm()
        assert log[f'{player}_grad_norm'].item() == pytest.approx(norm.item(), rel=1e-3)
        assert log[f'{player}_grad_norm'] > 1e-2


def test_the_norm_of_overflown_gradients_stays_out_of_the_log():
    model = tiny(scheme='two_stage')
    optim_wrapper = optimizers(model, dtype='float16')
    for wrapper in wrappers_of(optim_wrapper).values():
        wrapper.scaler = torch.amp.GradScaler('cpu', init_scale=2.0**60)
    log = model.train_step(batch_of(), optim_wrapper)
    assert log['generator_grad_norm'] == log['discriminator_grad_norm'] == 0


def test_ddp_has_to_look_for_unused_parameters():
    model = tiny()
    wrapped = type('Wrapped', (), dict(find_unused_parameters=False))()
    with pytest.raises(ValueError, match='find_unused_parameters=True'):
        model.train_step(batch_of(), optimizers(model), model=wrapped)


# ------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    'change, words',
    [
        (dict(scheme='alternating'), "scheme='alternating' is not known.*'two_stage'"),
        (dict(sharing='both'), "sharing='both' is not known"),
        (dict(export='decoder'), "export='decoder'"),
        (dict(alternate='step'), "alternate='step'"),
        (dict(alternate='epoch', scheme='combined'), "alternate='epoch'"),
        (dict(adv_loss='hinge'), "adv_loss='hinge'"),
        (dict(adv_mean='apart'), 'adv_mean is no option of GANMAE since version 0.3'),
        (dict(reduction='sum'), 'reduction is no option'),
        (dict(gamma='auto'), "gamma='auto'"),
        (dict(gamma=-1), 'gamma=-1'),
        (dict(disc_weight=-2), 'disc_weight=-2'),
        (dict(adv_ramp=-1), 'adv_ramp=-1'),
        (dict(unchanged_ratio=1), 'unchanged_ratio=1'),
        (dict(gamma_layer='decoder_perd'), 'decoder_perd.*decoder_pred'),
        (dict(adv_through_shared=True), 'adv_through_shared is no option'),
        (dict(target=dict(type='DALLETarget')), 'paints what it predicts|DALLETarget'),
    ],
)
def test_what_does_not_exist_is_refused_when_the_model_is_built(change, words):
    with pytest.raises((ValueError, TypeError), match=words):
        tiny(**change)


@pytest.mark.parametrize(
    'cfg, words',
    [
        (dict(generator=dict(optimizer=ADAMW)), 'only that of the generator'),
        (dict(discriminator=dict(optimizer=ADAMW)), 'only that of the discriminator'),
        (dict(optimizer=ADAMW, discriminator=dict(optimizer=ADAMW)), 'one for both'),
        (dict(), 'no `optimizer`'),
        (dict(optimizer=ADAMW, optimizers=3), 'optimizers=3'),
        (dict(generator=dict(optimizer=ADAMW), discriminator=dict(optimizer=ADAMW), optimizers=1), 'two are given'),
    ],
)
def test_an_optimizer_config_that_misses_a_player_is_refused(cfg, words):
    with pytest.raises(ValueError, match=words):
        build_optim_wrapper(tiny(), dict(constructor='PlayersOptimWrapperConstructor', **cfg))


def test_number_of_optimizers_goes_with_the_scheme():
    with pytest.raises(ValueError, match='optimizers=1'):
        optimizers(tiny(scheme='combined'), 2)
    with pytest.raises(ValueError, match='no generator and discriminator'):
        build_optim_wrapper(tiny('mae'), dict(constructor='PlayersOptimWrapperConstructor', optimizer=ADAMW))
    assert isinstance(optimizers(tiny(scheme='combined')), OptimWrapper)
    assert set(wrappers_of(optimizers(tiny()))) == {GENERATOR, DISCRIMINATOR}


def test_players_may_have_settings_of_their_own():
    model = tiny()
    cfg = dict(
        generator=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        discriminator=dict(
            optimizer=dict(type='SGD', lr=0.5), paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)})
        ),
    )
    built = build_optim_wrapper(model, dict(constructor='PlayersOptimWrapperConstructor', **cfg))
    assert built.get_lr()['generator.lr'] == [1e-3] and sorted(built.get_lr()['discriminator.lr']) == [0.05, 0.5]


def rates(model, optim_wrapper):
    """``{player: {parameter: rate}}``; one entry with one optimizer."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        player: {names[id(p)]: group['lr'] for group in wrapper.optimizer.param_groups for p in group['params']}
        for player, wrapper in wrappers_of(optim_wrapper).items()
    }


def test_the_discriminator_may_have_a_rate_of_its_own():
    slower = dict(paramwise_cfg=dict(discriminator_lr_mult=0.25, norm_decay_mult=0.0))
    model = tiny()
    found = rates(model, optimizers(model, 2, dict(ADAMW), **slower))
    assert set(found[GENERATOR].values()) == {1e-2} and set(found[DISCRIMINATOR].values()) == {2.5e-3}
    assert any(key.startswith('backbone.') for key in found[DISCRIMINATOR])  # its steps on the shared encoder, too
    for sharing, own in (('shared', ('patch_head.',)), ('separate', ('patch_head.', 'discriminator_backbone.'))):
        model = tiny(sharing=sharing)
        optim_wrapper = optimizers(model, 1, dict(ADAMW), **slower)
        for key, rate in rates(model, optim_wrapper)['both'].items():
            assert rate == (2.5e-3 if key.startswith(own) else 1e-2), key
        assert optim_wrapper.get_lr()['lr'][0] == 1e-2  # what the log shows
    model = tiny('vision_electra')
    for key, rate in rates(model, optimizers(model, 1, dict(ADAMW), **slower))['both'].items():
        assert rate == (1e-2 if key.startswith(('generator.', 'neck.')) else 2.5e-3), key


def test_a_rate_of_the_discriminator_that_makes_no_sense_is_refused():
    for number in (1, 2):
        with pytest.raises(ValueError, match='discriminator_lr_mult=0 must be above 0'):
            optimizers(tiny(), number, ADAMW, paramwise_cfg=dict(discriminator_lr_mult=0))
    with pytest.raises(ValueError, match='MAE has no discriminator'):
        optimizers(tiny('mae'), optimizer=ADAMW, paramwise_cfg=dict(discriminator_lr_mult=0.5))
    two = dict(generator=dict(optimizer=ADAMW), discriminator=dict(optimizer=ADAMW))
    with pytest.raises(ValueError, match='states a rate of its own'):
        build_optim_wrapper(
            tiny(),
            dict(constructor='PlayersOptimWrapperConstructor', paramwise_cfg=dict(discriminator_lr_mult=0.5), **two),
        )


# --------------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize(
    'saved, loaded',
    [
        (dict(sharing='separate'), dict()),
        (dict(sharing='separate', export='discriminator'), dict()),
        (dict(sharing='separate'), dict(sharing='separate', export='discriminator')),
    ],
)
def test_a_checkpoint_of_two_encoders_is_not_loaded_as_another_structure(saved, loaded):
    state, model = tiny(**saved).state_dict(), tiny(**loaded)
    with pytest.raises(ValueError, match="sharing='separate'"):
        model.load_state_dict(state, strict=False)
    with pytest.raises(ValueError, match='an encoder for each player'):
        model.check_state_dict(state)
    tiny(**saved).load_state_dict(state)


def test_one_encoder_fills_both():
    model, state = tiny(sharing='separate', seed=1), tiny('mae').state_dict()
    model.complete_state_dict(state)
    model.load_state_dict(state, strict=False)
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, model.discriminator_backbone.state_dict()[key])
