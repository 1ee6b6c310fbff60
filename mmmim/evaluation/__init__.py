from .evaluator import FeatureEvaluator
from .knn import knn_accuracy, knn_predict
from .linear_probe import linear_probe
from .metrics import ReconstructionMetric

__all__ = ['FeatureEvaluator', 'ReconstructionMetric', 'knn_accuracy', 'knn_predict', 'linear_probe']
