"""Evaluate frozen features of a pre-training model on labelled data: k-NN and linear probe."""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from .. import randomness
from ..registry import DATASETS
from .features import extract_features
from .knn import knn_accuracy
from .linear_probe import linear_probe


class FeatureEvaluator:
    """k-NN accuracy and, if wanted, a linear probe, of frozen features.

    Used by ``tools/test.py`` and, during pre-training, by ``KNNHook``. Nothing is built before the first call.

    Args:
        bank: Config of the labelled data set that neighbours come from.
        query: Config of the labelled data set that is classified.
        bank_share: Share of the bank that is used, drawn by a fixed seed.
        ks: Numbers of neighbours.
        temperature: Temperature of the neighbours' votes.
        pool: ``'mean'`` of patch tokens, ``'cls'``, or ``'cls_mean'`` of several class tokens.
        linear: Also fit a linear probe.
        batch_size, num_workers: Of the data loaders.
    """

    def __init__(
        self,
        bank: dict,
        query: dict,
        bank_share: float = 1.0,
        ks: Sequence[int] = (20,),
        temperature: float = 0.07,
        pool: str = 'mean',
        linear: bool = False,
        batch_size: int = 128,
        num_workers: int = 2,
    ) -> None:
        if not 0 < bank_share <= 1:
            raise ValueError(f'bank_share={bank_share} must lie in (0, 1]')
        self.cfgs, self.bank_share = (bank, query), bank_share
        self.ks, self.temperature, self.pool, self.linear = tuple(ks), temperature, pool, linear
        self.batch_size, self.num_workers = batch_size, num_workers
        self.loaders: Optional[List[Any]] = None

    def build(self) -> List[Any]:
        """The data loaders of bank and query, built once.

        Raises:
            FileNotFoundError: No such images.
            ValueError: Bank and query have different classes.
        """
        if self.loaders is None:
            self.loaders = self._build()
        return self.loaders

    def _build(self) -> List[Any]:
        loaders = []
        for cfg, share in zip(self.cfgs, (self.bank_share, 1.0)):
            dataset = DATASETS.build(cfg)
            dataset.full_init()
            if share < 1:
                rng = np.random.default_rng(randomness.derive(0, randomness.FIT))
                dataset = dataset.get_subset(
                    sorted(rng.permutation(len(dataset))[: int(share * len(dataset))].tolist())
                )
            loaders.append(
                Runner.build_dataloader(
                    dict(
                        dataset=dataset,
                        batch_size=self.batch_size,
                        num_workers=self.num_workers,
                        sampler=dict(type='mmmim.EpochSampler', shuffle=False, pad=True),
                        collate_fn=dict(type='mmmim.mim_collate'),
                        worker_init_fn=dict(type='mmmim.start_worker'),
                    )
                )
            )
        bank, query = (loader.dataset.metainfo.get('classes') for loader in loaders)
        if bank and query and tuple(bank) != tuple(query):
            # labels are indices of folders: the same label would mean two classes
            raise ValueError(
                f'bank and query have different classes ({sorted(set(bank) ^ set(query))[:5]} in one of '
                'them only); give both the same metainfo=dict(classes=[...]), or the same class folders'
            )
        return loaders

    def __call__(self, model: nn.Module, optim_wrapper: Optional[OptimWrapper] = None) -> Dict[str, float]:
        """``{'knn/top1_k20': percent, 'linear/top1': percent}``; the same on all ranks."""
        (bank, bank_labels), (queries, labels) = [
            extract_features(model, loader, self.pool, optim_wrapper) for loader in self.build()
        ]
        result = knn_accuracy(bank, bank_labels, queries, labels, self.ks, self.temperature)
        if self.linear:
            result.update(linear_probe(bank, bank_labels, queries, labels))
        print_log('  '.join(f'{name} {value:.2f}{"%" * ("top" in name)}' for name, value in result.items()), 'current')
        return result
