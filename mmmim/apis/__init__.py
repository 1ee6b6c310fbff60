"""One call for each job, for people who have never seen a config."""
from .embed import embed
from .pretrain import Pretrained, pretrain

__all__ = ['Pretrained', 'embed', 'pretrain']
