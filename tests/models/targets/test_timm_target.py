"""Features of frozen networks of timm as targets, on the encoder's grid; heads and predictors of visible patches."""

import pytest
import timm
import torch
from harness import near
from timm.models.vision_transformer import checkpoint_filter_fn
from torch.nn import functional as F

from mmmim.models.heads import FeatureHead, ReconstructionHead
from mmmim.models.masking import Masking
from mmmim.models.necks import LinearPredictor, MLPPredictor
from mmmim.models.networks import Network
from mmmim.models.targets import TimmTarget, timm_network
from mmmim.models.targets.timm_network import crop_grid
from mmmim.registry import MODELS
from mmmim.structures import DataSample

SIZE = 64


@pytest.fixture(scope='module')
def networks(tmp_path_factory):
    """``{name: (network, file of its random weights)}``."""
    folder, made = tmp_path_factory.mktemp('networks'), {}

    def get(name):
        if name not in made:
            torch.manual_seed(0)
            network = timm.create_model(name, pretrained=False).eval()
            path = folder / f'{name}.pth'
            torch.save(network.state_dict(), path)
            made[name] = network, str(path)
        return made[name]

    return get


def build(networks, name, **options):
    options = {'image_size': SIZE, **options}
    return TimmTarget(name, weights=networks(name)[1], **options)


def images_of(size, count=2):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def in_the_networks_units(target, images):
    return target.renormalize(images)


# 'test_*' are timm's own small models
@pytest.mark.parametrize(
    'name, norm', [('test_vit', True), ('test_vit', False), ('test_vit2', True), ('test_vit3', True)]
)
@torch.no_grad()
def test_tokens_of_a_vit_are_timms(networks, name, norm):
    network = timm.create_model(name, pretrained=False, img_size=SIZE).eval()
    target = build(networks, name, norm=norm, layer=2)
    network.load_state_dict(checkpoint_filter_fn(networks(name)[0].state_dict(), network))
    images = images_of(SIZE)
    expected = network.forward_intermediates(
        in_the_networks_units(target, images), indices=[1], norm=norm, output_fmt='NLC', intermediates_only=True
    )[0]
    if name == 'test_vit2':  # its final norm is behind its pooling
        expected = network.fc_norm(expected)
    features = target(images)
    assert features.shape == (2, expected.shape[1], target.out_dim) and target.grid_size == (4, 4)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('norm', [True, False])
