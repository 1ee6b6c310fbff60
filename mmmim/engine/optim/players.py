"""Optimizers for methods whose generator and discriminator take turns."""

import copy
from typing import Optional

from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn

from ...models.algorithms.adversarial import DISCRIMINATOR, GENERATOR, PLAYERS
from ...registry import OPTIM_WRAPPER_CONSTRUCTORS
from .constructor import GroupedOptimWrapperConstructor


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PlayersOptimWrapperConstructor:
    """One optimizer for all parameters, or one for each of two players, who may share some.

    A shared encoder then has one set of moments that follows both players' gradients, or two sets. The model names the
    parts of each player by ``parts_of(player)`` and what suits it by ``default_optimizers``.

    In a config, either the keys of one optimizer wrapper, and how many are made of it::

        optim_wrapper = dict(type='AutocastOptimWrapper', constructor='PlayersOptimWrapperConstructor',
                             optimizers=2, optimizer=dict(type='AdamW', ...), paramwise_cfg=dict(...))

    or two of them, each with its own ``optimizer``, ``paramwise_cfg`` and ``base_lr``, under ``generator`` and
    ``discriminator``.

    Args:
        optim_wrapper_cfg: The config without ``constructor`` and ``paramwise_cfg``; ``optimizers`` is 1, 2, or left
            out for the model's own choice.
        paramwise_cfg: Of :class:`GroupedOptimWrapperConstructor`.

    Raises:
        ValueError: Another number of optimizers, one that the model cannot be trained with, or a config that misses
            one of the players.
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
        wrappers = {}
        for player in PLAYERS:
            cfg = copy.deepcopy(dict(self.cfg[player] if self.apart else self.cfg))
            paramwise_cfg = cfg.pop('paramwise_cfg', self.paramwise_cfg)
            parts = nn.ModuleDict(model.parts_of(player))  # with the names that they have in the model
            wrappers[player] = GroupedOptimWrapperConstructor(cfg, paramwise_cfg)(parts)
        return OptimWrapperDict(**{GENERATOR: wrappers[GENERATOR], DISCRIMINATOR: wrappers[DISCRIMINATOR]})
