"""From a config of pre-training or classification to something to measure: model, optimizer and batches."""

import copy
import inspect
import itertools
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from flops import StepFlops, count_step, each_wrapper
from mmmim import randomness
from mmmim.config.classification import settle_classifier
from mmmim.config.derived import take_out
from mmmim.config.prepare import set_up_scope
from mmmim.config.schedule import batch_and_lr, set_batch_and_lr
from mmmim.models.build import check_model
from mmmim.models.patches import to_2tuple
from mmmim.registry import FUNCTIONS, MODELS

# without an accelerator, the batches of the configs would take minutes a step
BATCH_WITHOUT_ACCELERATOR = 8
Views = Union[Tensor, List[Tensor]]  # one, or several of them


class Workload(NamedTuple):
    """An algorithm in training mode on its device, and its optimizers."""

    algorithm: nn.Module
    optim_wrapper: OptimWrapper


def default_batch(cfg: Config, device: torch.device) -> int:
    """The batch that the config gives one device; at most 8 without an accelerator."""
    check_config(cfg)
    batch = cfg.get('max_batch_per_device') or cfg.get('total_batch_size') or cfg.train_dataloader.get('batch_size', 8)
    batch = min(batch, cfg.get('total_batch_size', batch))
    return min(batch, BATCH_WITHOUT_ACCELERATOR) if device.type == 'cpu' else batch


def check_config(cfg: Config) -> None:
    """Raises ValueError when the config is not for pre-training."""
    for key in ('model', 'optim_wrapper', 'train_dataloader'):
        if not cfg.get(key):
            raise ValueError(f'the config has no `{key}`: give the config of a pre-training run')
    if not cfg.model.get('backbone'):
        raise ValueError("the config's model has no `backbone`: give the config of a pre-training run")


def settle(cfg: Config, batch: int, dtype: str) -> None:
    """Make one step one batch of this size, in this precision, without accumulation.

    Raises:
        ValueError: The batch is below 1, or the config is not for pre-training.
    """
    check_config(cfg)
    if batch < 1:
        raise ValueError(f'--batch {batch} must be at least 1')
    set_up_scope(cfg)
    settle_classifier(cfg)
    check_model(cfg.model)
    for one in list(batch_and_lr(cfg, world_size=1)):  # of another batch, where it is tried again
        take_out(cfg, one.key)
    cfg.total_batch_size, cfg.max_batch_per_device = batch, None
    set_batch_and_lr(cfg, world_size=1)
    wrappers = cfg.optim_wrapper
    for wrapper in (wrappers, *wrappers.values()):
        if isinstance(wrapper, dict) and 'optimizer' in wrapper:
            wrapper.dtype = dtype


def uncompiled(cfg: Config) -> Config:
    """A copy of the config that compiles no blocks, inside which there are no operations to be seen, and that
    recomputes none, whose operations are counted once."""
    cfg = copy.deepcopy(cfg)
    for key in ('compiled', 'activation_checkpointing'):
        _replace(cfg.model, key, lambda _: False)
    return cfg


def set_image_size(cfg: Config, size: int) -> None:
    """Build the model for square images of ``size`` pixels: every ``img_size`` that is the backbone's follows.

    Raises:
        ValueError: The size is below 1.
    """
    if size < 1:
        raise ValueError(f'--img-size {size} must be at least 1')
    old = to_2tuple(_backbone_option(cfg, 'img_size'))
    _replace(cfg.model, 'img_size', lambda value: size if to_2tuple(value) == old else value)
    cfg.model.backbone.img_size = size


def _backbone_option(cfg: Config, name: str) -> Any:
    """An option of the backbone: the config's, or its class's default."""
    backbone = cfg.model.backbone
    if name in backbone:
        return backbone[name]
    parameters = inspect.signature(MODELS.get(backbone.type)).parameters
    if name not in parameters:
        raise ValueError(f'model.backbone ({backbone.type}) has no option {name}: nothing says what images it takes')
    return parameters[name].default


def _replace(node: Any, key: str, function: Callable[[Any], Any]) -> None:
    """Change every entry ``key`` below a node of a config."""
    for name, child in list(node.items()) if isinstance(node, dict) else enumerate(node):
        if name == key:
            node[name] = function(child)
        elif isinstance(child, (dict, list, tuple)):
            _replace(child, key, function)


def build(cfg: Config, device: torch.device) -> Workload:
    """Build what a settled config describes, from its random initialisation.

    Weights that only training needs are not loaded. A target that has to be fitted is fitted by :func:`fit_target`.
    """
    algorithm = MODELS.build(cfg.model).to(device).train()
    MMLogger.get_instance('benchmark').setLevel('WARNING')  # optimizer groups would stand in the middle of a table
    optim_wrapper = build_optim_wrapper(algorithm, cfg.optim_wrapper)
    for wrapper in each_wrapper(optim_wrapper):
        wrapper.device_type = device.type  # by default that of the accelerator, where there is one
    return Workload(algorithm, optim_wrapper)


