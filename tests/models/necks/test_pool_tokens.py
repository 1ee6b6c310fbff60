"""Pooling of tokens, against the formulas."""

import pytest
import torch
from torch.nn import functional as F

from mmmim.registry import MODELS


def build(**options):
    return MODELS.build(dict(type='PoolTokens', in_dim=6, **options))


@pytest.fixture()
def tokens():
    torch.manual_seed(0)
    return torch.randn(5, 1 + 4, 6)


def test_mean_of_the_patches_without_the_class_token(tokens):
    (pooled,) = build(norm=None)(tokens)
    assert torch.allclose(pooled, tokens[:, 1:].sum(1) / 4)
    assert torch.allclose(build(norm=None, num_prefix_tokens=0)(tokens)[0], tokens.sum(1) / 5)


def test_registers_and_further_class_tokens_are_not_pooled(tokens):
    sizes = dict(norm=None, num_prefix_tokens=3, num_register_tokens=1)
    assert torch.allclose(build(**sizes)(tokens)[0], tokens[:, 3:].mean(1))
    assert torch.equal(build(pool='cls', **sizes)(tokens)[0], tokens[:, 0])


def test_the_mean_of_the_class_tokens_is_without_registers(tokens):
    sizes = dict(norm=None, num_prefix_tokens=3, num_register_tokens=1)
    assert torch.allclose(build(pool='cls_mean', **sizes)(tokens)[0], (tokens[:, 0] + tokens[:, 1]) / 2)
    assert torch.equal(build(pool='cls_mean', norm=None)(tokens)[0], tokens[:, 0])


def test_the_layer_norm_comes_after_pooling(tokens):
    expected = F.layer_norm(tokens[:, 1:].mean(1), (6,), eps=1e-6)
    assert torch.allclose(build(norm='layer')(tokens)[0], expected, atol=1e-6)


def test_batch_norm_learns_statistics_only(tokens):
    neck = build(pool='cls', norm='batch')
    assert not list(neck.parameters()) and neck.norm.eps == 1e-6
    x = tokens[:, 0]
    expected = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-6).sqrt()
    assert torch.allclose(neck.train()(tokens)[0], expected, atol=1e-5)
    assert torch.allclose(neck.norm.running_mean, 0.1 * x.mean(0), atol=1e-6)
    (evaluated,) = neck.eval()(tokens)
    assert torch.allclose(evaluated, (x - neck.norm.running_mean) / (neck.norm.running_var + 1e-6).sqrt(), atol=1e-5)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(pool='max'), "pool='max'"),
        (dict(norm='group'), "norm='group'"),
        (dict(pool='cls', num_prefix_tokens=0), 'class token'),
        (dict(pool='cls', num_prefix_tokens=2, num_register_tokens=2), 'class token'),
        (dict(pool='cls_mean', num_prefix_tokens=2, num_register_tokens=2), "pool='cls_mean'.*no class token"),
    ],
)
def test_unknown_options(options, words):
    with pytest.raises(ValueError, match=words):
        build(**options)
