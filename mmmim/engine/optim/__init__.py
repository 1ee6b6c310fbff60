from .autocast import AutocastOptimWrapper
from .constructors import (
    GroupedOptimWrapperConstructor,
    LayerDecayOptimWrapperConstructor,
    PlayersOptimWrapperConstructor,
)
from .lars import LARS

__all__ = [
    'AutocastOptimWrapper',
    'GroupedOptimWrapperConstructor',
    'LARS',
    'LayerDecayOptimWrapperConstructor',
    'PlayersOptimWrapperConstructor',
]
