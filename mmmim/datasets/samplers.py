"""The order of samples, a function of (seed, epoch), and the seed of each sample, on which alone its draws depend."""

from typing import Any, Iterator, Optional, Sized, Union

import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from .. import randomness
from ..registry import DATA_SAMPLERS, DATASETS


class SampleIndex(int):
    """The index of a sample that carries the sample's seed, derived from (run seed, epoch, index), and from the number
    of the crop if there are several."""

    seed: int

    def __new__(cls, index: int, seed: int) -> 'SampleIndex':
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __reduce__(self):  # pickled for worker processes
        return SampleIndex, (int(self), self.seed)


@DATASETS.register_module()
class SeededDataset:
    """Wraps any data set so that augmentation depends on the sample's seed alone.

    Before a sample is prepared, Python's, NumPy's and torch's generators are seeded from it: neither the number of
    workers nor what they did before changes anything, and no generator state has to be stored.

    Args:
        dataset: The data set, or its config.
    """

    def __init__(self, dataset: Union[BaseDataset, dict]) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset':  # not set yet: while unpickling
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        seed = getattr(index, 'seed', None)
        if seed is None:
            return self.dataset[index]
        randomness.seed_generators(randomness.derive(seed, randomness.AUGMENT), devices=False)
        sample = self.dataset[index]
        if isinstance(sample, dict) and hasattr(sample.get('data_samples'), 'set_metainfo'):
            # wrappers such as ConcatDataset pass a plain index on, and the seed would be lost with it
            sample['data_samples'].set_metainfo(dict(seed=seed))
        return sample


@DATA_SAMPLERS.register_module()
class EpochSampler(Sampler):
    """Yields :class:`SampleIndex`: indices that carry the seed of their sample.

    A global batch is a contiguous piece of the epoch's order, of which rank r takes every ``world_size``-th sample from
    the r-th on: an optimizer step has the same images with any number of ranks.

    Args:
        dataset: The data set; only its length is used.
        shuffle: Permute by (seed, epoch). Without it (evaluation) the seeds of samples do not depend on the epoch.
        seed: Seed of the run; Runner fills it in.
        round_to: The epoch is cut to a multiple of this number of samples (the total batch size, so that every step is
            whole). With 1 only samples that the ranks cannot share evenly are cut; with ``pad``, none.
        pad: Repeat the first samples until all ranks have the same number (evaluation in several processes).
        samples_per_epoch: Number of samples in an epoch, the first of its order (None: all). With ``shuffle`` each
            epoch takes different ones.
        repeat_crops: Number of consecutive samples from one image, each with its own seed: different crops, flips and
            masks, for which :class:`.LoadImage` decodes it once (repeated augmentation, Hoffer et al. 2020). The number
            of samples in an epoch is unchanged, so that this many epochs see every image once (except those cut).

    Raises:
        ValueError: Fewer samples than ``round_to``, or than ``samples_per_epoch``; or a batch per process that
            ``repeat_crops`` does not divide.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: Optional[int] = None,
        round_to: int = 1,
        pad: bool = False,
        samples_per_epoch: Optional[int] = None,
        repeat_crops: int = 1,
    ) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset, self.shuffle, self.seed = dataset, shuffle, seed or 0
        self.repeat_crops = repeat_crops
        self.epoch, self.start = 0, 0
        total = len(dataset)
        if samples_per_epoch is not None:
            if not 1 <= samples_per_epoch <= total:
                raise ValueError(
                    f'samples_per_epoch={samples_per_epoch}: a number from 1 to {total}, the number of '
                    'images, is needed'
                )
            total = samples_per_epoch
        if repeat_crops != 1 or not isinstance(repeat_crops, int):
            share = round_to / self.world_size
            if not isinstance(repeat_crops, int) or repeat_crops < 1 or share % repeat_crops:
                raise ValueError(
                    f'repeat_crops={repeat_crops}: a positive int is needed that divides the {share:g} '
                    'samples of a step in each process (round_to, which total_batch_size sets)'
                )
            if not shuffle or pad:
                raise ValueError(f'repeat_crops={repeat_crops} is for training: with shuffle, without pad')
        if pad:
            self.total = -(-total // self.world_size) * self.world_size
        else:
            step = -(-round_to // self.world_size) * self.world_size  # all ranks must have the same number
            self.total = total // step * step
            if self.total == 0:
                raise ValueError(
                    f'an epoch has {total} images, fewer than one batch of {step}: lower '
                    '`total_batch_size`, or add images'
                )

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Set the epoch, and the number of this rank's samples to skip (resume): they are not read."""
        self.epoch, self.start = epoch, start

    def _order(self) -> torch.Tensor:
        """Indices of the epoch's images, each once."""
        length = len(self.dataset)
        if not self.shuffle:
            order = torch.arange(length)
        else:
            generator = torch.Generator()
            generator.manual_seed(randomness.derive(self.seed, self.epoch // self.repeat_crops, randomness.ORDER))
            order = torch.randperm(length, generator=generator)
        count = self.total // self.repeat_crops
        first = self.epoch % self.repeat_crops * (length // self.repeat_crops)
        return order.repeat(-(-count // length))[first : first + count]

    def __iter__(self) -> Iterator[SampleIndex]:
        epoch = self.epoch if self.shuffle else 0
        mine = self._order()[self.rank :: self.world_size].repeat_interleave(self.repeat_crops)
        for place, index in enumerate(mine[self.start :].tolist(), self.start):
            seed, crop = randomness.derive(self.seed, epoch, index), place % self.repeat_crops
            yield SampleIndex(index, randomness.derive(seed, crop, randomness.REPEAT) if crop else seed)

    def __len__(self) -> int:
        """Samples of this rank in a whole epoch."""
        return self.total // self.world_size
