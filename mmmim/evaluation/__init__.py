from .bootstrap import difference_in_words, mean_interval
from .evaluator import FeatureEvaluator
from .knn import knn_accuracy, knn_predict
from .landmarks import LandmarkError
from .linear_probe import linear_probe
from .logistic import choose_probe, fit_probes
from .metrics import PlainMetric, ReconstructionMetric
from .robustness import MeanCorruptionError, SubsetAccuracy

__all__ = [
    'FeatureEvaluator',
    'LandmarkError',
    'MeanCorruptionError',
    'PlainMetric',
    'ReconstructionMetric',
    'SubsetAccuracy',
    'choose_probe',
    'difference_in_words',
    'fit_probes',
    'knn_accuracy',
    'knn_predict',
    'linear_probe',
    'mean_interval',
]
