"""k-NN in blocks of the bank: the same neighbours, and never a second bank in memory."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmmim.evaluation import features
from mmmim.evaluation.knn import knn_accuracy, knn_predict

KS = (1, 10, 20, 100, 200)


@pytest.fixture(scope='module')
def data():
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(10, 24, generator=generator)
    bank_labels, labels = (torch.randint(10, (n,), generator=generator) for n in (700, 130))
    bank, queries = (centers[y] + 2 * torch.randn(len(y), 24, generator=generator) for y in (bank_labels, labels))
    return bank, bank_labels, queries, labels


@pytest.mark.parametrize('chunk, bank_chunk', [(1000, 699), (33, 250), (130, 64), (1, 100), (7, 1)])
def test_blocks_of_the_bank_change_nothing(data, chunk, bank_chunk):
    bank, bank_labels, queries, _ = data
    whole = knn_predict(bank, bank_labels, queries, 10, KS, chunk=1000, bank_chunk=1000)
    blocks = knn_predict(bank, bank_labels, queries, 10, KS, chunk=chunk, bank_chunk=bank_chunk)
    for k in KS:
        assert torch.equal(whole[k], blocks[k]), k


def test_predictions_equal_a_search_through_the_whole_bank_in_float64(data):
    bank, bank_labels, queries, _ = data
    x, y = (
        value.double().numpy() / np.linalg.norm(value.double().numpy(), axis=1, keepdims=True)
        for value in (bank, queries)
    )
    cosine = y @ x.T
    order = np.argsort(-cosine, axis=1)
    blocks = knn_predict(bank, bank_labels, queries, 10, KS, chunk=50, bank_chunk=150)
    for k in KS:
        nearest = order[:, :k]
        weights = np.exp(np.take_along_axis(cosine, nearest, axis=1) / 0.07)
        votes = np.stack([(weights * (bank_labels.numpy()[nearest] == c)).sum(axis=1) for c in range(10)], axis=1)
        assert blocks[k].tolist() == votes.argmax(axis=1).tolist(), k


@pytest.mark.parametrize('bank_chunk', [3, 40, 1000])
def test_more_neighbours_than_the_bank_has_are_all_of_it(data, bank_chunk):
    bank, bank_labels, queries, _ = data
    predicted = knn_predict(bank[:40], bank_labels[:40], queries, 10, (40, 500), bank_chunk=bank_chunk)
    assert torch.equal(predicted[40], predicted[500])


def test_nearest_neighbours_come_from_every_block(data):
    bank, bank_labels, _, _ = data
    predicted = knn_predict(bank, torch.arange(len(bank)), bank, len(bank), (1,), chunk=90, bank_chunk=110)[1]
    assert torch.equal(predicted, torch.arange(len(bank)))  # each is its own nearest


def test_the_features_are_not_changed(data):
    copies = [value.clone() for value in data[:3]]
    knn_predict(*data[:3], 10, KS, chunk=50, bank_chunk=150)
    assert all(torch.equal(value, copy) for value, copy in zip(data, copies))


class Allocations(TorchDispatchMode):
    """The size of every tensor with memory of its own that is made meanwhile."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        known = {value.untyped_storage().data_ptr() for value in args if isinstance(value, torch.Tensor)}
        for value in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(value, torch.Tensor) and value.untyped_storage().data_ptr() not in known:
                self.largest = max(getattr(self, 'largest', 0), value.untyped_storage().nbytes())
        return result


def test_no_tensor_is_as_large_as_the_bank():
    generator = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(20_000, 32, generator=generator), torch.randn(300, 32, generator=generator)
    labels = torch.randint(5, (20_000,), generator=generator)
    with Allocations() as blocks:
        knn_predict(bank, labels, queries, 5, (20, 200), chunk=64, bank_chunk=1000)
    with Allocations() as whole:
        knn_predict(bank, labels, queries, 5, (20, 200), chunk=64, bank_chunk=20_000)
    bound = max(64 * 1000, 1000 * 32, 2 * 64 * 400) * 4  # similarities, a normalised block, neighbours with int64
    assert blocks.largest <= bound < bank.nbytes <= whole.largest


def test_accuracy_of_several_k(data):
    result = knn_accuracy(*data, ks=(10, 20, 100, 200))
    assert list(result) == ['knn/top1_k10', 'knn/top1_k20', 'knn/top1_k100', 'knn/top1_k200']
    assert min(result.values()) > 30  # 10% is chance


@pytest.mark.gpu
def test_a_gpu_gives_the_same_classes(data):
    bank, bank_labels, queries, _ = data
    host = knn_predict(bank, bank_labels, queries, 10, KS)
    device = knn_predict(bank, bank_labels, queries, 10, KS, chunk=50, bank_chunk=150, device='cuda')
    for k in KS:
        assert device[k].device == queries.device
        assert (host[k] == device[k]).float().mean() > 0.99  # matrix products round differently


class Ranks:
    """In the place of torch.distributed: what the ranks, each with every W-th row, would send."""

    def __init__(self, rows, world):
        self.shares, self.sent = [rows[rank::world] for rank in range(world)], 0

    def get_backend(self):
        return 'gloo'

    def all_gather(self, parts, mine):
        for part, share in zip(parts, self.shares):
            part.copy_(share[self.sent : self.sent + len(mine)])
        self.sent += len(mine)


@pytest.mark.parametrize('piece', [1, 5, 12, 100])
def test_features_of_several_processes_come_together_in_order(monkeypatch, piece):
    monkeypatch.setattr(features, 'get_world_size', lambda: 3)
    for rows in (torch.arange(72.0).view(36, 2), torch.arange(36)):
        monkeypatch.setattr(features, 'dist', Ranks(rows, 3))
        assert torch.equal(features._gather(rows[1::3].contiguous(), piece), rows)
