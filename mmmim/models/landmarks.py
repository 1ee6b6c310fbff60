"""Landmarks of a face from heatmaps: losses, and coordinates by soft-argmax."""

from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor
from torch.nn import functional as F

from ..registry import MODELS
from ..structures import DataSample, fill_samples
from .build import build_part, check_choice
from .preprocess import MIMDataPreprocessor


@MODELS.register_module()
class LandmarkEstimator(BaseModel):
    """Backbone, pyramid and a head that puts out a heatmap for each point (CrossMAE, section 4.2, after FaRL).

    Two losses: binary cross-entropy of heatmaps with discs around the true points, and the distance of the points that
    soft-argmax reads from the heatmaps, in units of the crop. Both are computed in float32.

    CrossMAE says "heatmaps as in (Zheng et al., 2022)", FaRL, of whose public code the two losses and their defaults
    are. What it calls the L1 loss of coordinates is the Euclidean distance; ``distance='l1'`` is the other reading.

    Args:
        backbone: Returns feature maps, such as :class:`.DenseViT`.
        head: Takes the neck's maps, puts out ``num_classes`` channels, such as mmseg's ``UPerHead``.
        neck: Takes the backbone's maps, such as :class:`.MultiScalePyramid`; None: the head does.
        heatmap_size: Side of the heatmaps that are compared; the head's are interpolated to it.
        radius: Of the discs, in their pixels: Gaussians whose standard deviation is a quarter of it, cut off there.
        distance: ``'euclidean'`` or ``'l1'``, the mean of the two coordinates' absolute differences.
        heatmap_weight, coordinate_weight: Weights of the two losses.
        data_preprocessor: Config (default: :class:`.MIMDataPreprocessor`).

    Raises:
        ValueError: Another distance; a size, a radius or weights that make no sense.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        neck: Optional[dict] = None,
        heatmap_size: int = 128,
        radius: float = 5.0,
        distance: str = 'euclidean',
        heatmap_weight: float = 1.0,
        coordinate_weight: float = 1.0,
        data_preprocessor: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        preprocessor = build_part(data_preprocessor or dict(type='mmmim.MIMDataPreprocessor'), 'data_preprocessor')
        super().__init__(data_preprocessor=preprocessor, init_cfg=init_cfg)
        check_choice('distance', distance, ('euclidean', 'l1'))
        if heatmap_size < 2 or radius <= 0:
            raise ValueError(f'heatmap_size={heatmap_size} must be at least 2, and radius={radius} above 0')
        if min(heatmap_weight, coordinate_weight) < 0 or not heatmap_weight + coordinate_weight:
            raise ValueError(
                f'heatmap_weight={heatmap_weight} and coordinate_weight={coordinate_weight} must not be negative, nor '
                'both 0'
            )
        self.backbone = build_part(backbone, 'backbone')
        self.neck = build_part(neck, 'neck')
        self.head = build_part(head, 'head')
        self.heatmap_size, self.radius, self.distance = heatmap_size, radius, distance
        self.heatmap_weight, self.coordinate_weight = heatmap_weight, coordinate_weight
        self.data_preprocessor: MIMDataPreprocessor

    def forward(self, inputs: Tensor, data_samples: Optional[List[DataSample]] = None, mode: str = 'tensor') -> Any:
        """``mode``: ``'loss'``, ``'predict'``, or ``'tensor'`` for the heatmaps' logits ``[B, N, h, w]``."""
        check_choice('mode', mode, ('loss', 'predict', 'tensor'))
        maps = self.backbone(inputs)
        logits = self.head(maps if self.neck is None else self.neck(maps))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if mode == 'loss':
            return self.loss(logits, inputs, data_samples)
        return self.predict(logits, inputs, data_samples) if mode == 'predict' else logits

    def loss(self, logits: Tensor, inputs: Tensor, data_samples: Optional[List[DataSample]]) -> Dict[str, Tensor]:
        """``loss_heatmap`` and ``loss_coordinates``, each with its weight.

        Raises:
            ValueError: A sample without points, or with another number than the head puts out.
        """
        truth = normalize_points(
            _true_points(data_samples, logits.shape[1]).to(logits, non_blocking=True), _size(inputs)
        )
        side = (self.heatmap_size, self.heatmap_size)
        with torch.autocast(logits.device.type, enabled=False):
            drawn = points_to_heatmaps(truth, side, self.radius)
            resized = F.interpolate(logits, side, mode='bilinear', align_corners=False)
            heatmap = F.binary_cross_entropy_with_logits(resized, drawn)
            difference = heatmaps_to_points(logits.sigmoid()) - truth
            distance = difference.norm(dim=-1) if self.distance == 'euclidean' else difference.abs()
        return dict(
            loss_heatmap=self.heatmap_weight * heatmap, loss_coordinates=self.coordinate_weight * distance.mean()
        )

    @torch.no_grad()
    def predict(self, logits: Tensor, inputs: Tensor, data_samples: Optional[List[DataSample]]) -> List[DataSample]:
        """The samples with ``pred_points`` (``[N, 2]`` float64, on the host): x and y in pixels of the file, to which
        the inverse of the sample's ``matrix`` leads back; in pixels of the crop where it has none."""
        points = denormalize_points(heatmaps_to_points(logits.sigmoid()).double(), _size(inputs)).cpu()
        samples = data_samples or [DataSample() for _ in points]
        back = torch.from_numpy(np.stack([np.linalg.inv(sample.get('matrix', np.eye(3))) for sample in samples]))
        points = points @ back[:, :2, :2].transpose(1, 2) + back[:, None, :2, 2]
        return fill_samples(samples, dict(pred_points=points))


