"""Backbones of dense tasks: the parameters of the pre-trained encoders, feature maps out."""

from .conv_vit import DenseConvViT
from .swin import DenseSwin
from .vit import DenseViT

__all__ = ['DenseConvViT', 'DenseSwin', 'DenseViT']
