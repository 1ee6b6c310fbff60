"""A quick linear probe: logistic regression on frozen features."""

from typing import Dict

import numpy as np
from torch import Tensor


def linear_probe(
    train: Tensor, train_labels: Tensor, test: Tensor, labels: Tensor, c: float = 1.0, max_iter: int = 300
) -> Dict[str, float]:
    """Accuracy of multinomial logistic regression on standardised features.

    A quick check of features within seconds; not the papers' linear probing protocol, which trains with augmentation
    for 90 epochs.

    Args:
        train, test: ``[N, D]`` and ``[M, D]`` features.
        train_labels, labels: ``[N]`` and ``[M]``.
        c: Inverse strength of the L2 penalty.
        max_iter: Iterations of L-BFGS at most.

    Returns:
        ``{'linear/top1': percent}``.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import

    x, y = train.double().numpy(), train_labels.numpy()
    mean, std = x.mean(0), x.std(0) + 1e-6
    model = LogisticRegression(C=c, max_iter=max_iter, tol=1e-3)
    model.fit((x - mean) / std, y)
    guess = model.predict((test.double().numpy() - mean) / std)
    return {'linear/top1': 100 * float(np.mean(guess == labels.numpy()))}
