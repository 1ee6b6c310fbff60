from .drawing_head import DrawingHead, UNetDrawingHead
from .mae_decoder import MAEDecoder
from .pool_tokens import PoolTokens
from .predictors import LinearPredictor, MLPPredictor, Projector
from .pyramids import MultiScalePyramid, SimplePyramid
from .shared_decoder import SharedDecoder
from .simmim_decoder import SimMIMDecoder

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
