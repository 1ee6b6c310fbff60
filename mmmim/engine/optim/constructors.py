"""Constructors of optimizer wrappers: parameter groups, layer decay, one optimizer for each player."""

import copy
import logging
from contextlib import contextmanager
from typing import Callable, Iterator, List, Optional, Tuple

from mmengine.logging import MMLogger, print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper, OptimWrapperDict
from torch import nn

from ...deferred import leave_out_multimodal
from ...models.algorithms.adversarial import DISCRIMINATOR, GENERATOR, PLAYERS
from ...models.mmcv_ops import provide_ops
from ...registry import OPTIM_WRAPPER_CONSTRUCTORS
from .muon import mark_matrices, takes_matrices


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor, whose group for each parameter is merged into one for each setting.

    Fused and foreach optimizers work on a group at a time: a ViT-B has 250 parameters and needs 2 groups. Fixed
    parameters (sine-cosine position embeddings) are left out. ``paramwise_cfg`` is MMEngine's, and ``layer_decay_rate``
    as in :class:`LayerDecayOptimWrapperConstructor`, for pre-training that goes on from weights. Of a model of two
    players ``discriminator_lr_mult`` multiplies the rate of what is the discriminator's alone: a shared encoder keeps
    its own.

    Raises:
        ValueError: A ``layer_decay_rate`` or ``discriminator_lr_mult`` out of range, or without a rate to multiply; a
            model without layers, or without that player.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: Optional[dict] = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        if takes_matrices(self.optimizer_cfg) and not self.paramwise_cfg:
            self.paramwise_cfg = dict(bypass_duplicate=False)  # without any MMEngine makes no groups

    def add_params(
        self, params: List[dict], module: nn.Module, prefix: str = '', is_dcn_module: Optional[int] = None
    ) -> None:
        if prefix:
            super().add_params(params, module, prefix=prefix, is_dcn_module=is_dcn_module)
            return
        with quiet():  # the parent writes a line for each parameter
            super().add_params(params, module, prefix=prefix, is_dcn_module=is_dcn_module)
        if 'layer_decay_rate' in self.paramwise_cfg:
            self._decay_layers(params, module, self.paramwise_cfg['layer_decay_rate'])
        if 'discriminator_lr_mult' in self.paramwise_cfg:
            self._multiply_discriminator(params, module, self.paramwise_cfg['discriminator_lr_mult'])
        mark_matrices(params, module, self.optimizer_cfg)
        params[:] = merge_groups(params)
        log_groups(params)

    def _decay_layers(self, params: List[dict], model: nn.Module, rate: float) -> None:
        """Multiply the rate of each parameter's group by ``rate`` for every layer between it and the last."""
        if self.base_lr is None or not 0 < rate <= 1:
            raise ValueError(f'layer_decay_rate={rate} must lie in (0, 1], and the optimizer must state its lr')
        below = {}  # layers between a parameter and the last one
        for part in ('backbone', 'generator'):  # a generator starts from the same weights
            encoder = getattr(model, part, None)
            for name, param in encoder.named_parameters() if hasattr(encoder, 'get_layer_depth') else ():
                layer, count = encoder.get_layer_depth(name)
                below[id(param)] = count - 1 - layer
        if not below:
            find_layer_depth(model)  # raises: no part knows its layers
        for group in params:
            group['lr'] = group.get('lr', self.base_lr) * rate ** below.get(id(group['params'][0]), 0)
        params.sort(key=lambda group: -group['lr'])  # logs show the rate of the first group

    def _multiply_discriminator(self, params: List[dict], model: nn.Module, factor: float) -> None:
        if not hasattr(model, 'parts_of'):
            raise ValueError(f'discriminator_lr_mult={factor}: {type(model).__name__} has no discriminator')
        if self.base_lr is None or not factor > 0:
            raise ValueError(f'discriminator_lr_mult={factor} must be above 0, and the optimizer must state its lr')
        theirs, others = (
            {id(p) for part in model.parts_of(player).values() for p in part.parameters()}
            for player in (DISCRIMINATOR, GENERATOR)
        )
        own = theirs - others
        for group in params:
            if id(group['params'][0]) in own:
                group['lr'] = factor * group.get('lr', self.base_lr)
        params.sort(key=lambda group: id(group['params'][0]) in own)  # logs show the rate of the first group


