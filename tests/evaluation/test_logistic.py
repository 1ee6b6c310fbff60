"""Logistic regression with a chosen strength."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from mmmim.evaluation.logistic import STRENGTHS, choose_probe, fit_probes


def clusters(count, spread, seed, width=12):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    return torch.eye(4, width)[labels] + spread * torch.randn(count, width, generator=generator), labels


def test_each_strength_gives_scikit_learns_solution():
    x, y = clusters(160, 0.7, 0)
    for probe in fit_probes(x, y, 4, (0.01, 1.0)):
        standard = ((x - x.mean(0)) / x.std(0, unbiased=False)).double().numpy()
        theirs = LogisticRegression(C=probe.c, tol=1e-8, max_iter=5000).fit(standard, y.numpy())
        np.testing.assert_allclose(probe.weight.numpy(), theirs.coef_.T, atol=3e-3)
        assert (probe.predict(x).numpy() == theirs.predict(standard)).mean() > 0.99


def test_the_strength_is_the_best_on_the_selection_images():
    (x, y), (a, b) = clusters(40, 1.2, 0, 60), clusters(400, 1.2, 1, 60)
    chosen = choose_probe(x, y, a, b)
    each = [100 * (probe.predict(a) == b).double().mean().item() for probe in fit_probes(x, y, 4)]
    assert chosen.accuracy == pytest.approx(max(each)) and each[STRENGTHS.index(chosen.c)] == pytest.approx(max(each))
    assert max(each) > min(each) + 1  # else there was nothing to choose


def test_shuffled_labels_are_at_chance_and_separable_classes_are_told_apart():
    (x, y), (a, b) = clusters(400, 0.1, 0), clusters(400, 0.1, 1)
    assert choose_probe(x, y, a, b).accuracy == 100
    shuffled = b[torch.randperm(400, generator=torch.Generator().manual_seed(2))]
    assert choose_probe(x, y, a, shuffled).accuracy < 40


def test_a_constant_and_a_scaled_feature_do_no_harm():
    (x, y), (a, b) = clusters(200, 0.1, 0), clusters(100, 0.1, 1)
    for part in (x, a):
        part[:, 5], part[:, 6] = 3e4, part[:, 6] * 1e4
    assert choose_probe(x, y, a, b).accuracy == 100


def test_a_class_that_was_not_fitted_on_counts_as_wrong():
    x, y = torch.eye(2).repeat(4, 1), torch.arange(2).repeat(4)
    probe = choose_probe(x, y, torch.eye(2), torch.tensor([0, 2]), classes=3)
    assert probe.accuracy == 50.0 and probe.scores(x).shape == (8, 3)
