"""Logistic regression on features."""

import pytest
import torch

from mmmim.evaluation.linear_probe import linear_probe


def clusters(count, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    return torch.eye(4, 12)[labels] + spread * torch.randn(count, 12, generator=generator), labels


def test_separable_classes_are_told_apart():
    result = linear_probe(*clusters(200, 0.1, 0), *clusters(100, 0.1, 1))
    assert result == {'linear/top1': 100.0}


def test_shuffled_labels_are_at_chance():
    (train, labels), (test, test_labels) = clusters(400, 0.1, 0), clusters(400, 0.1, 1)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(2))
    assert linear_probe(train, labels[order], test, test_labels)['linear/top1'] < 60


def test_scale_and_offset_of_a_feature_do_not_matter():
    (train, labels), (test, test_labels) = clusters(200, 0.6, 0), clusters(200, 0.6, 1)
    scale, offset = torch.logspace(-2, 2, 12, dtype=torch.float64), torch.linspace(-5, 5, 12, dtype=torch.float64)
    plain = linear_probe(train.double(), labels, test.double(), test_labels)['linear/top1']
    scaled = linear_probe(train * scale + offset, labels, test * scale + offset, test_labels)['linear/top1']
    assert 60 < plain < 100 and scaled == pytest.approx(plain, abs=1)


def test_a_constant_feature_does_no_harm():
    (train, labels), (test, test_labels) = clusters(200, 0.1, 0), clusters(100, 0.1, 1)
    train[:, 5], test[:, 5] = 3.0, 3.0
    assert linear_probe(train, labels, test, test_labels)['linear/top1'] == 100.0
