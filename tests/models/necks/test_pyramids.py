"""Pyramids for segmentors and detectors: their scales, what each is made of, and that they train."""

import pytest
import torch
from mmengine.registry import MODELS as ROOT
from torch import nn

from mmmim.models.backbones import DenseViT
from mmmim.models.necks import MultiScalePyramid, SimplePyramid
from mmmim.registry import MODELS


def draw(h=6, w=4, width=16, batch=2, count=4):
    torch.manual_seed(0)
    return tuple(torch.randn(batch, width, h, w) for _ in range(count))


@pytest.mark.parametrize('norm, kinds', [('batch', nn.BatchNorm2d), ('layer', nn.LayerNorm), (None, nn.Identity)])
def test_four_scales_from_four_maps(norm, kinds):
    neck = MultiScalePyramid(16, norm=norm)
    outputs = neck(draw())
    assert [tuple(x.shape) for x in outputs] == [(2, 16, 24, 16), (2, 16, 12, 8), (2, 16, 6, 4), (2, 16, 3, 2)]
    assert torch.equal(outputs[2], draw()[2])
    assert torch.equal(outputs[3], torch.nn.functional.max_pool2d(draw()[3], 2))
    assert isinstance(neck.scales[0][1], kinds)
    outputs[0].square().sum().backward()
    assert all(p.grad.any() for p in neck.scales[0][3].parameters())


def test_each_scale_is_made_of_its_own_map():
    neck, maps = MultiScalePyramid(16), draw()
    before = neck(maps)
    for changed in range(4):
        other = [x + 1 if i == changed else x for i, x in enumerate(maps)]
        assert [not torch.allclose(a, b) for a, b in zip(before, neck(other))] == [i == changed for i in range(4)]


def test_enlarging_keeps_places():
    """A position becomes a square of 4 x 4 at its place: what it holds reaches no other."""
    neck = MultiScalePyramid(16, norm='layer')
    maps = list(draw())
    before = neck(maps)[0]
    maps[0] = maps[0].clone()
    maps[0][:, :, 2, 1] += 1
    changed = (neck(maps)[0] - before).abs().amax((0, 1)) > 1e-6
    expected = torch.zeros(24, 16, dtype=torch.bool)
    expected[8:12, 4:8] = True
    assert torch.equal(changed, expected)


@pytest.mark.parametrize('neck, count', [(MultiScalePyramid, 4), (SimplePyramid, 5)])
def test_odd_maps_and_maps_of_one_position(neck, count):
    for h, w in ((7, 5), (1, 1)):
        outputs = neck(16)(draw(h, w))
        assert len(outputs) == count
        assert [tuple(x.shape[2:]) for x in outputs[:4]] == [
            (4 * h, 4 * w),
            (2 * h, 2 * w),
            (h, w),
            (-(-h // 2), -(-w // 2)),
        ]


def test_the_simple_pyramid_is_made_of_the_last_map():
    neck, maps = SimplePyramid(16, out_channels=8), draw()
    outputs = neck(maps)
    assert [tuple(x.shape[2:]) for x in outputs] == [(24, 16), (12, 8), (6, 4), (3, 2), (2, 1)]
    assert all(x.shape[:2] == (2, 8) for x in outputs)
    assert torch.equal(outputs[4], outputs[3][:, :, ::2, ::2])
    assert all(torch.equal(a, b) for a, b in zip(outputs, neck(maps[3:])))
    assert all(torch.equal(a, b) for a, b in zip(outputs, neck(maps[3])))
    sum(x.square().sum() for x in outputs).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in neck.parameters())


def test_layers_of_the_simple_pyramid_are_vitdets():
    """Widths and layers of every scale: 1x1 and 3x3 convolutions without bias, a layer norm after each."""
    neck = SimplePyramid(768)
    found = [
        [tuple(layer.weight.shape) for layer in scale if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
        for scale in neck.scales
    ]
    last = (256, 256, 3, 3)
    assert found == [
        [(768, 384, 2, 2), (384, 192, 2, 2), (256, 192, 1, 1), last],
        [(768, 384, 2, 2), (256, 384, 1, 1), last],
        [(256, 768, 1, 1), last],
        [(256, 768, 1, 1), last],
    ]
    assert [sum(isinstance(layer, nn.LayerNorm) for layer in scale) for scale in neck.scales] == [3, 2, 2, 2]
    assert all(scale[-4].bias is None and scale[-2].bias is None for scale in neck.scales)


@pytest.mark.parametrize(
    'config',
    [dict(type='mmmim.MultiScalePyramid', in_dim=16), dict(type='mmmim.SimplePyramid', in_dim=16, out_channels=8)],
)
def test_they_follow_a_backbone_in_any_toolbox(config):
    """mmseg and mmdet look for ``neck`` in their own registries, which are children of MMEngine's as ours is."""
    vit = DenseViT(arch=dict(embed_dim=16, depth=4, num_heads=2), img_size=32)
    outputs = ROOT.build(config)(vit(torch.randn(1, 3, 64, 48)))
    assert [tuple(x.shape[2:]) for x in outputs][:4] == [(16, 12), (8, 6), (4, 3), (2, 2)]
    assert type(MODELS.build(config)) is type(ROOT.build(config))


def test_initialisation_can_be_stated():
    neck = MultiScalePyramid(16, init_cfg=dict(type='Constant', layer='ConvTranspose2d', val=0.5, bias=0.25))
    neck.init_weights()
    assert (neck.scales[1][0].weight == 0.5).all() and (neck.scales[0][0].bias == 0.25).all()


@pytest.mark.parametrize(
    'neck, message',
    [
        (lambda: MultiScalePyramid(16, norm='group'), "'batch', 'layer' or None"),
        (lambda: MultiScalePyramid(16, scales=(3,)), 'use 4, 2, 1 or 0.5'),
        (lambda: SimplePyramid(16, num_outs=3), 'less than the 4 scales'),
        (lambda: MultiScalePyramid(16)(draw()[:3]), 'got 3 maps'),
    ],
)
def test_mistakes_are_named(neck, message):
    with pytest.raises(ValueError, match=message):
        neck()
