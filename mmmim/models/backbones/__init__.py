from .conv_vit import ConvViT
from .dense.conv_vit import DenseConvViT
from .dense.relative_vit import DenseRelativeViT
from .dense.swin import DenseSwin
from .dense.vit import DenseViT
from .relative_vit import MaskedRelativeViT, RelativeViT
from .swin import MaskedSwin
from .vit import MaskedViT

__all__ = [
    'ConvViT',
    'DenseConvViT',
    'DenseRelativeViT',
    'DenseSwin',
    'DenseViT',
    'MaskedRelativeViT',
    'MaskedSwin',
    'MaskedViT',
    'RelativeViT',
]
