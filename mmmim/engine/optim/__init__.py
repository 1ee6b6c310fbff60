from .autocast import AutocastOptimWrapper
from .constructor import GroupedOptimWrapperConstructor
from .lars import LARS
from .layer_decay import LayerDecayOptimWrapperConstructor
from .players import PlayersOptimWrapperConstructor

__all__ = [
    'AutocastOptimWrapper',
    'GroupedOptimWrapperConstructor',
    'LARS',
    'LayerDecayOptimWrapperConstructor',
    'PlayersOptimWrapperConstructor',
]
