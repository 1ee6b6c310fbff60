"""Data sets, samplers and transforms; importing this registers them."""
from .cifar10 import CIFAR10
from .collate import mim_collate
from .file_list import IMAGE_EXTENSIONS, list_images
from .image_folder import ImageFolder
from .image_io import ImageReadError, ImageSource
from .retrying import RetryingDataset
from .samplers import EpochSampler
from .seeded import SampleIndex, SeededDataset
from .transforms import (
                         CenterCrop,
                         ColorJitter,
                         FixedSizeCrop,
                         LoadImage,
                         PackImage,
                         RandomFlip,
                         RandomResizedCrop,
                         Resize,
)

__all__ = [
    'CIFAR10', 'CenterCrop', 'ColorJitter', 'EpochSampler', 'FixedSizeCrop', 'IMAGE_EXTENSIONS', 'ImageFolder',
    'ImageReadError', 'ImageSource', 'LoadImage', 'PackImage', 'RandomFlip', 'RandomResizedCrop', 'Resize',
    'RetryingDataset', 'SampleIndex', 'SeededDataset', 'list_images', 'mim_collate'
]
