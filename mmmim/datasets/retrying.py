"""A data set that replaces unreadable images."""

from typing import Any, List, Tuple

import numpy as np
from mmengine.dataset import BaseDataset

from ..randomness import REPLACE, derive
from .io.image_io import ImageReadError


class RetryingDataset(BaseDataset):
    """MMEngine's data set with deterministic replacement of unreadable images.

    The replacement depends on the seed of the sample only, not on what was read before, so that any number of workers
    and a resumed run see the same images.
    """

    MAX_ATTEMPTS = 20

    def __getitem__(self, idx: int) -> Any:
        """Run the pipeline for one image.

        Args:
            idx: Index in the data set; may carry a ``seed`` (:class:`~mmmim.datasets.samplers.SampleIndex`).

        Returns:
            What the pipeline returns. It receives ``sample_idx`` and ``seed`` of ``idx``, ``img_path`` and ``gt_label``
            of the image that was read, and in ``replaced`` the list of ``(path, reason)`` of unreadable ones.

        Raises:
            IndexError: if the index is out of range.
            RuntimeError: if none of 20 images could be read.
        """
        size = len(self)
        sample_idx = int(idx) + size if idx < 0 else int(idx)
        if not 0 <= sample_idx < size:
            raise IndexError(f'index {int(idx)} is out of range for a data set of {size} images')
        seed = getattr(idx, 'seed', None)
        if seed is None:
            seed = derive(0, 0, sample_idx)
        replaced: List[Tuple[str, str]] = []
        position = sample_idx
        for attempt in range(self.MAX_ATTEMPTS):
            results = self.get_data_info(position)
            results.update(sample_idx=sample_idx, seed=seed, replaced=replaced)
            try:
                return self.pipeline(results)
            except ImageReadError as error:
                replaced.append((error.path, error.reason))
                position = derive(seed, REPLACE, attempt) % size
        first = ''.join(f'\n  {path}: {reason}' for path, reason in replaced[:3])
        raise RuntimeError(f'none of {self.MAX_ATTEMPTS} images could be read. The first of them:{first}')

    def get_labels(self) -> np.ndarray:
        """The label of every image, ``[N]`` int64, without reading an image.

        Raises:
            ValueError: if the data set has no labels.
        """
        infos = (super(RetryingDataset, self).get_data_info(index) for index in range(len(self)))
        labels = [info.get('gt_label') for info in infos]
        if not labels or labels[0] is None:
            raise ValueError(
                f'{type(self).__name__} of {self.data_root!r} has no labels: its images do not lie in '
                'folders of classes, its annotation file names none, or with_label=False'
            )
        return np.array(labels, dtype=np.int64)
