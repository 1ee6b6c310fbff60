"""Accuracy, balanced accuracy and average precision, against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, balanced_accuracy_score, precision_score, recall_score

from mmmim.evaluation.label_metrics import average_precision, measure, one_hot
from mmmim.evaluation.logistic import fit_probes


def test_one_label_an_image():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 3, (200,), generator=generator)
    truth[:120] = 0
    scores = torch.randn(200, 4, generator=generator) + 1.5 * torch.nn.functional.one_hot(truth, 4)  # none of class 3
    found = measure(scores, truth)
    guess = scores.argmax(1)
    assert found.values['accuracy'] == pytest.approx(100 * (guess == truth).double().mean())
    seen = guess < 3
    recall = recall_score(truth, guess, labels=[0, 1, 2], average=None)
    assert found.values['balanced accuracy'] == pytest.approx(100 * recall.mean())
    assert [row['recall'] for row in found.per_class[:3]] == pytest.approx((100 * recall).tolist())
    precision = precision_score(truth, guess, labels=[0, 1, 2], average=None)
    assert [row['precision'] for row in found.per_class[:3]] == pytest.approx((100 * precision).tolist())
    assert found.per_class[3] == dict(images=0, recall=None, precision=found.per_class[3]['precision'])
    assert balanced_accuracy_score(truth[seen], guess[seen]) > 0  # the same notion, where all classes occur
    for name, (low, high) in found.intervals.items():
        assert low < found.values[name] < high and high - low < 25


def test_intervals_of_the_mean_over_classes_are_wide_where_a_class_is_small():
    truth = torch.tensor([0] * 400 + [1] * 8)
    scores = torch.nn.functional.one_hot(truth, 2).float()
    scores[::2] = 0.5 - scores[::2]  # half of each class is wrong
    found = measure(scores, truth)
    width = {name: high - low for name, (low, high) in found.intervals.items()}
    assert width['balanced accuracy'] > 2.5 * width['accuracy']


@pytest.mark.parametrize('ties', [False, True])
def test_average_precision(ties):
    generator = np.random.default_rng(0)
    truth = generator.random(60) < 0.3
    scores = generator.normal(size=60) + truth
    scores = scores.round() if ties else scores
    assert average_precision(scores, truth) == pytest.approx(100 * average_precision_score(truth, scores))
    assert average_precision(scores, np.zeros(60, bool)) is None


def test_several_labels_an_image():
    truth = one_hot([[0, 1], [1], [], [2, 0]], 4)
    assert truth.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0]]
    found = measure(truth + 0.1 * torch.rand(4, 4), truth)
    assert found.values == {'mAP': 100.0} and [row['images'] for row in found.per_class] == [2, 2, 1, 0]
    assert found.right is None


def test_no_images_are_an_error():
    with pytest.raises(ValueError, match='no images'):
        measure(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long))


def data(seed=0):
    generator = np.random.default_rng(seed)
    labels = (generator.random(300) < 0.15).astype(int)
    features = generator.normal(size=(300, 5)) + labels[:, None] * [1, 0.5, 0, 0, 0]
    return (features - features.mean(0)) / features.std(0), labels


def test_class_weights_are_those_of_scikit_learn():
    features, labels = data()
    counts = np.bincount(labels)
    weights = len(labels) / (2 * counts)
    (probe,) = fit_probes(torch.tensor(features), torch.tensor(labels), 2, [0.1], class_weights=weights.tolist())
    # two classes of softmax with a penalty on each are one of the logistic function with twice the strength
    theirs = LogisticRegression(C=0.2, class_weight='balanced', tol=1e-8, max_iter=1000).fit(features, labels)
    ours = probe.scores(torch.tensor(features, dtype=torch.float32))
    difference = (ours[:, 1] - ours[:, 0]).numpy()
    assert np.allclose(difference, theirs.decision_function(features), atol=5e-3)


def test_one_against_the_rest():
    features, labels = data()
    several = np.stack([labels, 1 - labels, features[:, 2] > 0.5], 1).astype(np.float32)
    (probe,) = fit_probes(torch.tensor(features), torch.tensor(several), 3, [0.1])
    for place in range(3):
        theirs = LogisticRegression(C=0.1, tol=1e-8, max_iter=1000).fit(features, several[:, place])
        ours = probe.scores(torch.tensor(features, dtype=torch.float32))[:, place].numpy()
        assert np.allclose(ours, theirs.decision_function(features), atol=5e-3)
