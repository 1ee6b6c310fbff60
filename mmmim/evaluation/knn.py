"""Weighted k-nearest-neighbour classification of frozen features (Wu et al., 2018)."""
from typing import Dict, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.no_grad()
def knn_predict(bank: Tensor, bank_labels: Tensor, queries: Tensor, num_classes: int, ks: Sequence[int] = (20, ),
                temperature: float = 0.07, chunk: int = 1024) -> Dict[int, Tensor]:
    """Classify by the k most similar features of a bank.

    Similarity is the cosine; each neighbour votes for its class with ``exp(similarity / temperature)``.

    Args:
        bank: ``[N, D]`` features with known labels.
        bank_labels: ``[N]`` in 0..num_classes-1.
        queries: ``[M, D]``.
        num_classes: Number of classes.
        ks: Numbers of neighbours; capped at N.
        temperature: Of the votes.
        chunk: Queries compared at once: memory is ``chunk * N`` floats.

    Returns:
        For each k the predicted class of each query, ``[M]``.
    """
    bank = F.normalize(bank, dim=1)
    largest = min(max(ks), len(bank))
    predictions: Dict[int, list] = {k: [] for k in ks}
    for part in queries.split(chunk):
        similarity, index = (F.normalize(part, dim=1) @ bank.T).topk(largest, dim=1)
        # relative to the nearest one, whose vote is then 1: exp(1 / temperature) overflows when it is cold
        weights, classes = ((similarity - similarity[:, :1]) / temperature).exp(), bank_labels[index]
        for k in ks:
            votes = torch.zeros(len(part), num_classes, dtype=weights.dtype, device=weights.device)
            votes.scatter_add_(1, classes[:, :k], weights[:, :k])
            predictions[k].append(votes.argmax(dim=1))
    return {k: torch.cat(parts) for k, parts in predictions.items()}


def knn_accuracy(bank: Tensor, bank_labels: Tensor, queries: Tensor, labels: Tensor, ks: Sequence[int] = (20, ),
                 temperature: float = 0.07) -> Dict[str, float]:
    """``{'knn/top1_k20': percent, ...}``; see :func:`knn_predict`.

    Raises:
        ValueError: Images without labels among bank or queries.
    """
    if min(int(bank_labels.min()), int(labels.min())) < 0:
        raise ValueError('k-NN needs a label for every image of both data sets: class folders, or with_label=True')
    num_classes = int(max(bank_labels.max(), labels.max())) + 1
    predicted = knn_predict(bank, bank_labels, queries, num_classes, ks, temperature)
    return {f'knn/top1_k{k}': 100 * (guess == labels).double().mean().item() for k, guess in predicted.items()}
