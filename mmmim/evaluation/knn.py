"""Weighted k-nearest-neighbour classification of frozen features (Wu et al., 2018), in bounded memory."""

from typing import Dict, List, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor
from torch.nn import functional as F

Device = Union[str, torch.device]


@torch.no_grad()
def knn_predict(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    num_classes: int,
    ks: Sequence[int] = (20,),
    temperature: float = 0.07,
    chunk: int = 1024,
    bank_chunk: int = 32768,
    device: Optional[Device] = None,
) -> Dict[int, Tensor]:
    """Classify by the k most similar features of a bank.

    Similarity is the cosine; each neighbour votes for its class with ``exp(similarity / temperature)``. Besides the
    features, memory holds ``chunk * bank_chunk`` similarities, ``bank_chunk * D`` normalised features and
    ``M * max(ks)`` neighbours: 0.5 GB for M = 50,000, D = 768 and k = 200.

    Args:
        bank: ``[N, D]`` features with known labels.
        bank_labels: ``[N]`` in 0..num_classes-1.
        queries: ``[M, D]``.
        num_classes: Number of classes.
        ks: Numbers of neighbours; capped at N.
        temperature: Temperature of the votes.
        chunk: Queries compared at once.
        bank_chunk: Features of the bank compared at once.
        device: Device of the comparison; the features stay where they are. None: the queries' device.

    Returns:
        For each k the predicted class of each query, ``[M]``, on the queries' device.

    Raises:
        ValueError: Features that are not finite.
    """
    check_finite(bank, 'bank')
    check_finite(queries, 'queries')
    device = torch.device(queries.device if device is None else device)
    predictions: Dict[int, List[Tensor]] = {k: [] for k in ks}
    for similarity, classes in _nearest(bank, bank_labels, queries, min(max(ks), len(bank)), chunk, bank_chunk, device):
        # relative to the nearest one, whose vote is then 1: exp(1 / temperature) overflows at low temperatures
        weights = ((similarity - similarity[:, :1]) / temperature).exp()
        for k in ks:
            votes = torch.zeros(len(weights), num_classes, dtype=weights.dtype, device=device)
            votes.scatter_add_(1, classes[:, :k], weights[:, :k])
            predictions[k].append(votes.argmax(dim=1).to(queries.device))
    return {k: torch.cat(parts) for k, parts in predictions.items()}


def check_finite(features: Tensor, name: str) -> None:
    """Raises ValueError for ``[N, D]`` features of which any is infinite or not a number."""
    largest = torch.linalg.vector_norm(features, float('inf'), dim=1)  # needs no second tensor of this size
    wrong = int((~torch.isfinite(largest)).sum())
    if wrong:
        raise ValueError(
            f'features of {wrong} of {len(features)} images ({name}) are not finite: the network has diverged, or its '
            'numbers are too large for the precision that it runs in (float32: optim_wrapper.dtype=float32)'
        )


def _nearest(
    bank: Tensor, labels: Tensor, queries: Tensor, k: int, chunk: int, bank_chunk: int, device: torch.device
) -> List[Tuple[Tensor, Tensor]]:
    """Similarity and class of the k nearest, nearest first: ``[m, k]`` each, for each chunk of m queries."""
    parts = queries.split(chunk)
    best: List[Optional[Tuple[Tensor, Tensor]]] = [None] * len(parts)
    # the bank's blocks in the outer loop: each is moved and normalised once, and there is no normalised second bank
    for block, block_labels in zip(bank.split(bank_chunk), labels.split(bank_chunk)):
        block, block_labels = F.normalize(block.to(device), dim=1), block_labels.to(device)
        for i, part in enumerate(parts):
            similarity = F.normalize(part.to(device), dim=1) @ block.T  # [m, bank_chunk]
            similarity, index = similarity.topk(min(k, len(block)), dim=1)
            best[i] = _merge(best[i], (similarity, block_labels[index]), k)
    return best


def _merge(old: Optional[Tuple[Tensor, Tensor]], new: Tuple[Tensor, Tensor], k: int) -> Tuple[Tensor, Tensor]:
    """The k nearest among those found before and in this block."""
    if old is None:
        return new
    similarity, classes = (torch.cat(pair, dim=1) for pair in zip(old, new))
    similarity, place = similarity.topk(min(k, similarity.shape[1]), dim=1)
    return similarity, classes.gather(1, place)


def knn_accuracy(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    labels: Tensor,
    ks: Sequence[int] = (20,),
    temperature: float = 0.07,
    device: Optional[Device] = None,
) -> Dict[str, float]:
    """``{'knn/top1_k20': percent, ...}``; see :func:`knn_predict`.

    Args:
        device: Device of the comparison; None: the GPU if there is one.

    Raises:
        ValueError: Images without labels among bank or queries.
    """
    if min(int(bank_labels.min()), int(labels.min())) < 0:
        raise ValueError('k-NN needs a label for every image of both data sets: class folders, or with_label=True')
    num_classes = int(max(bank_labels.max(), labels.max())) + 1
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else queries.device
    predicted = knn_predict(bank, bank_labels, queries, num_classes, ks, temperature, device=device)
    return {f'knn/top1_k{k}': 100 * (guess == labels).double().mean().item() for k, guess in predicted.items()}
