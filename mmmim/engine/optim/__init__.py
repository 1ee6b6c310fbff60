from .autocast import AutocastOptimWrapper
from .constructors import (
    GroupedOptimWrapperConstructor,
    LayerDecayOptimWrapperConstructor,
    PlayersOptimWrapperConstructor,
)
from .lars import LARS
from .muon import MuonAdamW

__all__ = [
    'AutocastOptimWrapper',
    'GroupedOptimWrapperConstructor',
    'LARS',
    'LayerDecayOptimWrapperConstructor',
    'MuonAdamW',
    'PlayersOptimWrapperConstructor',
]
