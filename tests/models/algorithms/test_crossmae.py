"""CrossMAE: the paper's equations, what the options change, and what is refused."""

import copy
from types import SimpleNamespace

import pytest
import torch
from harness import METHODS
from mmengine.logging import MMLogger
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from mmmim.checkpoint.encoder import EncoderMismatchError
from mmmim.engine.hooks import CosineMomentumHook, LoadFromHook
from mmmim.engine.optim import AutocastOptimWrapper
from mmmim.evaluation import ReconstructionMetric
from mmmim.models.build import check_model
from mmmim.models.masking import PatchMask
from mmmim.models.patches import patchify, unpatchify
from mmmim.models.targets import BaseTarget
from mmmim.registry import MODELS
from mmmim.structures import DataSample

SWIN = dict(
    type='MaskedSwin',
    arch=dict(embed_dim=8, depths=(1, 1, 1), num_heads=(1, 2, 2)),
    img_size=64,
    patch_size=4,
    window_size=2,
)
SWIN_HEAD = dict(type='DrawingHead', patch_size=8, embed_dim=16, num_heads=2)
SWINS = dict(backbone=SWIN, drawing_head=SWIN_HEAD)
PIXELS, HOG, EMA = dict(type='PixelTarget'), dict(type='HOGTarget'), dict(type='MomentumTarget', ema_momentum=0.9)


@MODELS.register_module(force=True)
class ToyTokens(BaseTarget):
    """Discrete tokens [B, L] in 0..6: how bright each patch is."""

    out_dim, discrete = 7, True

    def __init__(self, patch_size, init_cfg=None):
        super().__init__(init_cfg)
        self.patch_size = patch_size

    def compute(self, images):
        return (3 + 4 * patchify(images, self.patch_size).mean(-1)).round().clamp(0, 6).long()


TOKENS = dict(type='ToyTokens')


def tiny(**changes):
    cfg = copy.deepcopy(METHODS['crossmae'])
    cfg['backbone'].pop('drop_path_rate', None)
    return MODELS.build({**cfg, 'target': dict(PIXELS), **changes})


def images(batch=4, size=16, seed=0):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


def samples(*seeds):
    return [DataSample(metainfo=dict(seed=seed)) for seed in seeds]


def without_gradient(model):
    return [name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]


