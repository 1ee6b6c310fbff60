"""Segmentation of large images by tiles that overlap."""

from typing import Callable, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

SHARE = 4  # neighbours overlap by a quarter of a tile, where it is not said


class Tiles(NamedTuple):
    """Squares of ``size`` pixels of the image; neighbours share ``overlap`` pixels."""

    size: int
    overlap: int

    @classmethod
    def of(cls, size: int, overlap: Optional[int] = None) -> 'Tiles':
        """Checked. Raises ValueError for an overlap that leaves no step from tile to tile."""
        overlap = size // SHARE if overlap is None else overlap
        if size < 1:
            raise ValueError(f'tile={size}: the side of a tile in pixels, at least 1')
        if not 0 <= overlap < size:
            raise ValueError(f'overlap={overlap} must be at least 0 and less than tile={size}')
        return cls(size, overlap)

    def starts(self, length: int) -> List[int]:
        """First pixels of the tiles along a side; the last tile ends where the side does."""
        last = max(length - self.size, 0)
        return [*range(0, last, self.size - self.overlap), last]


def probabilities(logits: Tensor) -> Tuple[Tensor, Tensor]:
    """``[C, h, w]`` logits to classes ``[h, w]`` and their probabilities; C = 1 is yes or no."""
    if len(logits) == 1:
        yes = logits[0].sigmoid()
        return (yes > 0.5).long(), torch.maximum(yes, 1 - yes)
    best, labels = logits.max(0)
    return labels, (best - logits.logsumexp(0)).exp()


def by_tiles(answer: Callable[[np.ndarray], Tensor], image: np.ndarray, tiles: Tiles) -> Tuple[np.ndarray, float]:
    """Classes of a large image: logits of its tiles, averaged where they overlap.

    The sums of one row of tiles are in memory at once, not those of the image.

    Args:
        answer: ``[h, w, C]`` of a tile to logits ``[K, h, w]``.
        image: ``[H, W, C]``.
        tiles: Their size and overlap.

    Returns:
        ``[H, W]`` numbers of the classes, and the mean probability of the class of a pixel.
    """
    height, width = image.shape[:2]
    tops, lefts = tiles.starts(height), tiles.starts(width)
    tall, wide = min(tiles.size, height), min(tiles.size, width)
    mask, total = np.zeros((height, width), np.uint16), 0.0
    sums, counts = torch.zeros(0), torch.zeros(tall, width)
    for top, end in zip(tops, [*tops[1:], height]):
        for left in lefts:
            logits = answer(image[top : top + tall, left : left + wide]).float().cpu()
            if not len(sums):
                sums = torch.zeros(len(logits), tall, width)
            sums[:, :, left : left + wide] += logits
            counts[:, left : left + wide] += 1
        done = end - top  # rows that no later tile covers
        labels, sure = probabilities(sums[:, :done] / counts[:done])
        mask[top:end] = labels.numpy()
        total += float(sure.double().sum())
        if end < height:
            sums = torch.cat([sums[:, done:], torch.zeros(len(sums), done, width)], 1)
            counts = torch.cat([counts[done:], torch.zeros(done, width)])
    return mask, total / (height * width)
