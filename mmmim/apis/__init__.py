"""One call for each job, for people who have never seen a config."""

from ..models.load_encoder import load_encoder
from .compare import Comparison, compare
from .embed import embed
from .export import Exported, export
from .finetuning.call import finetune
from .finetuning.request import FineTuned
from .frozen import Frozen
from .load import load
from .predict import Predictions, predict
from .pretrain import Pretrained, pretrain

__all__ = [
    'Comparison',
    'Exported',
    'FineTuned',
    'Frozen',
    'Predictions',
    'Pretrained',
    'compare',
    'embed',
    'export',
    'finetune',
    'load',
    'load_encoder',
    'predict',
    'pretrain',
]