@pytest.mark.parametrize(
    'target, kind, weight', [(PIXELS, 'cosine', 0.1), (HOG, 'normalized_mse', 0.4), (EMA, 'cosine', 1.0)]
)
def test_equations_in_plain_torch(target, kind, weight):
    """Eq. 1 to 4 written out, the drawing head too."""
    model, x = tiny(target=target, pred_loss=kind, pred_weight=weight).double(), images().double()
    noise, z = torch.rand(4, 16).double(), torch.randn(4, 16).double()  # Eq. 1
    losses = model.loss(x, noise=noise, z=z)
    removed = noise.argsort(1).argsort(1) >= 4  # 75% of 16 patches
    head, patches = model.drawing_head, patchify(x, 4)
    flat = x.reshape(4, 3, 4, 4, 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(4, 16, 48)
    tokens = torch.where(removed[..., None], head.mask_token, flat @ head.patch_embed.weight.T + head.patch_embed.bias)
    w = z
    for layer in (0, 2, 4):  # f, a 3-layer MLP
        w = F.linear(w if layer == 0 else F.leaky_relu(w, 0.2), head.mapping[layer].weight, head.mapping[layer].bias)
    h = tokens + head.pos_embed
    h = head.blocks[0](torch.cat([z[:, None], h], 1))[:, 1:]
    h = head.blocks[1](torch.cat([w[:, None], h], 1))[:, 1:]
    drawn = h @ head.pred.weight.T + head.pred.bias
    smooth = torch.from_numpy(gaussian_filter(x.numpy(), (0, 0, 10 / 14, 10 / 14), mode='nearest'))  # 16 of 224 px
    l_draw = ((patchify(smooth, 4) - drawn) ** 2).mean(-1)[removed].mean()  # Eq. 2
    x_draw = unpatchify(torch.where(removed[..., None], drawn, patches), 4, (4, 4))
    f = model.predictor[0].fc(model.backbone(x_draw)[:, 1:])
    features = model.target(x)
    cosine = (features * f).sum(-1) / features.norm(dim=-1) / f.norm(dim=-1)
    l_pred = (-cosine if kind == 'cosine' else 2 - 2 * cosine).mean()  # Eq. 3
    assert losses['loss_draw'].item() == pytest.approx(l_draw.item(), abs=1e-6)
    assert losses['loss_pred'].item() == pytest.approx(weight * l_pred.item(), abs=1e-6)
    total, _ = model.parse_losses(losses)
    assert total.item() == pytest.approx((l_draw + weight * l_pred).item(), abs=1e-6)  # Eq. 4


def test_the_squared_norm_as_printed_is_the_mean_times_the_values_of_a_patch():
    model, x, noise, z = tiny(), images(), torch.rand(4, 16), torch.randn(4, 16)
    mean = model.loss(x, noise=noise, z=z)['loss_draw']
    model.draw_loss.patch_reduction = tiny(draw_reduction='sum').draw_loss.patch_reduction
    torch.testing.assert_close(model.loss(x, noise=noise, z=z)['loss_draw'], 48 * mean)


def test_a_sample_gets_its_noise_from_its_seed():
    model, x = tiny(), images(2)
    draw = model.drawing_head.draw_noise
    z = torch.stack(draw(x, samples(5, 6), draws=2))
    assert torch.equal(z[0], draw(x, samples(5, 6))[0]) and z.shape == (2, 2, 16)
    assert torch.equal(z[:, 1], torch.stack(draw(x[:1], samples(6), draws=2))[:, 0])  # whatever else is in the batch
    assert not torch.equal(z[0, 0], z[0, 1]) and not torch.equal(z[0], z[1])
    many = draw(images(500, size=1), samples(*range(500)))[0]
    assert abs(many.mean()) < 0.05 and abs(many.std() - 1) < 0.05
    torch.manual_seed(1)
    first = model.loss(x, samples(5, 6))
    torch.manual_seed(2)
    assert torch.equal(first['loss_draw'], model.loss(x, samples(5, 6))['loss_draw'])


def test_noise_of_both_kinds_goes_through_forward():
    model, x, noise, z = tiny(), images(2), torch.rand(2, 16), torch.randn(2, 16)
    losses = model(x, mode='loss', noise=noise, z=z)
    torch.testing.assert_close(losses['loss_draw'], model.loss(x, noise=noise, z=z)['loss_draw'])
    samples = model(x, mode='predict', noise=noise, z=z)
    torch.testing.assert_close(torch.stack([s.recon_loss for s in samples]).mean(), losses['loss_draw'].detach())
    with pytest.raises(TypeError, match='zz'):
        model(x, mode='predict', zz=z)


def test_visible_patches_are_kept_or_drawn_too():
    x, noise, z = images(), torch.rand(4, 16), torch.randn(4, 16)
    for keep in (True, False):
        model = tiny(keep_visible=keep)
        mask = model.masking(noise)
        drawing = model.drawing_head(x, mask, z)
        seen = patchify(model.complete(x, drawing, mask), 4)
        removed = mask.mask.bool()
        assert torch.equal(seen[removed], drawing[removed])
        assert torch.equal(seen[~removed], (patchify(x, 4) if keep else drawing)[~removed])


@pytest.mark.parametrize('end_to_end', [True, False])
def test_the_prediction_teaches_the_drawing_head_only_end_to_end(end_to_end):
    model = tiny(end_to_end=end_to_end)
    model.loss(images())['loss_pred'].backward()
    reached = {name.split('.')[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {'backbone', 'predictor'} | ({'drawing_head'} if end_to_end else set())


@pytest.mark.parametrize(
    'change',
    [
        dict(target=EMA, predictor=None),
        dict(target=dict(EMA, layer=[1, -1], normalize=True)),
        dict(target=dict(EMA, average='predictor'), predictor=dict(type='MLPPredictor')),
        dict(target=dict(EMA, average='projector'), projector=dict(type='MLPPredictor', out_dim=12)),
        dict(target=dict(EMA, average='projector'), projector=dict(type='LinearPredictor'), predictor=None),
        dict(target=HOG, predictor=dict(type='MLPPredictor')),
        dict(keep_visible=False),
        dict(predictor=dict(type='MAEDecoder', embed_dim=16, depth=1, num_heads=2)),
        dict(pred_loss='mse'),
        dict(drawing_head=dict(type='UNetDrawingHead', width=4, levels=2)),
        dict(pred_on='masked', draw_reduction='sum'),
        dict(
            target=dict(type='CombinedTarget', targets=[EMA, HOG]),
            predictor=[dict(type='LinearPredictor'), dict(type='MLPPredictor')],
        ),
        *[
            dict(backbone=SWIN, drawing_head=SWIN_HEAD, target=target, pred_on=on, swin_match=match)
            for target in (HOG, EMA)
            for on in ('all', 'masked')
            for match in ('predictor_linear', 'target_pool')
        ],
    ],
    ids=str,
)
def test_variants_train_everything(change):
    model = tiny(**change)
    losses = model.loss(images(size=model.backbone.img_size[0]))
    total, _ = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total) and not without_gradient(model)


def test_features_are_compared_on_all_tokens_or_on_masked_ones():
    x, noise = images().double(), torch.rand(4, 16).double()
    losses = {}
    for on in ('all', 'masked'):
        torch.manual_seed(0)
        model = tiny(pred_on=on, target=HOG, pred_weight=1.0).double()
        mask, z = model.masking(noise), torch.zeros(4, 16).double()
        f = model.predict_features(model.complete(x, model.drawing_head(x, mask, z), mask))
        cosine = F.cosine_similarity(f, model.target(x), dim=-1)
        losses[on] = model.loss(x, noise=noise, z=z)['loss_pred'].item()
        chosen = cosine[mask.mask.bool()] if on == 'masked' else cosine
        assert losses[on] == pytest.approx(-chosen.mean().item(), abs=1e-9)
    assert losses['all'] != losses['masked']


def test_each_target_has_a_predictor_and_a_loss_of_its_own():
    model = tiny(target=dict(type='CombinedTarget', targets=[EMA, HOG]), target_weights=[1.0, 0.5], pred_weight=1.0)
    x, mask = images(), PatchMask(None, None, torch.ones(4, 16))
    f, target = model.predict_features(x), model.true_features(x)
    assert [p.fc.out_features for p in model.predictor] == [32, 108] and target.shape == f.shape == (4, 16, 140)
    expected = -sum(
        w * F.cosine_similarity(f[..., part], target[..., part], dim=-1)
        for w, part in ((1.0, slice(0, 32)), (0.5, slice(32, 140)))
    ).mean()
    torch.testing.assert_close(model.head.loss(f, target, mask), expected)


@pytest.mark.parametrize('swin', [{}, SWINS], ids=['vit', 'swin'])
def test_discrete_tokens_are_classified_at_each_cell(swin):
    """Section 3.2 allows any target; a prediction of discrete tokens is a classification."""
    model = tiny(**swin, target=TOKENS, pred_loss='cross_entropy', pred_weight=0.5)
    x, grid = images(size=model.backbone.img_size[0]), model.masking.grid
    noise, z = torch.rand(4, grid[0] * grid[1]), torch.randn(4, 16)
    losses = model.loss(x, noise=noise, z=z)
    mask = model.masking(noise)
    logits = model.predict_features(model.complete(x, model.drawing_head(x, mask, z), mask))
    assert logits.shape == (4, grid[0] * grid[1], 7)
    probabilities = logits.softmax(-1).gather(-1, model.target(x)[..., None])
    assert losses['loss_pred'].item() == pytest.approx(0.5 * -probabilities.log().mean().item(), rel=1e-5)
    losses['loss_pred'].backward()
    assert model.backbone.norm.weight.grad.any()
    assert model.eval().predict(x)[0].pred_loss > 0


# ---------------------------------------------------------------------------------------------------------- Swin


def test_swin_predicts_each_cell_under_a_place():
    """The 4 x 4 places of the last map carry 8 x 8 patches of 8 pixels: a change of the weights that make one cell's
    features changes that cell alone."""
    model = tiny(backbone=SWIN, drawing_head=SWIN_HEAD, target=HOG)
    assert model.backbone.grid_size == (4, 4) and model.masking.grid == model.pred_grid == (8, 8)
    x = images(1, 64)
    before, dim = model.predict_features(x), model.target.out_dim
    with torch.no_grad():
        model.predictor[0].fc.bias[dim : 2 * dim] += 1  # the second cell of a place: up, right
    changed = (model.predict_features(x) != before).any(-1).reshape(8, 8)
    assert changed[0::2, 1::2].all() and changed.sum() == 16


def test_swin_can_predict_the_mean_of_the_cells():
    model = tiny(backbone=SWIN, drawing_head=SWIN_HEAD, target=HOG, swin_match='target_pool', pred_on='masked')
    x, noise = images(2, 64), torch.rand(2, 64)
    pooled = F.avg_pool2d(model.target(x).transpose(1, 2).unflatten(2, (8, 8)), 2).flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.true_features(x), pooled)
    share = F.avg_pool2d(model.masking(noise).mask.reshape(2, 1, 8, 8), 2).flatten(1)
    torch.testing.assert_close(model.mask_of_features(model.masking(noise)).mask, share)


def test_swin_whose_last_map_is_one_place():
    model = tiny(backbone=dict(SWIN, img_size=16), drawing_head=SWIN_HEAD, target=HOG, mask_ratio=0.5)
    assert model.backbone.grid_size == (1, 1) and model.masking.grid == (2, 2)
    assert torch.isfinite(model.loss(images(2, 16))['loss_pred'])


def test_a_momentum_swin_is_compared_on_its_own_grid():
    model = tiny(backbone=SWIN, drawing_head=SWIN_HEAD, target=EMA)
    assert model.pred_grid == (4, 4) and model.predict_features(images(1, 64)).shape == (1, 16, 32)


def test_the_log_tells_what_a_constant_would_reach():
    model, x = tiny(target=EMA), images(6)
    losses = model.loss(x, noise=torch.rand(6, 16))
    features = model.true_features(x)
    mean = features.flatten(0, 1).mean(0).expand_as(features)
    expected = torch.cosine_similarity(mean, features, dim=-1).mean()
    torch.testing.assert_close(losses['cosine_of_mean'], expected)
    torch.testing.assert_close(losses['cosine'], -losses['loss_pred'].detach() / model.pred_weight)


def test_how_much_another_z_changes_a_drawing():
    model, x = tiny().eval(), images(4)
    first = model.predict(x, noise=torch.rand(4, 16))
    assert all(0 < above < 10 * below for above, below in (sample.draw_diversity for sample in first))
    model.drawing_head.draw_noise = lambda images, samples=None, draws=1: [torch.zeros(len(images), 16)] * draws
    assert all(sample.draw_diversity[0] == 0 for sample in model.predict(x, noise=torch.rand(4, 16)))
    metric = ReconstructionMetric()
    metric.process(
        None, [dict(pred_loss=1.0, draw_diversity=(1.0, 3.0)), dict(pred_loss=3.0, draw_diversity=(0.0, 1.0))]
    )
    assert metric.compute_metrics(metric.results) == pytest.approx(dict(pred_loss=2.0, draw_diversity=0.5))


# ------------------------------------------------------------------------------------------------ momentum encoder


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_the_average_moves_by_the_formula_once_an_optimizer_step(dtype):
    model = tiny(target=EMA)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    wrapper = AutocastOptimWrapper(dtype=dtype, optimizer=optimizer)
    average, online = model.target.momentum_encoder, model.backbone
    for _ in range(2):
        old = average.blocks[1].mlp.fc1.weight.clone()
        batches = [dict(inputs=torch.randint(0, 256, (4, 3, 16, 16)).byte(), data_samples=None) for _ in range(2)]
        model.train_steps(batches, wrapper)
        new, theirs = average.blocks[1].mlp.fc1.weight, online.blocks[1].mlp.fc1.weight
        assert not torch.equal(new, theirs) and not torch.equal(new, old)
        torch.testing.assert_close(new, 0.9 * old + (1 - 0.9) * theirs, rtol=2.0**-22, atol=2.0**-25)


def test_the_average_starts_as_the_encoder_and_is_trained_by_nothing_else(tmp_path):
    source = tiny()
    with torch.no_grad():
        for p in source.backbone.parameters():
            p.add_(0.1)
    torch.save(source.state_dict(), tmp_path / 'start.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'start.pth'), prefix='backbone.')
    model = tiny(target=EMA, backbone={**METHODS['crossmae']['backbone'], 'init_cfg': init})
    model.init_weights()
    for name, p in model.target.momentum_encoder.named_parameters():
        assert torch.equal(p, source.backbone.state_dict()[name]) and not p.requires_grad
    state = {name: value for name, value in source.state_dict().items() if name.startswith('backbone.')}
    tiny(target=EMA).complete_state_dict(state)  # a checkpoint without an average: as load_from finds one
    assert torch.equal(state['target.momentum_encoder.norm.weight'], state['backbone.norm.weight'])


def test_the_average_of_several_layers_normalised():
    model, x = tiny(target=dict(EMA, layer=[2, 1], normalize=True)), images()
    encoder, outputs = model.backbone, []
    tokens = encoder.add_prefix(encoder._embed(x, None), encoder.pos_embed)
    for block in encoder.blocks:
        tokens = block(tokens)
        outputs.append(
            (tokens - tokens.mean(-1, keepdim=True)) / (tokens.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        )
    torch.testing.assert_close(model.target(x), (outputs[0] + outputs[1])[:, 1:] / 2, rtol=1e-4, atol=1e-5)
    single = tiny(
        target=dict(EMA, layer=-1), backbone={**METHODS['crossmae']['backbone'], 'compiled': 'aot_eager'}
    ).eval()
    torch.testing.assert_close(single.backbone.norm(single.target(x)), single.backbone(x)[:, 1:])


@pytest.mark.parametrize(
    'average, cfg', [('projector', dict(projector=dict(type='MLPPredictor', out_dim=12))), ('predictor', {})]
)
def test_a_projector_or_predictor_is_averaged_too(average, cfg):
    options = dict(target=dict(EMA, average=average), predictor=dict(type='MLPPredictor'), **cfg)
    model, x = tiny(**options).train(), images()
    online = model.projector if average == 'projector' else model.predictor[0]
    head = model.target.momentum_head
    torch.testing.assert_close(model.target(x), online(model.backbone(x)))
    with torch.no_grad():
        online.mlp.fc1.weight.add_(1.0)
    before = head.mlp.fc1.weight.clone()
    model.target.update()
    torch.testing.assert_close(head.mlp.fc1.weight, 0.9 * before + 0.1 * online.mlp.fc1.weight)
    assert not any(p.requires_grad for p in model.target.parameters())
    assert head.mlp.bn0.training and not model.target.momentum_encoder.training
    state = {name: value for name, value in model.state_dict().items() if not name.startswith('target.')}
    other = tiny(**options)
    other.complete_state_dict(state)  # of a run without an average
    other.load_state_dict(state)
    assert torch.equal(other.target.momentum_head.mlp.fc1.weight, online.mlp.fc1.weight)


def test_weights_of_before_a_default_changed_name_its_key():
    """The predictor was a quarter as wide: without the key, load_from would leave today's untrained."""
    cfg = copy.deepcopy(METHODS['crossmae'])
    cfg.update(target=dict(HOG), predictor=dict(type='MLPPredictor'))
    model = MODELS.build(cfg)
    file = dict(
        meta=dict(cfg=f'model = {cfg!r}'),
        state_dict=tiny(target=HOG, predictor=dict(cfg['predictor'], hidden_dim=8)).state_dict(),
    )
    runner = SimpleNamespace(
        model=model, cfg=dict(model=cfg), _train_loop=None, _load_from='old.pth', logger=MMLogger.get_instance('test')
    )
    with pytest.raises(
        EncoderMismatchError, match='model.predictor.hidden_dim: the checkpoint was made when a quarter'
    ):
        LoadFromHook().after_load_checkpoint(runner, dict(file))
    cfg['predictor']['hidden_dim'] = 8
    runner.model = MODELS.build(cfg)
    file['meta'] = dict(cfg=f'model = {dict(cfg, predictor=dict(type="MLPPredictor"))!r}')
    LoadFromHook().after_load_checkpoint(runner, loaded := dict(file))
    assert 'predictor.0.mlp.fc0.weight' in loaded['state_dict']


def test_the_hook_lets_the_momentum_rise():
    hook, model = CosineMomentumHook(end=1.0), tiny(target=EMA)
    runner = SimpleNamespace(model=model, iter=0, max_iters=100)
    hook.before_train(runner)
    for runner.iter, expected in ((0, 0.9), (50, 0.95), (100, 1.0)):
        hook.before_train_iter(runner, 0)
        assert model.target.ema_momentum == pytest.approx(expected)
    runner.model = several = tiny(target=dict(type='CombinedTarget', targets=[EMA, HOG]))
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)  # at the end
    assert several.target.targets[0].ema_momentum == 1.0
    runner.model = tiny()
    with pytest.raises(TypeError, match='no momentum encoder'):
        hook.before_train(runner)


def test_targets_keep_no_activations():
    model, saved = tiny(target=dict(type='CombinedTarget', targets=[EMA, HOG])), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        features = model.true_features(images())
    assert not saved and not features.requires_grad


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    'change, error, message',
    [
        (dict(target=dict(type='Nonsense')), KeyError, "model.target.type='Nonsense' is not registered.*PixelTarget"),
        (dict(predictor=dict(type='Nonsense')), KeyError, "model.predictor.type='Nonsense' is not registered"),
        (dict(predictor=None), ValueError, r'32 values a token and the target has \[48\]'),
        (dict(predictor=[dict(type='LinearPredictor')] * 2), ValueError, '2 predictors for 1 targets'),
        (dict(draw_target=dict(type='BlurredPixelTarget', sigma=0)), ValueError, 'sigma=0 must be above 0'),
        (dict(draw_target=dict(type='BlurredPixelTarget', sigma=-1.0)), ValueError, 'sigma=-1.0 must be above 0'),
        (
            dict(backbone=SWIN, drawing_head=dict(SWIN_HEAD, patch_size=32)),
            ValueError,
            'cannot be brought to the backbone',
        ),
        (dict(pred_loss='l3'), ValueError, "pred_loss='l3' is not known"),
        (dict(pred_on='x'), ValueError, 'loss_on'),
        (
            dict(pred_loss='cross_entropy'),
            ValueError,
            "pred_loss='cross_entropy' needs a target of discrete.*PixelTarget",
        ),
        (
            dict(target=TOKENS),
            ValueError,
            "ToyTokens gives discrete tokens, which need model.pred_loss='cross_entropy'",
        ),
        (dict(target=TOKENS, pred_loss='mse'), ValueError, 'ToyTokens gives discrete tokens'),
        (dict(target=dict(type='CombinedTarget', targets=[TOKENS, HOG])), ValueError, 'cannot be combined'),
        (
            dict(SWINS, target=TOKENS, pred_loss='cross_entropy', swin_match='target_pool'),
            ValueError,
            'discrete tokens have no mean',
        ),
        (dict(target=dict(EMA, layer=3)), ValueError, 'layer=3: MaskedViT has blocks 1 to 2, or -1'),
        (dict(target=dict(EMA, layer=[0])), ValueError, 'has blocks 1 to 2'),
        (dict(SWINS, target=dict(EMA, layer=1)), ValueError, 'MaskedSwin has no blocks of one width'),
        (dict(target=dict(EMA, average='x')), ValueError, "average='x' is not known"),
        (
            dict(target=dict(EMA, average='predictor'), projector=dict(type='LinearPredictor')),
            ValueError,
            "average='predictor' leaves out the projector",
        ),
        (dict(projector=dict(type='MAEDecoder', depth=1)), ValueError, 'projector=MAEDecoder: use LinearPredictor'),
        (dict(target=dict(EMA, average='projector')), ValueError, 'the model has no `projector`'),
        (dict(target=dict(EMA, average='predictor'), predictor=None), ValueError, 'the model has no `predictor`'),
        (dict(swin_match='x'), ValueError, 'predictor_linear'),
        (dict(pred_weight=-1), ValueError, 'not be negative'),
        (dict(target=dict(EMA, ema_momentum=1.5)), ValueError, 'must lie in'),
        (dict(target_weights=[1, 2]), ValueError, 'part_weights'),
        (dict(neck=dict(type='MAEDecoder')), ValueError, 'no `neck`'),
        (dict(target=dict(type='CombinedTarget', targets=[])), ValueError, 'at least one'),
        (
            dict(target=dict(type='CombinedTarget', targets=[dict(type='PCATarget', num_components=8)])),
            ValueError,
            'cannot be combined',
        ),
        (
            dict(backbone=SWIN, drawing_head=SWIN_HEAD, target=dict(type='CombinedTarget', targets=[EMA, HOG])),
            ValueError,
            'different grids',
        ),
    ],
    ids=str,
)
def test_what_cannot_be_built_says_why(change, error, message):
    with pytest.raises(error, match=message):
        tiny(**change)


def test_unknown_keys_are_named():
    with pytest.raises(TypeError, match='CrossMAE has no key `lamda`'):
        check_model({**METHODS['crossmae'], 'lamda': 1})


# -------------------------------------------------------------------------------------------------------- pictures


def test_two_completions_of_the_same_masked_image():
    model, x = tiny().eval(), images()
    first, again = (model.predict(x, samples(1, 2, 3, 4)) for _ in range(2))
    for i, (one, two) in enumerate(zip(first, again)):
        assert torch.equal(one.reconstruction, two.reconstruction)
        assert torch.equal(one.second_completion, two.second_completion)
        removed = one.mask.bool()
        completions = [patchify(picture[None], 4)[0] for picture in (one.reconstruction, one.second_completion)]
        assert (completions[0][removed] != completions[1][removed]).any(-1).all()
        for completion in completions:
            assert torch.equal(completion[~removed], patchify(x[i : i + 1], 4)[0][~removed])
        torch.testing.assert_close(one.blurred, model.draw_target.blur(x)[i])
        error = (completions[0] - patchify(one.blurred[None], 4)[0])[removed]
        assert one.recon_loss.item() == pytest.approx(error.square().mean().item(), rel=1e-5)


def test_a_head_without_noise_has_one_completion():
    (sample,) = tiny(drawing_head=dict(type='DrawingHead', embed_dim=16, num_heads=2, noise='none')).predict(images(1))
    assert 'second_completion' not in sample and not sample.pictures
