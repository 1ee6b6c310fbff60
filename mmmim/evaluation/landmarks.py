"""Errors of facial landmarks."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from ..registry import METRICS

# of a face: its error, and its attributes
Result = Tuple[float, Optional[Tuple[int, ...]]]


@METRICS.register_module()
class LandmarkError(BaseMetric):
    """Error, failure rate and area under the curve of landmarks, as on WFLW (Wu et al., 2018; CrossMAE, Table 5).

    A face's error is the mean distance of predicted and true points over the distance of two true ones, which the data
    set's metainfo ``norm_pair`` names: WFLW's are the outer corners of the eyes. Of all faces, in percent:

    - ``NME``: the mean of the errors; and ``NME_pose`` and so on, of the faces that have an attribute, for each of the
      metainfo's ``attributes``; left out where the data set states none, or no face has it;
    - ``FR_10``: the share of faces whose error is above ``threshold``;
    - ``AUC_10``: the area under the curve of the share of faces with at most a given error, from 0 to ``threshold``,
      over that range. It is exact: the mean of max(0, threshold - error) / threshold.

    Each face counts once, however many processes there are (``EpochSampler(shuffle=False, pad=True)``).

    Args:
        threshold: A share of the normalising distance; the names of the two entries have it in percent.
        collect_device, prefix: See MMEngine's ``BaseMetric``.

    Raises:
        ValueError: A threshold that is not above 0; samples without predicted or true points, or whose normalising
            distance is 0.
    """

    default_prefix = 'landmarks'

    def __init__(self, threshold: float = 0.1, collect_device: str = 'cpu', prefix: Optional[str] = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if threshold <= 0:
            raise ValueError(f'LandmarkError: threshold={threshold} must be above 0')
        self.threshold = threshold

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Store error and attributes of each face. Samples have ``pred_points`` and ``gt_points``, both ``[N, 2]``."""
        for sample in data_samples:
            if sample.get('pred_points') is None or sample.get('gt_points') is None:
                raise ValueError(
                    f'{sample.get("img_path")}: there are no predicted or no true points to compare: the data set '
                    'needs points, and its pipeline PackLandmarks'
                )
            error = normalized_error(sample['pred_points'], sample['gt_points'], self._norm_pair)
            if not np.isfinite(error):
                raise ValueError(
                    f'{sample.get("img_path")}: the points {self._norm_pair}, by whose distance errors are divided, '
                    'are one, or a prediction is not finite'
                )
            self.results.append((error, sample.get('attributes')))

    @property
    def _norm_pair(self) -> Tuple[int, int]:
        pair = (self.dataset_meta or {}).get('norm_pair')
        if pair is None:
            raise ValueError('LandmarkError: the data set has no norm_pair in its metainfo, two points of a face')
        return tuple(pair)

    def compute_metrics(self, results: List[Result]) -> Dict[str, float]:
        """See the class."""
        errors = np.array([error for error, _ in results])
        metrics = dict(
            NME=100 * errors.mean(),
            **{
                f'FR_{100 * self.threshold:g}': 100 * (errors > self.threshold).mean(),
                f'AUC_{100 * self.threshold:g}': 100 * np.maximum(0, 1 - errors / self.threshold).mean(),
            },
        )
        if all(attributes is not None for _, attributes in results):
            table = np.array([attributes for _, attributes in results], dtype=bool)
            names = (self.dataset_meta or {}).get('attributes', ())
            metrics.update({f'NME_{name}': 100 * errors[has].mean() for name, has in zip(names, table.T) if has.any()})
        return {name: float(value) for name, value in metrics.items()}


def normalized_error(predicted: Any, truth: Any, norm_pair: Sequence[int]) -> float:
    """The mean distance of points ``[N, 2]``, over the distance of two of the true ones; infinite where that is 0."""
    predicted, truth = (torch.as_tensor(points).double().cpu().numpy() for points in (predicted, truth))
    first, second = norm_pair
    distance = np.linalg.norm(truth[first] - truth[second])
    return float(np.linalg.norm(predicted - truth, axis=1).mean() / distance) if distance > 0 else float('inf')
