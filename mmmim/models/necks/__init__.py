from .mae_decoder import MAEDecoder
from .pool_tokens import PoolTokens
from .projector import Projector
from .shared_decoder import SharedDecoder

__all__ = ['MAEDecoder', 'PoolTokens', 'Projector', 'SharedDecoder']
