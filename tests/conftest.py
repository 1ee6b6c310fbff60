"""Data that tests share. Nothing is downloaded; photographs are used where MMMIM_DATA has them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from harness import DATA
from mmengine.registry import DefaultScope
from PIL import Image

import mmmim  # noqa: F401  (its registries)
from mmmim.deferred import leave_out_multimodal
from mmmim.models.mmcv_ops import provide_ops

leave_out_multimodal()  # as a run does before it imports a toolbox
provide_ops()


def make_images(root: Path, per_class: int = 32, classes: int = 2, size: int = 40) -> Path:
    """Class folders of smooth random pictures: a colour gradient each, steeper in one class than in the next."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(-1, 1, size)
    for c in range(classes):
        folder = root / f'class{c}'
        folder.mkdir(parents=True)
        for i in range(per_class):
            angle, base = rng.uniform(0, 2 * np.pi), rng.uniform(80, 170, 3)
            wave = np.sin((c + 1) * 2.5 * (np.cos(angle) * ramp[:, None] + np.sin(angle) * ramp[None, :]))
            pixels = base + 60 * wave[..., None] * rng.uniform(0.3, 1, 3)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f'{i:03d}.jpg', quality=95)
    return root


def pytest_collection_modifyitems(items):
    """Files that train come first, so that the processes that share the files end together."""
    items.sort(key=lambda item: item.getparent(pytest.Module).get_closest_marker('runs') is None)
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker('gpu'):
                item.add_marker(pytest.mark.skip(reason='needs a GPU'))


@pytest.fixture(autouse=True, scope='module')
def mmmim_scope_of_module(request):
    """As below, for what a module's own fixtures build."""
    DefaultScope.get_instance(f'{request.node.nodeid}::', scope_name='mmmim')


@pytest.fixture(autouse=True)
def mmmim_scope(request):
    """MMEngine keeps the scope of the last runner for the whole process: each test starts in ours."""
    DefaultScope.get_instance(request.node.nodeid, scope_name='mmmim')


@pytest.fixture(scope='session')
def image_root(tmp_path_factory) -> Path:
    """64 images in two class folders."""
    return make_images(tmp_path_factory.mktemp('images') / 'photos')


@pytest.fixture(scope='session')
def photographs() -> Path:
    """Real photographs, where there are any."""
    if not DATA.is_dir():
        pytest.skip(f'no photographs at {DATA}; set MMMIM_DATA')
    return DATA
