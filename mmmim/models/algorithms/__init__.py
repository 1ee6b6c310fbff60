from .base import BaseAlgorithm
from .cmae import CMAE
from .mae import MAE

__all__ = ['BaseAlgorithm', 'CMAE', 'MAE']
