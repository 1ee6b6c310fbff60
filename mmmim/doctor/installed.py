"""What is installed here, which versions were tested, and command lines for this Python."""

import importlib.metadata
import os
import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

from ..config import paths

CHECKOUT = str(paths.checkout() or '')  # empty where mmmim was installed from a wheel
CONFIGS, CONSTRAINTS = str(paths.shipped('configs')), str(paths.shipped('requirements') / 'constraints.txt')

# import name: distributions that provide it, the tested one first. Two of a line overwrite each other's files.
FAMILIES = {
    'mmengine': ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-full', 'mmcv-lite'),
    'mmpretrain': ('onedl-mmpretrain', 'mmpretrain'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
}
DISTRIBUTIONS = dict(FAMILIES, cv2=('opencv-python', 'opencv-python-headless', 'opencv-contrib-python'))


class Row(NamedTuple):
    """A line of the table.

    Attributes:
        group: ``machine``, ``installed`` or ``works``.
        status: ``ok``; ``note`` (works, but worth knowing); ``broken``; ``absent`` (not installed, or not there).
        mend: Commands that fix it, in order.
        trace: Full output of a failed probe.
    """

    group: str
    name: str
    status: str
    detail: str = ''
    mend: tuple[str, ...] = ()
    installed: str = ''
    tested: str = ''
    trace: str = ''


class Part(NamedTuple):
    """A library: the name of its row, the module to import, its purpose, and whether it imports torch."""

    name: str
    imported: str
    purpose: str = 'pre-training'
    needs_torch: bool = True

    @property
    def module(self) -> str:
        return self.imported.partition('.')[0]

    @property
    def distributions(self) -> tuple[str, ...]:
        """Distributions that provide it, the tested one first."""
        return DISTRIBUTIONS.get(self.module, (self.name,))


PARTS = (  # dependencies come first
    Part('numpy', 'numpy', needs_torch=False),
    Part('torch', 'torch'),
    Part('torchvision', 'torchvision'),
    Part('pillow', 'PIL.Image', needs_torch=False),
    Part('opencv', 'cv2', needs_torch=False),
    Part('safetensors', 'safetensors.torch'),
    Part('simplejpeg', 'simplejpeg', 'decoding JPEGs faster', needs_torch=False),
    Part('timm', 'timm.layers'),
    Part('mmengine', 'mmengine.runner'),
    Part('jinja2', 'jinja2', needs_torch=False),
    Part('mmmim', 'mmmim'),
    Part('mmcv', 'mmcv.transforms', 'classification and segmentation'),
    Part('scikit-learn', 'sklearn.linear_model', 'linear probes', needs_torch=False),
    Part('mmpretrain', 'mmpretrain.models', 'classification'),
    Part('mmsegmentation', 'mmseg.models', 'segmentation'),
    Part('mmdetection', 'mmdet', 'detection'),
    Part('transformers', 'transformers', 'Hugging Face models', needs_torch=False),
    Part('scikit-image', 'skimage.feature', 'HOG targets', needs_torch=False),
    Part('onnx', 'onnx', 'export', needs_torch=False),
    Part('onnxscript', 'onnxscript', 'export'),
    Part('onnxruntime', 'onnxruntime', 'export', needs_torch=False),
)
BY_NAME = {part.name: part for part in PARTS}
BY_MODULE = {part.module: part for part in PARTS}


def normalised(name: str) -> str:
    return re.sub(r'[-_.]+', '-', name).lower()


def installed_versions() -> dict[str, str]:
    """Version by normalised name; of two with one name the first on the path, which is the one that is imported."""
    versions: dict[str, str] = {}
    for found in importlib.metadata.distributions():
        try:
            versions.setdefault(normalised(found.metadata['Name']), found.version or '')
        except Exception:  # a damaged metadata folder must not end the examination
            continue
    return versions


def pinned_versions(path: str = CONSTRAINTS) -> dict[str, str]:
    """The pinned versions for this Python; empty without that file."""
    versions = {}
    for line in Path(path).read_text(encoding='utf-8').splitlines() if os.path.exists(path) else []:
        requirement, _, marker = line.partition('#')[0].partition(';')
        name, equal, version = requirement.strip().partition('==')
        bound = re.search(r'python_version\s*(<|>=|==)\s*"3\.(\d+)"', marker)  # the only markers there
        compare = {'<': int.__lt__, '>=': int.__ge__, '==': int.__eq__}
        if equal and (not bound or compare[bound[1]](sys.version_info[1], int(bound[2]))):
            versions[normalised(name)] = version.strip()
    return versions


def short(path: str) -> str:
    """A path as one would type it here: relative to the current folder when it lies below, quoted for the shell."""
    here = os.path.join(os.getcwd() if os.path.isdir(os.curdir) else path, '')  # which may have been removed
    return shlex.quote(path.removeprefix(here) if here != os.sep else path)
