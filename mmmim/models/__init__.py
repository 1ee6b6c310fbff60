from .algorithms import *  # noqa: F401,F403
from .backbones import *  # noqa: F401,F403
from .batch_norm import CrossRankBatchNorm1d
from .data_preprocessor import MIMDataPreprocessor
from .heads import *  # noqa: F401,F403
from .necks import *  # noqa: F401,F403
from .targets import *  # noqa: F401,F403

__all__ = ['CrossRankBatchNorm1d', 'MIMDataPreprocessor']
