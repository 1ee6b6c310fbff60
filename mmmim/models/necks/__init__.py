from .mae_decoder import MAEDecoder
from .pool_tokens import PoolTokens

__all__ = ['MAEDecoder', 'PoolTokens']
