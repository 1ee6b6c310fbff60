from .base import BaseTarget
from .canny import CannyTarget
from .clip import CLIPTarget
from .combined import CombinedTarget
from .dvae import DALLETarget
from .hog import HOGTarget
from .momentum import MomentumTarget
from .network import NetworkTarget
from .pixels import BlurredPixelTarget, PCATarget, PixelTarget
from .vgg import VGGTarget

__all__ = [
    'BaseTarget',
    'BlurredPixelTarget',
    'CLIPTarget',
    'CannyTarget',
    'CombinedTarget',
    'DALLETarget',
    'HOGTarget',
    'MomentumTarget',
    'NetworkTarget',
    'PCATarget',
    'PixelTarget',
    'VGGTarget',
]
