"""The data sample of an image."""

from typing import Any, Dict, List, Optional

from mmengine.structures import BaseDataElement
from torch import Tensor


class DataSample(BaseDataElement):
    """Metainfo and labels of one image.

    Metainfo: ``img_path`` (str), ``sample_idx`` (int, index in the data set), ``seed`` (int in [0, 2**63), from which
    all later random draws for this image are derived), ``replaced`` (list of ``(path, reason)`` of unreadable files
    that this image replaces; usually empty), and after a crop ``crop_box`` (left, top, right, bottom as a share of the
    file's image) and ``flipped`` (bool).

    Data: ``gt_label`` (int) where the data set has labels. :meth:`mmmim.models.algorithms.base.BaseAlgorithm.predict`
    adds tensors: ``reconstruction`` and ``masked_image`` ``[C, H, W]``, ``mask`` ``[L]`` and ``recon_loss`` ``[]``.
    Points of a face are described where they are written: :class:`mmmim.datasets.PackLandmarks`, and
    :meth:`mmmim.models.landmarks.LandmarkEstimator.predict`.
    """


def fill_samples(
    data_samples: Optional[List[DataSample]], fields: Dict[str, Tensor], **metainfo: Any
) -> List[DataSample]:
    """Add a batch's ``fields [B, ...]`` and common metainfo to its samples, on the CPU; creates samples if needed."""
    fields = {name: value.cpu() for name, value in fields.items()}  # one transfer each, not one per image
    samples = data_samples or [DataSample() for _ in next(iter(fields.values()))]
    for i, sample in enumerate(samples):
        for name, value in fields.items():
            sample.set_field(value[i], name)
        sample.set_metainfo(metainfo)
    return samples
