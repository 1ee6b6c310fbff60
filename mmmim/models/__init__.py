from .algorithms import *  # noqa: F401,F403
from .backbones import *  # noqa: F401,F403
from .heads import *  # noqa: F401,F403
from .landmarks import LandmarkEstimator
from .layers.conv import XavierConv2d
from .layers.norm import CrossRankBatchNorm1d, CrossRankBatchNorm2d, LayerNorm2d
from .necks import *  # noqa: F401,F403
from .preprocess import ColorAugment, ColorPreprocessor, MIMDataPreprocessor, ViewPreprocessor
from .targets import *  # noqa: F401,F403
from .timm_network import TimmNetwork

__all__ = [
    'ColorAugment',
    'ColorPreprocessor',
    'CrossRankBatchNorm1d',
    'CrossRankBatchNorm2d',
    'LandmarkEstimator',
    'LayerNorm2d',
    'MIMDataPreprocessor',
    'TimmNetwork',
    'ViewPreprocessor',
    'XavierConv2d',
]
