from .base import BaseTarget
from .dvae import DALLETarget
from .pixels import PCATarget, PixelTarget

__all__ = ['BaseTarget', 'DALLETarget', 'PCATarget', 'PixelTarget']
