"""The number to beat: logistic regression on frozen features, as a classifier like any other."""

from collections import defaultdict
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from ...evaluation.label_metrics import Measured, measure
from ...evaluation.logistic import STRENGTHS, Probe, fit_probes
from ..extract import Features
from ..label_split import Pair
from .labels import Labels, class_weights, repeated
from .start import ClassifierStart

FOLDS, INNER_FOLDS = 5, 3


class FrozenHead(NamedTuple):
    """A regression on the features of a start.

    Attributes:
        start: The backbone.
        probe: The regression.
        selection: What chose its strength; of the selection images, or of cross-validation.
        report: Of the report images, or of cross-validation; None: there are none to report by.
        crossed: Whether the two are of cross-validation.
    """

    start: ClassifierStart
    probe: Probe
    selection: Measured
    report: Optional[Measured]
    crossed: bool

    def head(self) -> Dict[str, Tensor]:
        """``fc.weight [classes, D]`` and ``fc.bias [classes]`` with the standardisation folded in: the regression's
        ``(x - mean) / std @ W + b`` is ``x @ (W / std) + b - (mean / std) @ W``."""
        probe = self.probe
        weight, std = probe.weight.double().cpu(), probe.std.double().cpu()
        folded = weight / std[:, None]
        bias = probe.bias.double().cpu() - probe.mean.double().cpu() @ folded
        return {'fc.weight': folded.t().float().contiguous(), 'fc.bias': bias.float()}

    def state(self) -> Dict[str, Tensor]:
        """The weights of the whole classifier."""
        backbone = {f'backbone.{key}': value for key, value in self.start.state.items()}
        return {**backbone, **{f'head.{key}': value for key, value in self.head().items()}}


def fit_head(
    start: ClassifierStart, labels: Labels, features: Features, files: Sequence[str], balance: Optional[str]
) -> FrozenHead:
    """Fit a regression on frozen features; its strength is chosen by the selection images, or by cross-validation where
    there are none.

    Args:
        start: What the features are of.
        labels: The images; those that cannot be read are left out.
        features: Of ``files``.
        balance: ``'weights'`` or ``'sampling'``, against classes of different size.

    Raises:
        ValueError: No image of a part can be read, or those to fit on are of one class.
    """
    place = {file: i for i, file in enumerate(files) if features.readable[i]}
    values, split = features.values[0], labels.split

    def part(pairs: Sequence[Pair]) -> Tuple[Tensor, Tensor]:
        kept = [pair for pair in pairs if pair[0] in place]
        return values[[place[file] for file, _ in kept]], labels.truth(kept)

    fit = [pair for pair in split.fit if pair[0] in place]
    if len({label for _, label in fit}) < 2:
        raise ValueError('the images to fit on that can be read are all of one class: nothing can be told apart')
    for name in ('selection', 'report'):
        if getattr(split, name) and not any(file in place for file, _ in getattr(split, name)):
            raise ValueError(f'no image of the {name} part can be read: nothing can be measured')
    if not split.selection:
        return _crossed(start, labels, part, fit, balance)
    probes = _fit(labels, *part(_drawn(labels, fit, balance)), balance, labels.per_class(fit))
    selection = part(split.selection)
    probe, chosen = max(
        ((probe, measure(probe.scores(selection[0]), selection[1])) for probe in probes),
        key=lambda entry: entry[1].values[labels.metric],
    )
    report = None
    if split.report:
        seen = part(split.report)
        report = measure(probe.scores(seen[0]), seen[1])
    return FrozenHead(start, probe, chosen, report, False)


def _drawn(labels: Labels, pairs: List[Pair], balance: Optional[str]) -> List[Pair]:
    return repeated(pairs) if balance == 'sampling' and not labels.several else pairs


def _fit(labels: Labels, values: Tensor, truth: Tensor, balance: Optional[str], counts: Sequence[int]) -> List[Probe]:
    weights = class_weights(counts) if balance == 'weights' and not labels.several else None
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    probes = fit_probes(
        values.to(device), truth.to(device), len(labels.split.classes), STRENGTHS, class_weights=weights
    )
    return [Probe(*(v.cpu() if isinstance(v, Tensor) else v for v in probe)) for probe in probes]


def folds(pairs: Sequence[Pair], count: int = FOLDS, seed: int = 0) -> np.ndarray:
    """``[N]``: a fold for each image, each class spread over all of them."""
    groups: Dict[int, List[int]] = defaultdict(list)
    for place, (_, label) in enumerate(pairs):
        groups[label].append(place)
    generator, found, shift = np.random.default_rng(seed), np.empty(len(pairs), int), 0
    for places in groups.values():
        order = generator.permutation(places)
        found[order] = (np.arange(len(order)) + shift) % count
        shift += len(order)
    return found


def _crossed(start: ClassifierStart, labels: Labels, part, fit: List[Pair], balance: Optional[str]) -> FrozenHead:
    """Cross-validation: each image is scored by a regression that it was not fitted for, whose strength was chosen by
    another cross-validation inside of the others."""
    _, truth = part(fit)
    scores = torch.empty(len(fit), len(labels.split.classes))
    outer = folds(fit)
    for fold in range(FOLDS):
        rest = [pair for pair, mine in zip(fit, outer) if mine != fold]
        mine = [pair for pair, its in zip(fit, outer) if its == fold]
        if mine:
            strength, _ = _strength(labels, part, rest, balance)
            scores[outer == fold] = _probes(labels, part, rest, balance)[strength].scores(part(mine)[0])
    strength, chosen = _strength(labels, part, fit, balance)
    probe = _probes(labels, part, fit, balance)[strength]
    return FrozenHead(start, probe, chosen, measure(scores, truth), True)


def _probes(labels: Labels, part, pairs: List[Pair], balance: Optional[str]) -> List[Probe]:
    return _fit(labels, *part(_drawn(labels, pairs, balance)), balance, labels.per_class(pairs))


def _strength(labels: Labels, part, pairs: List[Pair], balance: Optional[str]) -> Tuple[int, Measured]:
    """The strength that cross-validation chooses, and what it reaches."""
    _, truth = part(pairs)
    scores = torch.empty(len(STRENGTHS), len(pairs), len(labels.split.classes))
    inner = folds(pairs, INNER_FOLDS, seed=1)
    for fold in range(INNER_FOLDS):
        rest = [pair for pair, its in zip(pairs, inner) if its != fold]
        mine = [pair for pair, its in zip(pairs, inner) if its == fold]
        if mine:
            features = part(mine)[0]
            for place, probe in enumerate(_probes(labels, part, rest, balance)):
                scores[place, torch.from_numpy(inner == fold)] = probe.scores(features)
    found = [measure(one, truth) for one in scores]
    best = max(range(len(found)), key=lambda place: found[place].values[labels.metric])
    return best, found[best]
