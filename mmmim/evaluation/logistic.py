"""Logistic regression whose strength is chosen on images of its own."""

from typing import List, NamedTuple, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


class Probe(NamedTuple):
    """Multinomial logistic regression on standardised features.

    Attributes:
        weight, bias: ``[D, classes]`` and ``[classes]``.
        mean, std: ``[D]``, of the features that it was fitted on.
        c: Inverse strength of the L2 penalty, in scikit-learn's meaning.
        accuracy: Percent of the images that chose ``c``.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    std: Tensor
    c: float
    accuracy: float = float('nan')

    def scores(self, features: Tensor) -> Tensor:
        """``[M, classes]`` logits of ``[M, D]`` features."""
        return (features.to(self.mean) - self.mean) / self.std @ self.weight + self.bias

    def predict(self, features: Tensor) -> Tensor:
        """``[M]`` classes of ``[M, D]`` features."""
        return self.scores(features).argmax(1).to(features.device)


def fit_probes(
    features: Tensor,
    labels: Tensor,
    classes: int,
    strengths: Sequence[float] = STRENGTHS,
    max_iter: int = 200,
    class_weights: Optional[Sequence[float]] = None,
) -> List[Probe]:
    """Fit a probe for each strength, each from the last one's weights.

    Minimises ``sum(cross-entropy) + |weight|^2 / (2 c)`` as scikit-learn's ``LogisticRegression(C=c)`` does, by L-BFGS
    with all images at once.

    Args:
        features: ``[N, D]``.
        labels: ``[N]`` in 0..classes-1; or ``[N, classes]`` of 0 and 1, several labels an image: then one against the
            rest, for each class.
        classes: Their number.
        strengths: Values of ``c``, ascending.
        max_iter: Iterations for each at most.
        class_weights: Of the images of each class in the sum; None: 1. For several labels an image there are none.
    """
    x = features.float()
    mean, std = x.mean(0), x.std(0, unbiased=False)
    std = torch.where(std > 1e-6 * (1 + mean.abs()), std, torch.ones_like(std))  # a constant feature says nothing
    x = (x - mean) / std
    labels = labels.to(x.device)
    scales = None if class_weights is None else torch.tensor(list(class_weights), device=x.device)
    weight = torch.zeros(x.shape[1], classes, device=x.device, requires_grad=True)
    bias = torch.zeros(classes, device=x.device, requires_grad=True)
    probes = []
    for c in strengths:
        optimizer = torch.optim.LBFGS(
            [weight, bias], max_iter=max_iter, tolerance_grad=1e-5, tolerance_change=1e-7, line_search_fn='strong_wolfe'
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            penalty = weight.square().sum() / (2 * c * len(x))
            scores = x @ weight + bias
            if labels.ndim == 2:
                loss = F.binary_cross_entropy_with_logits(scores, labels.float(), reduction='sum') / len(x)
            else:
                loss = F.cross_entropy(scores, labels, scales, reduction='sum') / len(x)
            loss = loss + penalty
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(closure)
        probes.append(Probe(weight.detach().clone(), bias.detach().clone(), mean, std, c))
    return probes


def choose_probe(
    fit: Tensor,
    fit_labels: Tensor,
    selection: Tensor,
    selection_labels: Tensor,
    classes: Optional[int] = None,
    strengths: Sequence[float] = STRENGTHS,
) -> Probe:
    """The probe with the strength that is most often right on the selection images.

    Where strengths are right equally often, the one with the smaller cross-entropy there.

    Args:
        fit, fit_labels: ``[N, D]`` and ``[N]``: what is fitted on.
        selection, selection_labels: ``[M, D]`` and ``[M]``: what chooses.
        classes: Number of classes; None: as many as the labels say.
        strengths: Values of ``c``, ascending.
    """
    classes = classes or int(max(fit_labels.max(), selection_labels.max())) + 1
    found = []
    for probe in fit_probes(fit, fit_labels, classes, strengths):
        scores = probe.scores(selection)
        labels = selection_labels.to(scores.device)
        accuracy = 100 * (scores.argmax(1) == labels).double().mean().item()
        found.append((accuracy, -F.cross_entropy(scores, labels).item(), probe))
    accuracy, _, probe = max(found, key=lambda entry: entry[:2])
    return probe._replace(accuracy=accuracy)
