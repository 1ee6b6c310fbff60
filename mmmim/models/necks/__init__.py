from .decoders import MAEDecoder, SharedDecoder, SimMIMDecoder
from .drawing_head import DrawingHead, UNetDrawingHead
from .pool_tokens import PoolTokens
from .predictors import LinearPredictor, MLPPredictor, Projector
from .pyramids import MultiScalePyramid, SimplePyramid

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
