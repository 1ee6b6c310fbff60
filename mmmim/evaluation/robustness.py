"""Accuracy of a classifier on ImageNet-C, -A and -R."""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from ..registry import METRICS

SEVERITIES = 5
# AlexNet's top-1 error in percent, the mean over the severities (Hendrycks and Dietterich, 2019, and its code)
ALEXNET_ERROR: Dict[str, float] = dict(
    gaussian_noise=88.6428,
    shot_noise=89.4468,
    impulse_noise=92.2640,
    defocus_blur=81.9880,
    glass_blur=82.6268,
    motion_blur=78.5948,
    zoom_blur=79.8360,
    snow=86.6816,
    frost=82.6572,
    fog=81.9324,
    brightness=56.4592,
    contrast=85.3204,
    elastic_transform=64.6056,
    pixelate=71.7840,
    jpeg_compression=60.6500,
)
CORRUPTIONS = tuple(ALEXNET_ERROR)


def _label(sample: dict) -> int:
    return int(torch.as_tensor(sample['gt_label']).flatten()[0])


@METRICS.register_module()
class MeanCorruptionError(BaseMetric):
    """mCE of ImageNet-C (Hendrycks and Dietterich, 2019): errors relative to AlexNet's.

    A corruption's error is the mean over its severities; its CE is that error divided by AlexNet's; mCE is the mean of
    the 15 CEs. An image's corruption is read from its path: ``.../<corruption>/<severity>/<class>/<file>``.

    Returns, in percent, ``error_<corruption>`` and ``CE_<corruption>`` of each corruption, ``top1`` (the mean accuracy
    of all pairs of corruption and severity) and, where all 75 pairs were measured, ``mCE``.

    Args:
        collect_device, prefix: See MMEngine's ``BaseMetric``.

    Raises:
        ValueError: An image's path does not name a corruption and a severity.
    """

    default_prefix = 'imagenet-c'

    def __init__(self, collect_device: str = 'cpu', prefix: Optional[str] = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Store one small int for each image: there are 3.75 million. Samples have ``pred_score`` and ``gt_label``."""
        for sample in data_samples:
            wrong = int(sample['pred_score'].argmax()) != _label(sample)
            self.results.append(2 * _pair(sample['img_path']) + int(wrong))

    def compute_metrics(self, results: List[int]) -> Dict[str, float]:
        """See the class."""
        counts = np.bincount(results, minlength=2 * len(CORRUPTIONS) * SEVERITIES)
        counts = counts.reshape(len(CORRUPTIONS), SEVERITIES, 2)  # right, wrong
        total = counts.sum(axis=2)
        measured = total > 0
        error = 100 * counts[..., 1] / np.maximum(total, 1)
        metrics, relative = {}, []
        for place, name in enumerate(CORRUPTIONS):
            if measured[place].any():
                mean = float(error[place][measured[place]].mean())
                relative.append(100 * mean / ALEXNET_ERROR[name])
                metrics[f'error_{name}'], metrics[f'CE_{name}'] = mean, relative[-1]
        metrics['top1'] = 100 - float(error[measured].mean())
        if measured.all():
            metrics['mCE'] = float(np.mean(relative))
        else:
            print_log(
                f'{int(measured.sum())} of the {measured.size} pairs of corruption and severity were measured: '
                'there is no mCE without all',
                'current',
            )
        return metrics


def _pair(img_path: str) -> int:
    """``index of the corruption * 5 + severity - 1``."""
    parts = img_path.replace('\\', '/').split('/')
    if len(parts) >= 4 and parts[-4] in ALEXNET_ERROR and parts[-3] in ('1', '2', '3', '4', '5'):
        return CORRUPTIONS.index(parts[-4]) * SEVERITIES + int(parts[-3]) - 1
    raise ValueError(
        f'{img_path!r} is not <corruption>/<severity>/<class>/<file> with a corruption of ImageNet-C and '
        'a severity from 1 to 5: MeanCorruptionError is for ImageNet-C only'
    )


@METRICS.register_module()
class SubsetAccuracy(BaseMetric):
    """Top-1 accuracy of a classifier of many classes on images of some of them, as ImageNet-A and -R define it.

    Classes that the data set does not have cannot be predicted: the largest score among the others counts. Returns
    ``top1`` and, without that restriction, ``top1_all_classes``, in percent.

    Args:
        subset: Labels of the classes that the data set has; None: ``metainfo['subset']`` of the data set, see
            :class:`~mmmim.datasets.imagenet_variants.ImageNetVariant`.
        collect_device, prefix: See MMEngine's ``BaseMetric``.

    Raises:
        ValueError: No subset is given, it has other classes than the scores, or an image's label is not in it.
    """

    default_prefix = 'subset'

    def __init__(
        self, subset: Optional[Sequence[int]] = None, collect_device: str = 'cpu', prefix: Optional[str] = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.subset = subset

    def _labels(self, num_classes: int) -> torch.Tensor:
        """``[S]``, sorted."""
        subset = self.subset if self.subset is not None else (self.dataset_meta or {}).get('subset')
        if not subset:
            raise ValueError(
                "SubsetAccuracy knows no subset: use a data set with metainfo['subset'], such as "
                'mmmim.ImageNetVariant, or give the labels as `subset`'
            )
        subset = torch.tensor(sorted(set(subset)))
        if subset[0] < 0 or subset[-1] >= num_classes:
            raise ValueError(
                f'the subset has labels from {int(subset[0])} to {int(subset[-1])}, but the classifier '
                f'has {num_classes} classes'
            )
        return subset

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Samples have ``pred_score`` ``[num_classes]`` and ``gt_label``."""
        subset = self._labels(len(data_samples[0]['pred_score'])) if len(data_samples) else None
        for sample in data_samples:
            score, label = torch.as_tensor(sample['pred_score']).cpu(), _label(sample)
            if label not in subset:
                raise ValueError(
                    f'{sample.get("img_path", "an image")!r} has the label {label}, which is not in the subset'
                )
            self.results.append((int(subset[score[subset].argmax()]) == label, int(score.argmax()) == label))

    def compute_metrics(self, results: List[tuple]) -> Dict[str, float]:
        """See the class."""
        restricted, free = 100 * np.mean(results, axis=0)
        return dict(top1=float(restricted), top1_all_classes=float(free))
