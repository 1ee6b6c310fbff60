"""Metrics of the validation and test loops."""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS as ROOT

from ..registry import METRICS


@METRICS.register_module()
class ReconstructionMetric(BaseMetric):
    """Mean loss on held-out images, each with a mask that depends only on the seed and its index in the data set; of
    CrossMAE also ``drawing_spread``, how much z changes a drawing."""

    default_prefix = 'held_out'

    def __init__(self, collect_device: str = 'cpu', prefix: Optional[str] = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        names = [name for name in ('recon_loss', 'drawing_spread') if name in data_samples[0]]
        self.results += [{name: float(sample[name]) for name in names} for sample in data_samples]

    def compute_metrics(self, results: List[Dict[str, float]]) -> Dict[str, float]:
        return {name: float(np.mean([result[name] for result in results])) for name in results[0]}


@METRICS.register_module()
class PlainMetric(BaseMetric):
    """Runs another metric and returns its values as ``float``.

    mmseg's ``IoUMetric`` returns NumPy's float32, which neither JSON nor a check for ``float`` accepts. mmdet's
    ``CocoMetric`` returns nothing at all if a detector, such as an untrained one, finds nothing.

    Args:
        metric: Config of the other metric.
        default: Values that the other metric may leave out, and their defaults.
        collect_device, prefix: See MMEngine's ``BaseMetric``; the prefix is this one's.
    """

    def __init__(
        self,
        metric: dict,
        default: Optional[Dict[str, float]] = None,
        collect_device: str = 'cpu',
        prefix: Optional[str] = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.metric, self.default = ROOT.build(metric), default or {}
        self.metric.results = self.results  # one list, which MMEngine collects from all ranks and empties

    @property
    def dataset_meta(self) -> Optional[dict]:
        """Metainfo of the data set, passed on to the other metric."""
        return self.metric.dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        self.metric.dataset_meta = meta

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Let the other metric process a batch."""
        self.metric.process(data_batch, data_samples)

    def compute_metrics(self, results: List[Any]) -> Dict[str, float]:
        """The other metric's values."""
        # through the shortest decimal: 38.28, not 38.279998779, its nearest float32
        found = {name: float(str(value)) for name, value in self.metric.compute_metrics(results).items()}
        return {**self.default, **found}
