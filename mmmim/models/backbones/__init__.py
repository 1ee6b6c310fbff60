from .conv_vit import ConvViT
from .dense_conv_vit import DenseConvViT
from .dense_vit import DenseViT
from .masked_vit import MaskedViT
from .timm_backbone import DenseSwin

__all__ = ['ConvViT', 'DenseConvViT', 'DenseSwin', 'DenseViT', 'MaskedViT']
