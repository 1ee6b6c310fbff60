"""Data sets, samplers and transforms; importing this registers them."""

from .bgr import AsBGR
from .cifar10 import CIFAR10
from .collate import mim_collate
from .color_jitter import ColorJitter
from .file_list import IMAGE_EXTENSIONS, list_images
from .image_folder import ImageFolder
from .image_io import ImageReadError, ImageSource
from .imagenet_variants import ImageNetC, ImageNetVariant
from .inaturalist import INaturalist
from .label_subset import ImageSubset, draw_per_class, label_share
from .mask_folder import MaskFolder
from .places import Places
from .retrying import RetryingDataset
from .samplers import EpochSampler
from .seeded import SampleIndex, SeededDataset
from .sharded_images import ShardedImages
from .transforms import (
    CenterCrop,
    FixedSizeCrop,
    LoadImage,
    PackImage,
    RandomFlip,
    RandomResizedCrop,
    Resize,
)
from .two_views import PixelShift, TwoCrops
from .workers import start_worker

__all__ = [
    'AsBGR',
    'CIFAR10',
    'CenterCrop',
    'ColorJitter',
    'EpochSampler',
    'FixedSizeCrop',
    'IMAGE_EXTENSIONS',
    'INaturalist',
    'ImageFolder',
    'ImageNetC',
    'ImageNetVariant',
    'ImageReadError',
    'ImageSource',
    'ImageSubset',
    'LoadImage',
    'MaskFolder',
    'PackImage',
    'PixelShift',
    'Places',
    'RandomFlip',
    'RandomResizedCrop',
    'Resize',
    'RetryingDataset',
    'SampleIndex',
    'SeededDataset',
    'ShardedImages',
    'TwoCrops',
    'draw_per_class',
    'label_share',
    'list_images',
    'mim_collate',
    'start_worker',
]
