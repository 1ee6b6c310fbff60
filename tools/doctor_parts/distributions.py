"""Which distributions are installed, which versions were tested, and which of them own the same folders."""

import importlib.metadata
import os
import platform
import re
from typing import Dict, List, NamedTuple, Optional, Tuple

from . import place

# import name: distributions that bring it, the tested one first. Two of a line overwrite each other's files.
FAMILIES = {
    'mmengine': ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-full', 'mmcv-lite'),
    'mmpretrain': ('onedl-mmpretrain', 'mmpretrain'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
}


class Part(NamedTuple):
    """Something that is imported: by name, from one of ``distributions`` (the tested one first), for a purpose."""

    name: str
    module: str
    distributions: Tuple[str, ...]
    purpose: str = 'pre-training'
    needs_torch: bool = False


# what others are built on comes first
PARTS = (
    Part('numpy', 'numpy', ('numpy',)),
    Part('torch', 'torch', ('torch',)),
    Part('torchvision', 'torchvision', ('torchvision',), needs_torch=True),
    Part('pillow', 'PIL', ('pillow', 'pillow-simd')),
    Part(
        'opencv',
        'cv2',
        ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python', 'opencv-contrib-python-headless'),
    ),
    Part('safetensors', 'safetensors', ('safetensors',)),
    Part('simplejpeg', 'simplejpeg', ('simplejpeg',), 'decoding JPEGs faster'),
    Part('timm', 'timm', ('timm',), needs_torch=True),
    Part('mmengine', 'mmengine', FAMILIES['mmengine'], needs_torch=True),
    Part('mmcv', 'mmcv', FAMILIES['mmcv'], needs_torch=True),
    Part('mmmim', 'mmmim', ('mmmim',), needs_torch=True),
    Part('scikit-learn', 'sklearn', ('scikit-learn',), 'linear probes'),
    Part('mmpretrain', 'mmpretrain', FAMILIES['mmpretrain'], 'classification', needs_torch=True),
    Part('mmsegmentation', 'mmseg', FAMILIES['mmseg'], 'segmentation', needs_torch=True),
    Part('mmdetection', 'mmdet', FAMILIES['mmdet'], 'detection', needs_torch=True),
    Part('transformers', 'transformers', ('transformers',), 'Hugging Face models'),
    Part('scikit-image', 'skimage', ('scikit-image',), 'HOG targets'),
)


def installed_versions() -> Dict[str, str]:
    """Version by normalised name; of two with one name the first on the path, which is the one that is imported."""
    versions: Dict[str, str] = {}
    for found in importlib.metadata.distributions():
        try:
            name, version = found.metadata['Name'], found.version
        except Exception:  # a torn metadata folder must not end the examination
            continue
        if name and version:
            versions.setdefault(normalised(name), version)
    return versions


def normalised(name: str) -> str:
    return re.sub(r'[-_.]+', '-', name).lower()


def pinned_versions(path: Optional[str] = None) -> Dict[str, str]:
    """The pins of ``constraints.txt`` that hold for this Python; empty without that file."""
    path = path or os.path.join(place.REQUIREMENTS, 'constraints.txt')
    try:
        with open(path, encoding='utf-8') as file:
            lines = file.read().splitlines()
    except OSError:
        return {}
    versions = {}
    for line in lines:
        requirement, _, marker = line.partition('#')[0].partition(';')
        name, equal, version = requirement.strip().partition('==')
        if equal and _holds(marker):
            versions[normalised(name)] = version.strip()
    return versions


def _holds(marker: str) -> bool:
    """Whether a marker on ``python_version``, the only one that constraints.txt has, holds here."""
    found = re.search(r'python_version\s*(<=|>=|==|<|>)\s*"(\d+)\.(\d+)"', marker)
    if not found:
        return True
    here, there = tuple(map(int, platform.python_version_tuple()[:2])), (int(found[2]), int(found[3]))
    return {'<': here < there, '>': here > there, '==': here == there, '<=': here <= there, '>=': here >= there}[
        found[1]
    ]


def overlaps(versions: Dict[str, str]) -> Dict[str, List[str]]:
    """Import names of OpenMMLab that more than one installed distribution claims, with those distributions."""
    claims = {module: [name for name in names if name in versions] for module, names in FAMILIES.items()}
    return {module: names for module, names in claims.items() if len(names) > 1}


def upstream(versions: Dict[str, str]) -> List[str]:
    """Installed distributions of the upstream OpenMMLab family."""
    return [name for names in FAMILIES.values() for name in names[1:] if name in versions]
