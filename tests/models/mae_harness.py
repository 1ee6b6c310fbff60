"""A tiny MAE, its inputs, and how near its numbers have to be."""

import copy

import torch

from mmmim.randomness import derive
from mmmim.registry import MODELS
from mmmim.structures import DataSample

TINY = dict(
    type='MAE',
    backbone=dict(type='MaskedViT', arch=dict(embed_dim=48, depth=3, num_heads=3), img_size=32, patch_size=8),
    neck=dict(type='MAEDecoder', embed_dim=32, depth=2, num_heads=4),
    target=dict(type='PixelTarget'),
    head=dict(type='ReconstructionHead'),
)


def build(**changes):
    """The tiny MAE; ``backbone=dict(...)`` changes keys of that part, ``target=dict(type=...)`` replaces it."""
    cfg = copy.deepcopy(TINY)
    for key, value in changes.items():
        cfg[key] = {**cfg.get(key, {}), **value} if isinstance(value, dict) and 'type' not in value else value
    torch.manual_seed(0)
    return MODELS.build(cfg)


def draw_images(batch=4, channels=3, size=(32, 32)):
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))


def draw_noise(mae, batch=4):
    return torch.rand(batch, *mae.masking.noise_shape, generator=torch.Generator().manual_seed(2))


def samples_with_seeds(count):
    return [DataSample(metainfo=dict(seed=derive(0, index))) for index in range(count)]


def assert_equal(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)
