"""Weighted nearest neighbours."""

import numpy as np
import pytest
import torch

from mmmim.evaluation.knn import knn_accuracy, knn_predict


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    bank, queries = (torch.randn(n, 16, generator=generator) for n in (120, 57))
    return bank, torch.randint(6, (120,), generator=generator), queries


def brute_force(bank, labels, queries, k, temperature):
    bank, labels, queries = bank.double().numpy(), labels.numpy(), queries.double().numpy()
    result = []
    for query in queries:
        cosine = bank @ query / np.linalg.norm(bank, axis=1) / np.linalg.norm(query)
        nearest = np.argsort(-cosine)[:k]
        votes = [np.exp(cosine[nearest][labels[nearest] == c] / temperature).sum() for c in range(6)]
        result.append(int(np.argmax(votes)))
    return result


@pytest.mark.parametrize('k', [1, 5, 20, 120, 500])
@pytest.mark.parametrize('temperature', [0.07, 1.0])
def test_predictions_equal_a_brute_force_search(data, k, temperature):
    bank, labels, queries = data
    predicted = knn_predict(bank, labels, queries, 6, (k,), temperature)[k]
    assert predicted.tolist() == brute_force(bank, labels, queries, k, temperature)


def test_several_k_at_once_equal_each_alone(data):
    together = knn_predict(*data, 6, (1, 10, 200))
    for k, predicted in together.items():
        assert torch.equal(predicted, knn_predict(*data, 6, (k,))[k])


@pytest.mark.parametrize('chunk', [1, 10, 57, 1000])
def test_chunks_change_nothing(data, chunk):
    assert torch.equal(knn_predict(*data, 6, chunk=chunk)[20], knn_predict(*data, 6)[20])


def test_the_length_of_features_does_not_matter(data):
    bank, labels, queries = data
    scaled = knn_predict(bank * torch.rand(120, 1).add(0.1), labels, queries * 100, 6)[20]
    assert torch.equal(scaled, knn_predict(bank, labels, queries, 6)[20])


def test_a_cold_temperature_asks_the_nearest_only(data):
    cold = knn_predict(*data, 6, (20,), temperature=0.001)[20]
    assert torch.equal(cold, knn_predict(*data, 6, (1,))[1])


def test_separable_classes_are_told_apart():
    labels = torch.arange(5).repeat(20)
    features = torch.eye(8)[labels] + 0.05 * torch.randn(100, 8)
    result = knn_accuracy(features[:50], labels[:50], features[50:], labels[50:], (1, 5))
    assert result == {'knn/top1_k1': 100.0, 'knn/top1_k5': 100.0}


def test_features_without_information_are_at_chance():
    generator = torch.Generator().manual_seed(0)
    bank, queries = (torch.randn(2000, 32, generator=generator) for _ in range(2))
    labels = torch.randint(4, (2, 2000), generator=generator)
    assert knn_accuracy(bank, labels[0], queries, labels[1])['knn/top1_k20'] == pytest.approx(25, abs=4)


def test_classes_that_only_the_queries_have_count_as_wrong():
    result = knn_accuracy(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), torch.tensor([0, 7]), (1,))
    assert result == {'knn/top1_k1': 50.0}


@pytest.mark.parametrize('bank_label, label', [(-1, 0), (0, -1)])
def test_images_without_labels_are_refused(bank_label, label):
    with pytest.raises(ValueError, match='k-NN needs a label for every image'):
        knn_accuracy(torch.eye(2), torch.tensor([0, bank_label]), torch.eye(2), torch.tensor([0, label]))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_features_that_are_no_numbers_are_refused(value):
    features, labels = torch.randn(6, 3), torch.arange(6) % 2
    broken = features.clone()
    broken[[1, 4], 0] = value
    with pytest.raises(ValueError, match=r'features of 2 of 6 images \(queries\) are not finite'):
        knn_accuracy(features, labels, broken, labels)
    with pytest.raises(ValueError, match=r'2 of 6 images \(bank\)'):
        knn_accuracy(broken, labels, features, labels)
