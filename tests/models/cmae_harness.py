"""A tiny CMAE and its views."""

import copy

import torch
from harness import METHODS

from mmmim.registry import MODELS


def tiny(method='CMAE', **changes):
    cfg = copy.deepcopy(METHODS['cmae'])
    cfg['backbone'].pop('drop_path_rate', None)
    return MODELS.build({**cfg, **changes})


def views(batch=4, size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(batch, 3, size, size, generator=generator) for _ in range(2)]
