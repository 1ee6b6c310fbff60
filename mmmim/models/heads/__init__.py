from .contrastive import ContrastiveHead
from .discrimination import DiscriminationHead, ImageDiscriminationHead, PatchDiscriminationHead
from .feature_prediction import FeatureHead
from .reconstruction import PatchLossHead, ReconstructionHead, TokenHead

__all__ = [
    'ContrastiveHead',
    'DiscriminationHead',
    'FeatureHead',
    'ImageDiscriminationHead',
    'PatchDiscriminationHead',
    'PatchLossHead',
    'ReconstructionHead',
    'TokenHead',
]
