"""Metrics of the validation and test loops."""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from ..registry import METRICS


@METRICS.register_module()
class ReconstructionMetric(BaseMetric):
    """Mean loss on held-out images, each with a mask that depends only on the seed and its place in the data set."""

    default_prefix = 'held_out'

    def __init__(self, collect_device: str = 'cpu', prefix: Optional[str] = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        self.results += [float(sample['recon_loss']) for sample in data_samples]

    def compute_metrics(self, results: List[float]) -> Dict[str, float]:
        return dict(recon_loss=float(np.mean(results)))
