from .base import BaseTarget
from .canny import CannyTarget
from .combined import CombinedTarget
from .dvae import DALLETarget
from .hog import HOGTarget
from .momentum import MomentumTarget
from .network import NetworkTarget
from .pixels import BlurredPixelTarget, PCATarget, PixelTarget
from .timm_network import TimmTarget
from .timm_vit import CLIPTarget, TimmViTTarget
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
    'TimmTarget',
    'TimmViTTarget',
    'VGGTarget',
]