@pytest.mark.parametrize(
    'name, options',
    [
        ('test_vit', dict(global_pool='avg')),
        ('beit_base_patch16_224', dict(embed_dim=32, depth=2, num_heads=2)),
        ('eva02_tiny_patch14_224', dict(embed_dim=32, depth=2, num_heads=2, global_pool='avg')),
    ],
)
@torch.no_grad()
def test_a_final_norm_behind_the_pooling_is_applied_to_the_tokens(monkeypatch, name, options, norm):
    size = 56 if 'patch14' in name else SIZE
    network = timm.create_model(name, pretrained=False, img_size=size, num_classes=0, **options).eval()
    assert isinstance(network.norm, torch.nn.Identity) and isinstance(network.fc_norm, torch.nn.LayerNorm)
    torch.nn.init.normal_(network.fc_norm.weight)
    opened = Network(network, name, 'unknown', (127.5,) * 3, (127.5,) * 3, (size, size), 'bicubic', 1.0)
    monkeypatch.setattr(timm_network, 'open_network', lambda *_, **__: opened)
    target = TimmTarget(name, layer=[1, -1], norm=norm)
    images = images_of(size)
    tokens = network.forward_intermediates(
        in_the_networks_units(target, images),
        indices=[0, len(network.blocks) - 1],
        output_fmt='NLC',
        intermediates_only=True,
    )
    expected = [network.fc_norm(x) if norm else x for x in tokens]
    torch.testing.assert_close(target(images), torch.cat(expected, dim=-1), atol=1e-5, rtol=1e-4)
    if norm:  # timm's own way from the last block's tokens on
        x = network.forward_features(in_the_networks_units(target, images))[:, network.num_prefix_tokens :]
        torch.testing.assert_close(target(images).chunk(2, dim=-1)[1], network.fc_norm(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('name', ['test_efficientnet', 'test_convnext', 'test_resnet', 'eva02_tiny_patch14_224'])
@torch.no_grad()
def test_layers_come_to_the_encoders_grid(networks, name):
    size = 56 if name.startswith('eva') else SIZE
    target = build(networks, name, layer=[2, -1], grid_size=(6, 6), image_size=size)
    images = images_of(48)
    x = F.interpolate(in_the_networks_units(target, images), (size, size), mode='bicubic', antialias=True)
    network = target.network
    places = [number - 1 for number in target.layers]
    maps = network.forward_intermediates(x, indices=places, intermediates_only=True)
    if name.startswith('eva'):  # it has a final norm, behind its pooling
        maps = [network.fc_norm(m.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for m in maps]
    assert target.out_dim == sum(m.shape[1] for m in maps) and target.grid_size == (6, 6)
    features = target(images)
    assert features.shape == (2, 36, target.out_dim)
    start = 0
    for m in maps:
        ours = features[..., start : start + m.shape[1]].transpose(1, 2).unflatten(2, (6, 6))
        if m.shape[2] < 6:  # finer now: bilinear interpolation
            torch.testing.assert_close(ours, F.interpolate(m, (6, 6), mode='bilinear'), atol=1e-5, rtol=1e-4)
        start += m.shape[1]


def test_a_finer_grid_is_averaged():
    x = torch.randn(2, 3, 8, 12)
    torch.testing.assert_close(crop_grid(x, None, (4, 6)), F.avg_pool2d(x, 2), atol=1e-5, rtol=1e-5)
    assert crop_grid(x, None, (8, 12)) is x
    left = torch.tensor([[0.0, 0.0, 0.5, 1.0]]).repeat(2, 1)
    torch.testing.assert_close(crop_grid(x, left, (8, 6)), x[..., :6], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_standardised_channels_have_mean_0_and_std_1_over_the_data(networks):
    target = build(networks, 'test_efficientnet', standardise=True, layer=[3, 4])
    assert target.needs_fit
    with pytest.raises(RuntimeError, match='has seen no images'):
        target(images_of(SIZE))
    batches = images_of(SIZE, 12).split(5)  # the last one is smaller
    target.fit(batches)
    assert not target.needs_fit
    raw = build(networks, 'test_efficientnet', layer=[3, 4])(torch.cat(batches))
    torch.testing.assert_close(
        target(torch.cat(batches)), (raw - target.feature_mean) / target.feature_std, atol=1e-5, rtol=1e-4
    )
    first = build(networks, 'test_efficientnet', layer=4, standardise=True)
    first.fit(batches)
    features = first(torch.cat(batches)).flatten(0, 1)
    assert features.mean(0).abs().max() < 1e-4 and (features.std(0, correction=0) - 1).abs().max() < 1e-3
    restored = build(networks, 'test_efficientnet', layer=4, standardise=True)
    restored.load_state_dict(first.state_dict())
    assert not restored.needs_fit and torch.equal(restored(batches[0]), first(batches[0]))


def test_it_is_frozen_silent_and_leaves_no_weights_in_a_checkpoint(networks):
    target = build(networks, 'test_efficientnet').train()
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        features = target(images_of(SIZE).requires_grad_())
    assert not saved and not features.requires_grad and not target.network.training
    assert not list(target.parameters()) and not target.state_dict()


@pytest.mark.parametrize(
    'options, error, message',
    [
        (dict(layer=99), ValueError, 'has layers 1 to'),
        (dict(layer=[]), ValueError, 'has layers 1 to'),
        (dict(layer=[1, True]), ValueError, 'layer=True: test_vit has layers 1 to'),
        (dict(name='test_efficientnet', image_size=32), ValueError, 'no grid of features.*larger image_size'),
        (dict(name='test_vitt'), ValueError, "no 'test_vitt'; similar names: .*test_vit"),
        (dict(weights='no/such.pth'), FileNotFoundError, 'no/such.pth'),
    ],
)
def test_what_cannot_be_a_target_is_said_at_construction(networks, options, error, message):
    options = dict(options)
    name = options.pop('name', 'test_vit')
    options = {'image_size': SIZE, 'weights': networks(name if timm.is_model(name) else 'test_vit')[1], **options}
    with pytest.raises(error, match=message):
        TimmTarget(name, **options)


def test_a_model_without_grids_is_refused(tmp_path):
    network = timm.create_model('test_vit')
    torch.save(network.state_dict(), tmp_path / 'weights.pth')
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(type(network), 'forward_intermediates')  # as of models that timm has no such function for
        with pytest.raises(ValueError, match='test_vit .* has no spatial features.*another model'):
            TimmTarget('test_vit', weights=str(tmp_path / 'weights.pth'))


# ------------------------------------------------------------------------------------------------------ visible patches


@pytest.fixture
def mask():
    return Masking('random', 0.75, (4, 4))(torch.rand(3, 16, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize('head', [ReconstructionHead, FeatureHead])
def test_a_loss_on_visible_patches_counts_them_alone(mask, head):
    prediction, target = torch.randn(3, 16, 8), torch.randn(3, 16, 8)
    kept = mask.mask == 0
    found = head(loss_on='visible').loss(prediction, target, mask)
    torch.testing.assert_close(found, head(loss_on='all').patch_loss(prediction, target)[kept].mean())
    changed = torch.where(kept[..., None], prediction, prediction + 3)
    torch.testing.assert_close(head(loss_on='visible').loss(changed, target, mask), found)


@pytest.mark.parametrize('kind', [LinearPredictor, MLPPredictor])
def test_a_predictor_predicts_visible_patches_at_their_places(mask, kind):
    torch.manual_seed(0)
    neck = kind(in_dim=8, out_dim=5).eval()
    tokens = torch.randn(3, 17, 8)
    whole = neck(tokens)
    visible = tokens[:, 1:].gather(1, mask.ids_keep[..., None].expand(-1, -1, 8))
    found = neck(torch.cat([tokens[:, :1], visible], dim=1), mask)
    assert torch.equal(neck(tokens, mask), whole)  # of all patches
    torch.testing.assert_close(found, whole * (1 - mask.mask)[..., None])


BACKBONE = dict(type='MaskedViT', arch=dict(embed_dim=32, depth=2, num_heads=2), img_size=32, patch_size=8)
VISIBLE = dict(neck=dict(type='LinearPredictor'), head=dict(type='FeatureHead', loss_on='visible'), mask_ratio=0.67)
DECODER = dict(type='MAEDecoder', embed_dim=16, depth=1, num_heads=2)
METHODS = {
    'a third of the patches, predicted where they are': dict(type='MAE', **VISIBLE),
    'decoder': dict(type='MAE', neck=DECODER, head=dict(type='FeatureHead', loss_on='masked')),
    'mask tokens': dict(
        type='MAE',
        backbone=dict(BACKBONE, mask_tokens=True),
        neck=dict(type='LinearPredictor'),
        head=dict(type='FeatureHead', loss_on='masked'),
    ),
    'CrossMAE': dict(
        type='CrossMAE',
        drawing_head=dict(type='DrawingHead', embed_dim=16, num_heads=2),
        predictor=dict(type='LinearPredictor'),
        pred_weight=1.0,
    ),
}


def method(networks, name='test_efficientnet', **options):
    target = dict(type='TimmTarget', model=name, weights=networks(name)[1], image_size=SIZE, layer=4)
    options = {'backbone': BACKBONE, 'target': target, **options}
    torch.manual_seed(0)
    model = MODELS.build(options)
    model.init_weights()
    return model


@pytest.mark.parametrize('name', METHODS)
def test_every_method_learns_the_features(networks, name):
    """On one batch: below the loss of the best constant prediction."""
    model = method(networks, **METHODS[name])
    images = F.interpolate(images_of(4, 6), size=32, mode='bilinear')
    assert tuple(model.target.grid_size) == model.backbone.grid_size == (4, 4)
    features = model.target(images)
    constant = -F.cosine_similarity(features, F.normalize(features, dim=-1).mean((0, 1)), dim=-1).mean().item()
    key = 'loss_pred' if name == 'CrossMAE' else 'loss'
    optimizer, noise = torch.optim.AdamW(model.parameters(), lr=3e-3), torch.rand(6, 16)
    for _ in range(60):
        optimizer.zero_grad()
        losses = model.loss(images, noise=noise)
        sum(losses.values()).backward()
        optimizer.step()
    assert model.backbone.blocks[0].attn.qkv.weight.grad.any()
    assert losses[key].item() < constant - 0.3 * (1 + constant)
    sample = model.predict(images, noise=noise)[0]
    assert torch.isfinite(sample.recon_loss) and ('reconstruction' in sample) == (name == 'CrossMAE')


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(neck=DECODER, head=dict(type='FeatureHead', loss_on='visible')), 'MAEDecoder fills in mask tokens'),
        (dict(VISIBLE, head=dict(type='FeatureHead', loss_on='masked')), "set loss_on='visible'"),
        (dict(VISIBLE, head=dict(type='FeatureHead')), "loss_on='all'.*predicts at the patches that the encoder sees"),
        (dict(VISIBLE, neck=dict(type='MLPPredictor'), head=dict(type='FeatureHead', loss_on='masked')), 'MLPP'),
    ],
)
def test_heads_that_count_what_is_not_predicted_are_refused(networks, options, message):
    with pytest.raises(ValueError, match=message):
        method(networks, type='MAE', **options)


# ------------------------------------------------------------------------------------------------------------ the cache


def samples_of(boxes, flipped):
    return [
        DataSample(metainfo=dict(img_path=f'{i}.jpg', crop_box=box, flipped=flip))
        for i, (box, flip) in enumerate(zip(boxes, flipped))
    ]


@pytest.fixture
def cached(networks):
    """A target with a cache of four smooth images, and these ``[4, 3, 96, 96]``."""
    target = build(networks, 'test_efficientnet', layer=[3, 4], grid_size=(4, 4), image_size=128, cache=True)
    images = F.interpolate(images_of(5, 4), size=96, mode='bicubic')
    target.use_cache(target.rows_of(images).numpy(), {f'{i}.jpg': i for i in range(4)})
    return target, images


WHOLE = (0.0, 0.0, 1.0, 1.0)


@torch.no_grad()
def test_the_cached_grid_of_a_whole_image_is_the_direct_one(cached):
    target, images = cached
    direct = target(images)  # without samples
    found = target(images, samples_of([WHOLE] * 4, [False] * 4))
    torch.testing.assert_close(found, direct, atol=2e-3 * direct.abs().max().item(), rtol=2e-3)  # float16
    shuffled = samples_of([WHOLE] * 4, [False] * 4)[::-1]
    assert torch.equal(target(images, shuffled), found.flip(0))  # by path, not by place


@torch.no_grad()
def test_flips_mirror_the_grid_exactly(cached):
    target, images = cached
    boxes = [(0.1, 0.2, 0.7, 0.9)] * 4
    plain, mirrored = (target(images, samples_of(boxes, flips)) for flips in ([False] * 4, [True, False, True, False]))
    plain, mirrored = (x.unflatten(1, (4, 4)) for x in (plain, mirrored))
    assert torch.equal(mirrored[0::2], plain[0::2].flip(2)) and torch.equal(mirrored[1::2], plain[1::2])


@torch.no_grad()
def test_the_cached_crop_is_like_the_direct_features_of_the_crop(cached):
    target, images = cached
    box = (0.25, 0.0, 1.0, 0.75)
    crop = F.interpolate(images[:, :, :72, 24:], size=(96, 96), mode='bicubic')
    direct, found = target(crop), target(images, samples_of([box] * 4, [False] * 4))
    mean = target(images).mean((0, 1))
    same = F.cosine_similarity(found - mean, direct - mean, dim=-1).mean()
    other = F.cosine_similarity(found - mean, (direct - mean).roll(1, 0), dim=-1).mean()
    assert F.cosine_similarity(found, direct, dim=-1).mean() > 0.8 and same > other + 0.2


@torch.no_grad()
def test_other_images_go_through_the_network_and_missing_boxes_are_named(cached):
    target, images = cached
    others = [DataSample(metainfo=dict(img_path='val.jpg')) for _ in range(4)]
    assert torch.equal(target(images, others), target(images))
    with pytest.raises(ValueError, match='needs the crop box.*RandomResizedCrop.*cache=False'):
        target(images, [DataSample(metainfo=dict(img_path='0.jpg')) for _ in range(4)])


def test_without_its_hook_a_cached_target_says_what_is_missing(networks):
    target = build(networks, 'test_efficientnet', cache=True)
    assert target.needs_fit
    with pytest.raises(RuntimeError, match='TargetCacheHook'):  # FitTargetHook calls it before training
        target.fit([images_of(SIZE)])
    direct = build(networks, 'test_efficientnet')(images_of(SIZE))
    assert torch.equal(target(images_of(SIZE)), direct)  # as a test of a finished run does


@torch.no_grad()
def test_the_statistics_of_a_cache_are_those_of_the_images(networks):
    target = build(networks, 'test_efficientnet', standardise=True, layer=[3, 4])
    images = images_of(SIZE, 6)
    rows = target.rows_of(images)
    assert rows.shape == (6, target.row_width) and rows.dtype == torch.float16
    found = target.statistics([target.maps_of(part.float()) for part in rows.split(4)])
    target.fit([images])
    assert found[0].tolist() == near(target.feature_mean.tolist(), 5e-3)
    assert found[1].tolist() == near(target.feature_std.tolist(), 5e-3)
