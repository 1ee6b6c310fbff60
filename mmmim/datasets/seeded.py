"""What is drawn for a sample depends on its own seed and on nothing else."""

from typing import Any, Union

from mmengine.dataset import BaseDataset

from .. import randomness
from ..registry import DATASETS


class SampleIndex(int):
    """The index of a sample that carries the sample's seed, itself derived from (run seed, epoch, index), and from the
    number of the crop where there are several."""

    seed: int

    def __new__(cls, index: int, seed: int) -> 'SampleIndex':
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __reduce__(self):  # to worker processes
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
