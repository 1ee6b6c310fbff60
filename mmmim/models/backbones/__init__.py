from .conv_vit import ConvViT
from .dense_conv_vit import DenseConvViT
from .dense_vit import DenseViT
from .masked_relative_vit import MaskedRelativeViT
from .masked_swin import MaskedSwin
from .masked_vit import MaskedViT
from .relative_vit import RelativeViT
from .timm_backbone import DenseSwin

__all__ = [
    'ConvViT',
    'DenseConvViT',
    'DenseSwin',
    'DenseViT',
    'MaskedRelativeViT',
    'MaskedSwin',
    'MaskedViT',
    'RelativeViT',
]
