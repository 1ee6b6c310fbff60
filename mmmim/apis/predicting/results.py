"""What a trained model says of one image."""

from typing import Dict, List, NamedTuple, Optional, Union

import numpy as np


class Classification(NamedTuple):
    """Classes of an image.

    Attributes:
        names: The most probable ones, the surest first; of a multi-label model all that reach the threshold.
        probabilities: In 0..1, one for each name; of a multi-label model each is on its own.
        labels: Numbers of the classes, in the order of the model's outputs.
        confidence: The largest probability, in 0..1; of a multi-label model the probability of the least sure answer,
            yes or no.
    """

    names: List[str]
    probabilities: List[float]
    labels: List[int]
    confidence: float


class Segmentation(NamedTuple):
    """A class for each pixel.

    Attributes:
        mask: ``[H, W]`` at the image's own size, upright: numbers of the classes; uint8, or uint16 of more than 256.
        areas: Share of the pixels of each class that is there, by name, the largest first.
        confidence: Mean over the pixels of the largest probability, in 0..1.
    """

    mask: np.ndarray
    areas: Dict[str, float]
    confidence: float


class Detection(NamedTuple):
    """Objects of an image, the surest first.

    Attributes:
        boxes: ``[N, 4]`` float32: left, top, right, bottom in pixels of the upright image.
        scores: ``[N]`` float32 in 0..1.
        names: Their classes.
        labels: ``[N]`` int64: numbers of the classes, in the order of the model's outputs.
        masks: ``[N, H, W]`` bool; None of a model without a mask head.
        confidence: The largest score; 0 where nothing was found.
    """

    boxes: np.ndarray
    scores: np.ndarray
    names: List[str]
    labels: np.ndarray
    masks: Optional[np.ndarray]
    confidence: float

    def at_least(self, score: float) -> 'Detection':
        """The objects that have at least this score."""
        kept = self.scores >= score
        names = [name for name, stays in zip(self.names, kept) if stays]
        masks = None if self.masks is None else self.masks[kept]
        return self._replace(
            boxes=self.boxes[kept], scores=self.scores[kept], names=names, labels=self.labels[kept], masks=masks
        )


Result = Union[Classification, Segmentation, Detection]
