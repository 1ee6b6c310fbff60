"""A tiny GAN-MAE, its batches and optimizers, for tests."""

import copy

import torch
from harness import METHODS
from mmengine.optim import OptimWrapperDict, build_optim_wrapper

from mmmim.models.algorithms.adversarial import DISCRIMINATOR, GENERATOR
from mmmim.registry import MODELS
from mmmim.structures import DataSample

IMAGE_LEVEL = dict(image_head=dict(type='ImageDiscriminationHead'))


def tiny(method='gan_mae', seed=0, **changes):
    """The harness's two-block model, without stochastic depth."""
    cfg = copy.deepcopy(METHODS[method])
    cfg['backbone'].pop('drop_path_rate', None)
    if method == 'mae':
        cfg['target'] = dict(type='PixelTarget', norm_pix=False)
    torch.manual_seed(seed)
    return MODELS.build({**cfg, **changes}).train()


def images(batch=4, seed=0):
    return torch.rand(batch, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def noise(batch=4, seed=1):
    return torch.rand(batch, 16, generator=torch.Generator().manual_seed(seed))


def batch_of(size=4, seed=0):
    """As a loader gives it."""
    pixels = torch.randint(0, 256, (size, 3, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return dict(inputs=pixels, data_samples=[DataSample(metainfo=dict(seed=100 * seed + i)) for i in range(size)])


def optimizers(model, number=None, optimizer=None, dtype='float32', **options):
    cfg = dict(
        type='AutocastOptimWrapper',
        dtype=dtype,
        optimizer=optimizer or dict(type='SGD', lr=0.1),
        constructor='PlayersOptimWrapperConstructor'
        if hasattr(model, 'parts_of')
        else 'GroupedOptimWrapperConstructor',
        **options,
    )
    if number is not None:
        cfg['optimizers'] = number
    return build_optim_wrapper(model, cfg)


def wrappers_of(optim_wrapper):
    if isinstance(optim_wrapper, OptimWrapperDict):
        return {GENERATOR: optim_wrapper[GENERATOR], DISCRIMINATOR: optim_wrapper[DISCRIMINATOR]}
    return {'both': optim_wrapper}


def train(model, optim_wrapper, batches, **step):
    """Several steps; the weights after them."""
    for data in batches:
        log = model.train_step(copy.deepcopy(data), optim_wrapper, **step)
    return {name: p.detach().clone() for name, p in model.named_parameters()}, log
