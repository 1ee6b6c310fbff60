"""A tiny CMAE and its views."""

import copy

import torch
from harness import METHODS

from mmmim.registry import MODELS
from mmmim.structures import DataSample


def tiny(method='CMAE', **changes):
    cfg = copy.deepcopy(METHODS['cmae'])
    cfg['backbone'].pop('drop_path_rate', None)
    return MODELS.build({**cfg, **changes})


def views(batch=4, size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(batch, 3, size, size, generator=generator) for _ in range(2)]


def batch_of(size=8, seed=0):
    """Two views as a loader gives them."""
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randint(0, 256, (size, 3, 16, 16), generator=generator, dtype=torch.uint8) for _ in range(2)]
    return dict(inputs=inputs, data_samples=[DataSample(metainfo=dict(seed=100 * seed + i)) for i in range(size)])


def pieces_of(batch, pieces):
    """The same images in so many batches."""
    size = len(batch['data_samples']) // pieces
    parts = [slice(start, start + size) for start in range(0, pieces * size, size)]
    return [
        dict(inputs=[view[part] for view in batch['inputs']], data_samples=batch['data_samples'][part])
        for part in parts
    ]
