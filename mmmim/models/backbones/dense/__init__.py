"""Backbones of dense tasks: the parameters of the pre-trained encoders, feature maps out."""

from .conv_vit import DenseConvViT
from .relative_vit import DenseRelativeViT
from .swin import DenseSwin
from .vit import DenseViT

__all__ = ['DenseConvViT', 'DenseRelativeViT', 'DenseSwin', 'DenseViT']