def fit_target(algorithm: nn.Module, data: dict) -> None:
    """Fit a target that needs it on one batch; what it learns does not matter for a measurement."""
    target = getattr(algorithm, 'target', None)
    if getattr(target, 'needs_fit', False):
        inputs = algorithm.data_preprocessor(data, False)['inputs']
        target.fit([inputs[0] if isinstance(inputs, list) else inputs])


def count_flops(cfg: Config, device: torch.device, batch: int = 2) -> Tuple[nn.Module, StepFlops]:
    """The algorithm of a settled config, and what a step of it costs; batch norm needs two images at least."""
    algorithm, optim_wrapper = build(uncompiled(cfg), device)
    data = synthetic_batch(cfg, batch)
    fit_target(algorithm, data)
    return algorithm, count_step(algorithm, optim_wrapper, data, batch)


def synthetic_batch(cfg: Config, batch: int) -> Dict[str, Any]:
    """Uint8 noise in main memory, in the form that the config's pipeline and collate function give a batch.

    The pipeline, run on one image of noise, says how many views there are and how they relate in size; the first has
    the size that the config's backbone is built for.
    """
    height, width = to_2tuple(_backbone_option(cfg, 'img_size'))
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (2 * height, 2 * width, _backbone_option(cfg, 'in_chans')), dtype=np.uint8)
    randomness.seed_generators(0, devices=False)
    pipeline = Compose(_pipeline(cfg.train_dataloader.dataset))
    form = pipeline(dict(img=image, sample_idx=0, seed=0, gt_label=0))
    samples = [_noise_like(form, (height, width), seed=i) for i in range(batch)]
    return pinned(_collate_function(cfg)(samples))


def pinned(data: dict) -> dict:
    """A batch in memory that a GPU copies from while it computes; without one the batch as it is."""
    return dict(data, inputs=_map_views(data['inputs'], Tensor.pin_memory)) if torch.cuda.is_available() else data


def real_batches(cfg: Config, seed: int = 0) -> Iterator[Dict[str, Any]]:
    """Batches of a settled config's own loader, epoch after epoch, as the training loop draws them."""
    loader_cfg = dict(cfg.train_dataloader)
    loader_cfg['dataset'] = dict(type='mmmim.SeededDataset', dataset=loader_cfg['dataset'])
    loader_cfg.setdefault('worker_init_fn', dict(type='mmmim.start_worker'))
    loader_cfg.setdefault('pin_memory', torch.cuda.is_available())
    if not loader_cfg.get('num_workers'):
        loader_cfg['persistent_workers'] = False
    loader = Runner.build_dataloader(loader_cfg, seed=seed)
    try:
        for epoch in itertools.count():
            loader.sampler.set_epoch(epoch)
            yield from loader
    finally:
        loader._iterator = None  # ends persistent workers


def queue_length(cfg: Config) -> int:
    """Batches that the workers of the config's loader hold ready."""
    workers = cfg.train_dataloader.get('num_workers', 0)
    return workers * (cfg.train_dataloader.get('prefetch_factor') or 2)


def _pipeline(dataset: dict) -> Sequence:
    """The transforms of a data set's config, also of one that is wrapped."""
    while 'pipeline' not in dataset:
        inner = dataset.get('dataset') or (dataset.get('datasets') or [None])[0]
        if inner is None:
            raise ValueError(f'train_dataloader.dataset ({dataset.get("type")}) has no `pipeline`')
        dataset = inner
    return dataset['pipeline']


def _collate_function(cfg: Config):
    collate = dict(cfg.train_dataloader.get('collate_fn', dict(type='pseudo_collate')))
    function = collate.pop('type')
    return partial(FUNCTIONS.get(function) if isinstance(function, str) else function, **collate)


def _noise_like(form: dict, size: tuple, seed: int) -> dict:
    """A sample like ``form`` with other pixels, its first view of this size."""
    sample = copy.deepcopy(form)
    sample['data_samples'].set_metainfo(dict(seed=randomness.derive(seed)))
    generator = torch.Generator().manual_seed(seed)
    first = sample['inputs'][0] if isinstance(sample['inputs'], (list, tuple)) else sample['inputs']
    scale = [wanted / found for wanted, found in zip(size, first.shape[1:])]

    def noise(view: Tensor) -> Tensor:
        height, width = (round(side * factor) for side, factor in zip(view.shape[1:], scale))
        return torch.randint(0, 256, (view.shape[0], height, width), dtype=torch.uint8, generator=generator)

    sample['inputs'] = _map_views(sample['inputs'], noise)
    return sample


def _map_views(inputs: Views, function: Callable[[Tensor], Tensor]) -> Views:
    return [function(view) for view in inputs] if isinstance(inputs, (list, tuple)) else function(inputs)
