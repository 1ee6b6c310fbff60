from .autocast import AutocastOptimWrapper
from .constructor import GroupedOptimWrapperConstructor

__all__ = ['AutocastOptimWrapper', 'GroupedOptimWrapperConstructor']
