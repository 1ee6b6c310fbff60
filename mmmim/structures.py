"""The data element that travels with an image."""

from mmengine.structures import BaseDataElement


class DataSample(BaseDataElement):
    """What is known of one image.

    Metainfo: ``img_path`` (str), ``sample_idx`` (int, place in the data set), ``seed`` (int in [0, 2**63), from which
    everything that is drawn later for this image is derived), ``replaced`` (list of ``(path, reason)`` of unreadable
    files in whose place this image stands; usually empty).

    Data: ``gt_label`` (int) where the data set has labels. :meth:`mmmim.models.algorithms.base.BaseAlgorithm.predict`
    adds tensors: ``reconstruction`` and ``masked_image`` ``[C, H, W]``, ``mask`` ``[L]`` and ``recon_loss`` ``[]``.
    """
