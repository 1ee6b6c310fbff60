"""Heatmaps of landmarks, the points that are read from them, and the model's losses."""

import math

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from torch.nn import functional as F

from mmmim.config.prepare import set_up_scope
from mmmim.evaluation.landmarks import normalized_error
from mmmim.models.landmarks import (
    denormalize_points,
    heatmaps_to_points,
    normalize_points,
    points_to_heatmaps,
)
from mmmim.registry import MODELS
from mmmim.structures import DataSample

SIZE = 32
MODEL = dict(
    type='mmmim.LandmarkEstimator',
    backbone=dict(
        type='mmmim.DenseViT',
        arch=dict(embed_dim=24, depth=4, num_heads=3),
        img_size=SIZE,
        patch_size=8,
        out_indices=(0, 1, 2, 3),
    ),
    neck=dict(type='mmmim.MultiScalePyramid', in_dim=24),
    head=dict(
        type='mmseg.UPerHead',
        in_channels=[24] * 4,
        in_index=[0, 1, 2, 3],
        channels=16,
        num_classes=5,
        norm_cfg=dict(type='mmmim.CrossRankBatchNorm2d'),
    ),
    heatmap_size=20,
    radius=4.0,
)


@pytest.fixture(scope='module', autouse=True)
def mmseg():
    pytest.importorskip('mmseg')
    from mmengine.config import Config

    set_up_scope(Config(dict(default_scope='mmseg')))
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def build(**options):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build({**MODEL, **options})


def samples(count=2, points=5):
    generator = torch.Generator().manual_seed(1)
    matrix = np.array([[0.5, -0.1, 3], [0.1, 0.5, 7], [0, 0, 1]])
    return [
        DataSample(metainfo=dict(matrix=matrix, seed=i), crop_points=SIZE * torch.rand(points, 2, generator=generator))
        for i in range(count)
    ]


# ---------------------------------------------------------------------------------------------------------- heatmaps


def test_edges_and_centres_of_pixels():
    points = torch.tensor([[-0.5, -0.5], [0.0, 0.0], [7.5, 3.5]])
    shares = normalize_points(points, (4, 8))
    assert torch.equal(shares, torch.tensor([[0.0, 0.0], [1 / 16, 1 / 8], [1.0, 1.0]]))
    assert torch.equal(denormalize_points(shares, (4, 8)), points)


def test_a_heatmap_is_a_gaussian_that_is_cut_off():
    point = torch.tensor([[[0.4, 0.7]]])  # column 7.5, row 10.7 of 20 and 16
    found = points_to_heatmaps(point, (16, 20), radius=5)[0, 0]
    for row in range(16):
        for column in range(20):
            distance = math.hypot(column - 7.5, row - 10.7)
            value = math.exp(-(distance**2) / (2 * 1.25**2)) if distance <= 5 else 0
            assert found[row, column] == pytest.approx(value, abs=1e-5)


def test_soft_argmax_reads_the_points_that_heatmaps_were_drawn_from():
    """The largest value alone is wrong by a hundred times as much."""
    points = 0.1 + 0.8 * torch.rand(4, 98, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    heatmaps = points_to_heatmaps(points, (128, 128), radius=5)
    soft = heatmaps_to_points(heatmaps)
    hard = heatmaps.flatten(2).argmax(dim=-1)
    hard = normalize_points(torch.stack([hard % 128, hard // 128], dim=-1).double(), (128, 128))
    pair = (60, 72)
    errors = {
        name: np.mean([normalized_error(p, t, pair) for p, t in zip(found, points)])
        for name, found in (('soft', soft), ('hard', hard))
    }
    assert errors['soft'] < 1e-4 and errors['hard'] > 100 * errors['soft']


def test_soft_argmax_is_the_mean_place():
    heatmap = torch.zeros(1, 1, 4, 6)
    heatmap[0, 0, 1, 2], heatmap[0, 0, 3, 4] = 3.0, 1.0
    found = denormalize_points(heatmaps_to_points(heatmap), (4, 6))
    assert found.tolist() == [[[pytest.approx(2.5), pytest.approx(1.5)]]]
    assert torch.isfinite(heatmaps_to_points(torch.zeros(1, 1, 4, 6))).all()


# --------------------------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize('distance', ['euclidean', 'l1'])
def test_losses_are_those_of_the_formulas(distance):
    model, faces = build(distance=distance, heatmap_weight=2.0, coordinate_weight=0.5).eval(), samples()
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    logits = model(images)
    assert logits.shape == (2, 5, 16, 16)
    losses = model(images, faces, mode='loss')
    truth = torch.stack([(face.crop_points + 0.5) / SIZE for face in faces])
    larger = F.interpolate(logits, (20, 20), mode='bilinear')
    drawn = points_to_heatmaps(truth, (20, 20), 4.0)
    share = larger.sigmoid()
    entropy = -(drawn * share.log() + (1 - drawn) * (1 - share).log()).mean()
    weight = logits.sigmoid()
    places = (torch.arange(16) + 0.5) / 16
    x, y = ((weight.sum(dim=d) * places).sum(-1) / weight.sum(dim=(2, 3)) for d in (2, 3))
    moved = torch.stack([x, y], -1) - truth
    mean = moved.abs().mean() if distance == 'l1' else moved.pow(2).sum(-1).sqrt().mean()
    assert losses['loss_heatmap'].item() == pytest.approx(2 * entropy.item(), rel=1e-5)
    assert losses['loss_coordinates'].item() == pytest.approx(0.5 * mean.item(), rel=1e-5)
    sum(losses.values()).backward()
    without = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert without == []


def test_predictions_are_in_pixels_of_the_file():
    model, faces = build().eval(), samples()
    images = torch.randn(2, 3, SIZE, SIZE)
    found = model(images, faces, mode='predict')
    crop = heatmaps_to_points(model(images).sigmoid()).double() * SIZE - 0.5
    for sample, points in zip(found, crop):
        turned = torch.tensor(sample.matrix[:2, :2]) @ sample.pred_points.T + torch.tensor(sample.matrix[:2, 2:])
        assert (turned.T - points).abs().max() < 1e-5 and sample.pred_points.dtype == torch.float64
    assert torch.allclose(model(images, mode='predict')[0].pred_points, crop[0])


def test_colours_change_in_training_alone_and_by_the_seeds_of_samples():
    model = build(
        data_preprocessor=dict(type='mmmim.ColorPreprocessor', colors=dict(type='mmmim.ColorAugment', prob=1.0))
    )
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    plain, first, again, other = (
        model.data_preprocessor(dict(inputs=images, data_samples=faces), training)['inputs']
        for faces, training in ((samples(), False), (samples(), True), (samples(), True), (samples()[::-1], True))
    )
    expected = MODELS.build(dict(type='mmmim.MIMDataPreprocessor'))(dict(inputs=images))['inputs']
    assert torch.equal(plain, expected)
    assert torch.equal(first, again) and not torch.equal(first, plain) and not torch.equal(first, other)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(distance='l2'), "distance='l2'"),
        (dict(radius=0), 'radius=0'),
        (dict(heatmap_size=1), 'heatmap_size=1'),
        (dict(heatmap_weight=0, coordinate_weight=0), 'both 0'),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        build(**options)


def test_faces_without_points_or_with_others_are_refused():
    model, images = build(), torch.zeros(2, 3, SIZE, SIZE)
    for faces in (samples(points=4), None, [DataSample(), DataSample()]):
        with pytest.raises(ValueError, match='puts out 5 points'):
            model(images, faces, mode='loss')
