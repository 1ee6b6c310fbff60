from .algorithms import *  # noqa: F401,F403
from .backbones import *  # noqa: F401,F403
from .batch_norm import CrossRankBatchNorm1d, CrossRankBatchNorm2d
from .color import ColorAugment
from .data_preprocessor import MIMDataPreprocessor, ViewPreprocessor
from .heads import *  # noqa: F401,F403
from .layer_norm import LayerNorm2d
from .necks import *  # noqa: F401,F403
from .targets import *  # noqa: F401,F403
from .xavier_conv import XavierConv2d

__all__ = [
    'ColorAugment',
    'CrossRankBatchNorm1d',
    'CrossRankBatchNorm2d',
    'LayerNorm2d',
    'MIMDataPreprocessor',
    'ViewPreprocessor',
    'XavierConv2d',
]
