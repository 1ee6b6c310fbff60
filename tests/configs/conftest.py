"""What the tests of configs share."""

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(scope='session')
def photo(tmp_path_factory):
    """A picture of 300 x 260 pixels."""
    path = tmp_path_factory.mktemp('photos') / 'photo.png'
    pixels = np.random.default_rng(0).integers(0, 256, (26, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((300, 260)).save(path)
    return str(path)


@pytest.fixture(scope='module', autouse=True)
def one_thread():
    """These models are so small that threads only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