def _size(images: Tensor) -> Tuple[int, int]:
    return images.shape[-2], images.shape[-1]


def _true_points(data_samples: Optional[List[DataSample]], count: int) -> Tensor:
    """``[B, N, 2]`` in pixels of the crop."""
    points = [sample.get('crop_points') for sample in data_samples or ()]
    if not points or any(found is None or len(found) != count for found in points):
        raise ValueError(
            f'the head puts out {count} points (model.head.num_classes), and the samples of this batch have '
            f'{[None if found is None else len(found) for found in points]}: training needs FaceCrop and '
            'PackLandmarks in the pipeline of a data set with points'
        )
    return torch.stack(points)


def normalize_points(points: Tensor, size: Tuple[int, int]) -> Tensor:
    """Points ``[..., 2]`` (x, y) in pixels of an image of ``size`` (height, width) to shares of it, from 0 to 1 between
    its edges. Centres of pixels are whole numbers."""
    x, y = points.unbind(dim=-1)  # plain numbers: a tensor of them would synchronise with the GPU
    return torch.stack([(x + 0.5) / size[1], (y + 0.5) / size[0]], dim=-1)


def denormalize_points(points: Tensor, size: Tuple[int, int]) -> Tensor:
    """The inverse of :func:`normalize_points`."""
    x, y = points.unbind(dim=-1)
    return torch.stack([x * size[1] - 0.5, y * size[0] - 0.5], dim=-1)


def points_to_heatmaps(points: Tensor, size: Tuple[int, int], radius: float) -> Tensor:
    """Normalised points ``[B, N, 2]`` to heatmaps ``[B, N, h, w]`` in [0, 1].

    At a distance r from the point, in the heatmap's pixels, exp(-r^2 / (2 s^2)) with s = radius / 4; 0 beyond the
    radius (FaRL's code).
    """
    x, y = denormalize_points(points, size).unbind(dim=-1)
    columns, rows = (torch.arange(side, device=points.device, dtype=points.dtype) for side in size[::-1])
    squared = (rows - y[..., None])[..., :, None] ** 2 + (columns - x[..., None])[..., None, :] ** 2
    return torch.exp(-8 * squared / radius**2) * (squared <= radius**2)


def heatmaps_to_points(heatmaps: Tensor) -> Tensor:
    """Soft-argmax: the means of rows and columns of heatmaps ``[B, N, h, w]``, not negative, weighted by their values,
    as normalised points ``[B, N, 2]``. The largest value alone would know them to half a pixel only."""
    columns, rows = (torch.arange(side, device=heatmaps.device, dtype=heatmaps.dtype) for side in heatmaps.shape[:1:-1])
    total = heatmaps.sum(dim=(2, 3)).clamp(min=1e-6)
    x = (heatmaps.sum(dim=2) * columns).sum(dim=-1) / total
    y = (heatmaps.sum(dim=3) * rows).sum(dim=-1) / total
    return normalize_points(torch.stack([x, y], dim=-1), _size(heatmaps))
