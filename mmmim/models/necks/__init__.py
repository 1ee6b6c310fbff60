from .drawing_head import DrawingHead
from .feature_pyramid import MultiScalePyramid
from .mae_decoder import MAEDecoder
from .pool_tokens import PoolTokens
from .predictors import LinearPredictor, MLPPredictor
from .projector import Projector
from .shared_decoder import SharedDecoder
from .simmim_decoder import SimMIMDecoder
from .simple_pyramid import SimplePyramid
from .unet_drawing_head import UNetDrawingHead

__all__ = [
    'DrawingHead',
    'LinearPredictor',
    'MAEDecoder',
    'MLPPredictor',
    'MultiScalePyramid',
    'PoolTokens',
    'Projector',
    'SharedDecoder',
    'SimMIMDecoder',
    'SimplePyramid',
    'UNetDrawingHead',
]
