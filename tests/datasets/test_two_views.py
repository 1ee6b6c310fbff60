"""Two views of an image: where they lie, and what they cost."""

import numpy as np
import pytest
import torch

from mmmim.datasets import LoadImage, PackImage, PixelShift, TwoCrops, mim_collate
from mmmim.datasets.io.image_io import ImageSource


def image(height=60, width=80):
    """Every pixel says where it is: (row, column, 7)."""
    rows, cols = np.mgrid[:height, :width]
    return np.stack([rows, cols, np.full_like(rows, 7)], axis=-1).astype(np.uint8)


def whole(**options):
    """The master crop is the image itself."""
    return PixelShift(master_size=(60, 80), scale=(1, 1), ratio=(4 / 3, 4 / 3), interpolation='nearest', **options)


def run(transform, pixels, seed=0):
    np.random.seed(seed)
    return transform.transform(LoadImage().transform(dict(img=pixels)))


def test_views_are_windows_of_one_master():
    transform, shifts = whole(size=(40, 50), max_shift=20, flip_prob=0), set()
    for seed in range(200):
        online, second = run(transform, image(), seed)['views']
        assert online.shape == second.shape == (40, 50, 3) and online.dtype == np.uint8
        assert tuple(online[0, 0]) == (0, 0, 7)
        top, left = int(second[0, 0, 0]), int(second[0, 0, 1])
        assert np.array_equal(second, image()[top : top + 40, left : left + 50])
        shifts.add((top, left))
    tops, lefts = zip(*shifts)
    assert min(tops) == min(lefts) == 0 and max(tops) == max(lefts) == 20  # both ends are drawn
    assert any(top != left for top, left in shifts)


def test_flip_is_the_masters():
    transform = whole(size=(40, 50), max_shift=0, flip_prob=1)
    online, second = run(transform, image())['views']
    assert np.array_equal(online, image()[:, ::-1][:40, :50]) and np.array_equal(online, second)


def test_the_image_is_decoded_once(monkeypatch, tmp_path):
    from PIL import Image

    path = tmp_path / 'a.jpg'
    Image.fromarray(image()).save(path)
    crops, original = [], ImageSource.crop
    monkeypatch.setattr(ImageSource, 'crop', lambda self, *args: crops.append(args) or original(self, *args))
    np.random.seed(0)
    source = LoadImage().transform(dict(img_path=str(path)))
    results = PixelShift(size=24, master_size=32, max_shift=8).transform(source)
    assert len(crops) == 1 and [view.shape for view in results['views']] == [(24, 24, 3)] * 2


def test_two_crops_are_independent():
    transform = TwoCrops(size=16, scale=(0.1, 0.3), interpolation='nearest')
    corners = [[tuple(view[0, 0]) for view in run(transform, image(), seed)['views']] for seed in range(30)]
    assert sum(a != b for a, b in corners) > 25


def test_views_are_packed_and_collated():
    samples = [PackImage().transform(run(whole(size=40, max_shift=20), image(), seed)) for seed in range(3)]
    batch = mim_collate(samples)
    assert [view.shape for view in batch['inputs']] == [(3, 3, 40, 40)] * 2
    assert all(view.dtype == torch.uint8 for view in batch['inputs'])


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(size=224, master_size=256, max_shift=33), 'lower it to 32'),
        (dict(size=224, master_size=200), 'raise master_size to 255'),
        (dict(max_shift=-1), '0 or more'),
        (dict(max_shift=1.5), '0 or more'),
        (dict(size=0), 'positive int'),
        (dict(scale=(0, 1)), '0 < low'),
    ],
)
def test_what_cannot_be_says_why(options, message):
    with pytest.raises(ValueError, match=message):
        PixelShift(**options)