def log_groups(groups: List[dict]) -> None:
    """Log a line for each group: number of parameters, and their settings."""
    for group in groups:
        settings = ', '.join(f'{key}={value}' for key, value in group.items() if key != 'params')
        count = sum(p.numel() for p in group['params'])
        print_log(
            f'Optimizer group: {len(group["params"])} parameters, {count:,} values; {settings or "defaults"}', 'current'
        )


def merge_groups(groups: List[dict]) -> List[dict]:
    """Join groups that differ in their parameters only."""
    merged: dict = {}
    for group in groups:
        settings = {key: value for key, value in group.items() if key != 'params'}
        merged.setdefault(repr(sorted(settings.items())), dict(params=[], **settings))['params'] += group['params']
    return list(merged.values())


@contextmanager
def quiet() -> Iterator[None]:
    """No line of the log but errors."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PlayersOptimWrapperConstructor:
    """One optimizer for all parameters, or one for each of two players, which may share some.

    A shared encoder has one set of moments, of both players' gradients, or two sets. The model names the parts of each
    player by ``parts_of(player)`` and the default number by ``default_optimizers``.

    In a config, either the keys of one optimizer wrapper, and the number of optimizers::

        optim_wrapper = dict(type='AutocastOptimWrapper', constructor='PlayersOptimWrapperConstructor',
                             optimizers=2, optimizer=dict(type='AdamW', ...), paramwise_cfg=dict(...))

    or two of them, each with its own ``optimizer``, ``paramwise_cfg`` and ``base_lr``, under ``generator`` and
    ``discriminator``. In the first form ``paramwise_cfg.discriminator_lr_mult`` multiplies the rate of the
    discriminator's optimizer, and with it that of its steps on a shared encoder; with one optimizer it is
    :class:`GroupedOptimWrapperConstructor`'s.

    Args:
        optim_wrapper_cfg: The config without ``constructor`` and ``paramwise_cfg``; ``optimizers`` is 1, 2, or left
            out for the model's own choice.
        paramwise_cfg: See :class:`GroupedOptimWrapperConstructor`.

    Raises:
        ValueError: Another number of optimizers, one that the model cannot be trained with, a config without one of the
            players, or ``discriminator_lr_mult`` beside two rates, or not above 0.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: Optional[dict] = None) -> None:
        self.cfg, self.paramwise_cfg = copy.deepcopy(dict(optim_wrapper_cfg)), paramwise_cfg
        self.optimizers = self.cfg.pop('optimizers', None)
        given = [player for player in PLAYERS if player in self.cfg]
        if given and ('optimizer' in self.cfg or len(given) < 2):
            problem = (
                'one for both (`optimizer`) beside those of ' if 'optimizer' in self.cfg else 'only that of the '
            ) + ' and '.join(given)
            raise ValueError(
                f'optim_wrapper has {problem}: give the generator and the discriminator one each, or one '
                '`optimizer` for both'
            )
        if not given and 'optimizer' not in self.cfg:
            raise ValueError(
                'optim_wrapper has no `optimizer`: give one for both players, or a `generator` and a '
                '`discriminator` with one each'
            )
        if self.optimizers not in (None, 1, 2) or (given and self.optimizers == 1):
            raise ValueError(
                f'optim_wrapper.optimizers={self.optimizers}: {"two are given" if given else "use 1 or 2"}'
            )
        self.apart = bool(given)
        if self.apart and 'discriminator_lr_mult' in (paramwise_cfg or {}):
            raise ValueError(
                'paramwise_cfg.discriminator_lr_mult beside optim_wrapper.generator and .discriminator: each of them '
                'states a rate of its own'
            )

    def __call__(self, model: nn.Module) -> OptimWrapper:
        model = model.module if is_model_wrapper(model) else model
        if not hasattr(model, 'parts_of'):
            raise ValueError(
                f'PlayersOptimWrapperConstructor: {type(model).__name__} has no generator and '
                'discriminator; use GroupedOptimWrapperConstructor'
            )
        count = 2 if self.apart else self.optimizers or model.default_optimizers
        if count == 2 and model.default_optimizers == 1:
            raise ValueError(
                f'optim_wrapper.optimizers=2: {type(model).__name__} with this scheme minimises one sum '
                "of losses in one step, which is one optimizer's: set optim_wrapper.optimizers=1"
            )
        if count == 1:
            return GroupedOptimWrapperConstructor(self.cfg, self.paramwise_cfg)(model)
        shared_cfg = dict(self.paramwise_cfg or {})
        factor = shared_cfg.pop('discriminator_lr_mult', 1.0)
        if not factor > 0:
            raise ValueError(f'paramwise_cfg.discriminator_lr_mult={factor} must be above 0')
        wrappers = {}
        for player in PLAYERS:
            cfg = copy.deepcopy(dict(self.cfg[player] if self.apart else self.cfg))
            paramwise_cfg = cfg.pop('paramwise_cfg', shared_cfg)
            if player == DISCRIMINATOR and factor != 1:
                if cfg['optimizer'].get('lr') is None:
                    raise ValueError(f'paramwise_cfg.discriminator_lr_mult={factor}: the optimizer must state its lr')
                cfg['optimizer']['lr'] = factor * cfg['optimizer']['lr']
            parts = nn.ModuleDict(model.parts_of(player))  # with their names in the model
            wrappers[player] = GroupedOptimWrapperConstructor(cfg, paramwise_cfg)(parts)
        return OptimWrapperDict(**{GENERATOR: wrappers[GENERATOR], DISCRIMINATOR: wrappers[DISCRIMINATOR]})


