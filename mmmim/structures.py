"""The data element that travels with an image."""

from typing import Any, Dict, List, Optional

from mmengine.structures import BaseDataElement
from torch import Tensor


class DataSample(BaseDataElement):
    """What is known of one image.

    Metainfo: ``img_path`` (str), ``sample_idx`` (int, place in the data set), ``seed`` (int in [0, 2**63), from which
    everything that is drawn later for this image is derived), ``replaced`` (list of ``(path, reason)`` of unreadable
    files in whose place this image stands; usually empty).

    Data: ``gt_label`` (int) where the data set has labels. :meth:`mmmim.models.algorithms.base.BaseAlgorithm.predict`
    adds tensors: ``reconstruction`` and ``masked_image`` ``[C, H, W]``, ``mask`` ``[L]`` and ``recon_loss`` ``[]``.
    """


def fill_samples(
    data_samples: Optional[List[DataSample]], fields: Dict[str, Tensor], **metainfo: Any
) -> List[DataSample]:
    """A batch's ``fields [B, ...]`` and what holds for each image, on the CPU, in its samples; new ones without any."""
    fields = {name: value.cpu() for name, value in fields.items()}  # one transfer each, not one an image
    samples = data_samples or [DataSample() for _ in next(iter(fields.values()))]
    for i, sample in enumerate(samples):
        for name, value in fields.items():
            sample.set_field(value[i], name)
        sample.set_metainfo(metainfo)
    return samples
