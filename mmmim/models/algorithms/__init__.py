from .base import BaseAlgorithm
from .mae import MAE

__all__ = ['BaseAlgorithm', 'MAE']
