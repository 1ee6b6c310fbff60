"""Which layer of a frozen network has the best features for some labels."""

import os.path as osp
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..checkpoint.write import export_encoder, exported_facts
from ..engine.hooks.run_record import add_to_record
from ..evaluation.knn import knn_predict
from ..evaluation.logistic import choose_probe
from ..models.networks import EXPORTED
from .extract import extract
from .label_split import LabelSplit, Pair, some

TIE = 0.5  # points, and at least an image: among layers this close the later one is taken
NEIGHBOURS = 20  # as in the curve of a run, and fixed, so that nothing is chosen for k-NN


class LayerChoice(NamedTuple):
    """What :func:`best_layer` found.

    Attributes:
        layer: From 1; None: the network's output.
        accuracy: Percent of the selection images for each layer, ``'1'``, ``'2'``, ..., ``'output'``.
        sentence: What the choice is worth.
    """

    layer: Optional[int]
    accuracy: Dict[str, float]
    sentence: str


def best_layer(frozen: Any, split: LabelSplit) -> LayerChoice:
    """Probe each layer by logistic regression, fitted on the fit part and measured on the selection part.

    The best features of masked models lie in middle layers (Chen et al., 2020, iGPT: section 4.1; He et al., 2022, MAE:
    figure 9). Layers within 0.5 points of the best count as equal; of these the last is taken, and the network's output
    is the last of all. One pass through the network gives all layers.

    Args:
        frozen: From :func:`mmmim.load`.
        split: Labelled images.

    Raises:
        ValueError: No image of a part can be read, or those that can are all of one class.
    """
    layers: List[Optional[int]] = [*range(1, frozen.depth + 1), None]
    features = extract(frozen, [file for file, _ in [*split.fit, *split.selection]], layers)
    values = features.values
    if len(values) > 1 and _same(values[-1], values[-2]):
        del layers[-2], values[-2]  # the last layer is the output
    accuracy = {}
    for layer, value in zip(layers, values):
        fit, selection = _parts(
            value.to(getattr(frozen, 'device', 'cpu')), features.readable, split.fit, split.selection
        )
        accuracy[name_of(layer)] = choose_probe(*fit, *selection, len(split.classes)).accuracy
    least = max(accuracy.values()) - max(TIE, 100 / len(split.selection))
    chosen = next(layer for layer in reversed(layers) if accuracy[name_of(layer)] >= least)
    return LayerChoice(chosen, accuracy, _in_words(frozen, chosen, accuracy, len(split.selection)))


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def _parts(features: Tensor, readable: Tensor, fit: List[Pair], selection: List[Pair]) -> List[Tuple[Tensor, Tensor]]:
    """Features and labels of the readable images of fit and of selection; ``[N, D]`` are those of both."""
    labels = torch.tensor([label for _, label in [*fit, *selection]], device=features.device)
    first = torch.arange(len(labels)) < len(fit)
    parts = [(features[kept], labels[kept]) for kept in (first & readable, ~first & readable)]
    for name, (_, found) in zip(('fit', 'selection'), parts):
        if not len(found):
            raise ValueError(f'no image of the {name} part can be read: there is nothing to choose by')
        if len(found.unique()) < 2:
            raise ValueError(
                f'the images of the {name} part that can be read are all of one class: there is nothing to choose by'
            )
    return parts


def name_of(layer: Optional[int]) -> str:
    """``'output'`` for None."""
    return 'output' if layer is None else str(layer)


def _in_words(frozen: Any, chosen: Optional[int], accuracy: Dict[str, float], images: int) -> str:
    output = accuracy['output']
    if chosen is None:
        others = {name: value for name, value in accuracy.items() if name != 'output'}
        best = max(others, key=others.__getitem__, default=None)
        beside = f'; the best other layer, {best}, has {others[best]:.1f}%' if best else ''
        return (
            f'{frozen.name}: no layer is better than its output by more than {max(TIE, 100 / images):.1f} points, '
            f'{output:.1f}% of {images:,} selection images{beside}'
        )
    found = accuracy[name_of(chosen)]
    return (
        f'{frozen.name}: layer {chosen} of {frozen.depth} is the best, {found:.1f}% of {images:,} selection images; '
        f'the output {output:.1f}%, {found - output:+.1f} points for the choice'
    )


def selection_scores(
    frozen: Any, split: LabelSplit, most_fit: Optional[int] = None, most_selection: Optional[int] = None
) -> Dict[str, float]:
    """``{'knn': percent, 'linear': percent}`` of the selection images: what a checkpoint is chosen by.

    Args:
        frozen: From :func:`mmmim.load`; its output is judged.
        split: Labelled images.
        most_fit, most_selection: Images of the two parts at most, drawn by a fixed seed; None: all.

    Raises:
        ValueError: No image of a part can be read, or those that can are all of one class.
    """
    fit, selection = some(split.fit, most_fit), some(split.selection, most_selection)
    features = extract(frozen, [file for file, _ in [*fit, *selection]])
    values = features.values[0].to(getattr(frozen, 'device', 'cpu'))
    fitted, (chosen, truth) = _parts(values, features.readable, fit, selection)
    guess = knn_predict(*fitted, chosen, len(split.classes), (NEIGHBOURS,))[NEIGHBOURS]
    knn = 100 * (guess == truth).double().mean().item()
    return dict(knn=knn, linear=choose_probe(*fitted, chosen, truth, len(split.classes)).accuracy)


def store_layer(run: str, choice: LayerChoice) -> None:
    """Write the choice to ``run.json`` (``layer``, ``layer_note``, ``layer_accuracy``) of a run, and the layer into its
    exported encoder, which may be used elsewhere."""
    for key, value in dict(layer=choice.layer, layer_note=choice.sentence, layer_accuracy=choice.accuracy).items():
        add_to_record(run, key, value)
    path = osp.join(run, EXPORTED)
    facts = exported_facts(path)
    if facts and facts.get('layer') != choice.layer:
        export_encoder(load_file(path), path, {**facts, 'layer': choice.layer})
