"""One call for each job, for people who have never seen a config."""

from .embed import embed
from .load_encoder import load_encoder
from .pretrain import Pretrained, pretrain

__all__ = ['Pretrained', 'embed', 'load_encoder', 'pretrain']