# takes a parameter's name, returns (its layer, number of layers)
LayerDepth = Callable[[str], Tuple[int, int]]


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmpretrain's layer decay (BEiT, MAE) for any model with a ``backbone`` that knows the layers of its parameters.

    The rate of layer i of N is ``lr * layer_decay_rate ** (N - 1 - i)``: layer 0 embeds patches, layer i + 1 is block
    i, and the last layer is all that follows the blocks: norm, neck, head, decoder. Differences to mmpretrain's:

    - it takes layers from the whole model, which only its own classifiers provide; here from the backbone, in any model
      (mmseg's constructor knows ``layers.N`` only, and silently gives ``blocks.N`` one rate);
    - it makes a group of every parameter, which slows fused optimizers down; here equal settings share a group. The
      group with the full learning rate is the first, which is the one that logs show.

    ``paramwise_cfg`` is mmpretrain's: ``layer_decay_rate``, ``norm_decay_mult``, ``bias_decay_mult``,
    ``flat_decay_mult`` and ``custom_keys``; and ``backbone_lr_mult`` and ``head_lr_mult``, which the rates of the
    backbone and of all else are multiplied by (MIMDet's 0.5 and 2), after the decay by layers.

    Raises:
        TypeError: The model's backbone has no ``get_layer_depth``.
        ValueError: The optimizer states no weight decay, or a multiplier of the rate is not above 0.
    """

    def add_params(
        self,
        params: List[dict],
        module: nn.Module,
        prefix: str = '',
        get_layer_depth: Optional[LayerDepth] = None,
        **kwargs,
    ) -> None:
        if not prefix:  # before mmpretrain is imported for the first time
            leave_out_multimodal()
            provide_ops(required=False)
        # imported where it is used: pre-training does not need mmpretrain
        from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor as Theirs

        if self.base_wd is None:
            raise ValueError(
                'layer decay: state optimizer.weight_decay (0 for none), from which each parameter gets its own'
            )
        for key in ('backbone_lr_mult', 'head_lr_mult'):
            if not self.paramwise_cfg.get(key, 1.0) > 0:
                raise ValueError(f'paramwise_cfg.{key}={self.paramwise_cfg[key]} must be above 0')
        get_layer_depth = get_layer_depth or find_layer_depth(module)
        Theirs.add_params(self, params, module, prefix=prefix, get_layer_depth=get_layer_depth)
        if prefix:  # mmpretrain's recurses through this method
            return
        for group in params:
            of_backbone = group.pop('param_name').startswith('backbone.')
            factor = self.paramwise_cfg.get('backbone_lr_mult' if of_backbone else 'head_lr_mult', 1.0)
            group.update(lr=factor * group['lr'], lr_scale=factor * group['lr_scale'])
        mark_matrices(params, module, self.optimizer_cfg)
        params[:] = sorted(merge_groups(params), key=lambda group: (-group['layer_id'], -group['lr']))
        log_groups(params)


def find_layer_depth(model: nn.Module) -> LayerDepth:
    """The backbone's function that returns the layer of each parameter."""
    backbone = getattr(model, 'backbone', None)
    if hasattr(backbone, 'get_layer_depth'):
        return lambda name: backbone.get_layer_depth(name, 'backbone.')
    if hasattr(model, 'get_layer_depth'):
        return model.get_layer_depth
    raise TypeError(
        f'layer-wise learning rate decay needs a backbone with `get_layer_depth`, which '
        f'{type(backbone if backbone is not None else model).__name__} does not have: use one of '
        "mmmim's (MaskedViT, DenseViT ...), or another optim_wrapper.constructor"
    )
