from .conv import XavierConv2d
from .norm import CrossRankBatchNorm1d, CrossRankBatchNorm2d, LayerNorm2d

__all__ = ['CrossRankBatchNorm1d', 'CrossRankBatchNorm2d', 'LayerNorm2d', 'XavierConv2d']
