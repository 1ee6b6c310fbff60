"""Data sets, samplers and transforms; importing this registers them."""

from .cifar10 import CIFAR10, CIFAR100
from .image_folder import ImageFolder
from .imagenet_variants import ImageNetC, ImageNetVariant
from .inaturalist import INaturalist
from .io.file_list import list_images
from .io.formats import IMAGE_EXTENSIONS
from .io.image_io import ImageReadError, ImageSource
from .io.list_lines import read_list
from .label_subset import ImageSubset, draw_per_class, label_share
from .landmark_transforms import FaceCrop, MirrorFace, OccludeFace, PackLandmarks
from .loading import mim_collate, start_worker
from .mask_folder import MaskFolder
from .places import Places
from .retrying import RetryingDataset
from .samplers import EpochSampler, SampleIndex, SeededDataset
from .sharded_images import ShardedImages
from .transforms import (
    AsBGR,
    CenterCrop,
    ColorJitter,
    FixedSizeCrop,
    LoadImage,
    PackImage,
    RandomFlip,
    RandomResizedCrop,
    Resize,
)
from .two_views import PixelShift, TwoCrops
from .wflw import WFLW

__all__ = [
    'AsBGR',
    'CIFAR10',
    'CIFAR100',
    'CenterCrop',
    'ColorJitter',
    'EpochSampler',
    'FaceCrop',
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
    'MirrorFace',
    'OccludeFace',
    'PackImage',
    'PackLandmarks',
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
    'WFLW',
    'draw_per_class',
    'label_share',
    'list_images',
    'read_list',
    'mim_collate',
    'start_worker',
]
