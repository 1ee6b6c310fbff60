from .feature_pyramid import MultiScalePyramid
from .mae_decoder import MAEDecoder
from .pool_tokens import PoolTokens
from .projector import Projector
from .shared_decoder import SharedDecoder
from .simple_pyramid import SimplePyramid

__all__ = ['MAEDecoder', 'MultiScalePyramid', 'PoolTokens', 'Projector', 'SharedDecoder', 'SimplePyramid']
