from .evaluator import FeatureEvaluator
from .knn import knn_accuracy, knn_predict
from .linear_probe import linear_probe
from .metrics import PlainMetric, ReconstructionMetric
from .robustness import MeanCorruptionError, SubsetAccuracy

__all__ = [
    'FeatureEvaluator',
    'MeanCorruptionError',
    'PlainMetric',
    'ReconstructionMetric',
    'SubsetAccuracy',
    'knn_accuracy',
    'knn_predict',
    'linear_probe',
]
