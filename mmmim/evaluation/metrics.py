"""Metrics of the validation and test loops."""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS as ROOT

from ..registry import METRICS


@METRICS.register_module()
class ReconstructionMetric(BaseMetric):
    """Mean loss on held-out images, each with a mask that depends only on the seed and its index in the data set, and
    what else a method tells of them:

    - ``sharpness``: squared differences of neighbouring pixels in painted patches over those in the true patches; below
      1 the painted ones are smoother. ``out_of_range``: the share of painted values that no pixel has.
    - ``original_accuracy`` and ``generated_accuracy``: of a discriminator, of patches, with ``image_`` of whole images.
    - ``draw_diversity``, ``mask_diversity``: the root mean square of the difference of two predictions, under another
      draw of the noise (z of CrossMAE) or under another mask, where both masks remove a patch, over that of their
      error: 0 where they are the same, 1.4 where their errors are independent.
    - ``pred_loss``: L_pred of CrossMAE, without lambda.
    """

    default_prefix = 'held_out'
    means = (
        'recon_loss',
        'pred_loss',
        'out_of_range',
        *(f'{level}{kind}_accuracy' for level in ('', 'image_') for kind in ('original', 'generated')),
    )
    quotients = {'sharpness': 1.0, 'draw_diversity': 0.5, 'mask_diversity': 0.5}  # and the power of each

    def __init__(self, collect_device: str = 'cpu', prefix: Optional[str] = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        names = [name for name in (*self.means, *self.quotients) if name in data_samples[0]]
        self.results += [{name: np.asarray(sample[name], np.float64) for name in names} for sample in data_samples]

    def compute_metrics(self, results: List[Dict[str, np.ndarray]]) -> Dict[str, float]:
        found = {name: np.mean([result[name] for result in results], axis=0) for name in results[0]}
        for name, power in self.quotients.items():
            if name in found:
                above, below = found[name]
                found[name] = (above / max(below, 1e-12)) ** power
        return {name: float(value) for name, value in found.items()}


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
