"""Colour changes in a batch against torchvision's and SciPy's, one image at a time."""

import numpy as np
import pytest
import torch
from harness import FLOAT32
from scipy.ndimage import gaussian_filter
from torchvision.transforms.v2 import functional as tv

from mmmim import randomness
from mmmim.models import ColorAugment, ViewPreprocessor
from mmmim.models.layers.blur import gaussian_blur
from mmmim.models.preprocess import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation
from mmmim.structures import DataSample


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    batch = torch.rand(6, 3, 9, 7, generator=generator)
    batch[0, :] = batch[0, :1]  # gray
    batch[1, :, :4] = 0  # black
    batch[2, :, :4] = 1  # white
    return batch


SEEDS = torch.arange(6)


@pytest.mark.parametrize(
    'ours, theirs, values',
    [
        (adjust_brightness, tv.adjust_brightness, [0.0, 0.4, 0.9, 1.0, 1.3, 1.8]),
        (adjust_contrast, tv.adjust_contrast, [0.0, 0.4, 0.9, 1.0, 1.3, 1.8]),
        (adjust_saturation, tv.adjust_saturation, [0.0, 0.4, 0.9, 1.0, 1.3, 1.8]),
        (adjust_hue, tv.adjust_hue, [-0.5, -0.1, 0.0, 0.05, 0.3, 0.5]),
    ],
)
def test_changes_equal_torchvisions(images, ours, theirs, values):
    expected = torch.stack([theirs(image, value) for image, value in zip(images, values)])
    torch.testing.assert_close(ours(images, torch.tensor(values)), expected, atol=2e-6, rtol=0)


def test_blur_equals_scipys(images):
    sigma = torch.tensor([0.1, 0.3, 0.5, 1.0, 1.5, 2.0], dtype=torch.float64)
    expected = np.stack(
        [
            gaussian_filter(image.numpy(), (0, float(s), float(s)), mode='nearest')
            for image, s in zip(images.double(), sigma)
        ]
    )
    blurred = gaussian_blur(images.double(), sigma, max_sigma=2.0)
    np.testing.assert_allclose(blurred.numpy(), expected, atol=1e-10)


def test_order_and_strength_are_drawn_for_each_image(images):
    """The whole jitter of one image, written out with torchvision's functions."""
    augment = ColorAugment(prob=1.0, gray_prob=0.0)
    result = augment(images, SEEDS)
    draws, orders = randomness.uniform(SEEDS, (12,), randomness.VIEW), set()
    for image, draw, ours in zip(images, draws, result):
        factors = [0.6 + 0.8 * draw[0], 0.6 + 0.8 * draw[1], 0.6 + 0.8 * draw[2], -0.1 + 0.2 * draw[3]]
        order = draw[4:8].argsort().tolist()
        orders.add(tuple(order))
        for step in order:
            change = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)[step]
            image = change(image, float(factors[step]))
        torch.testing.assert_close(ours, image, **FLOAT32)
    assert len(orders) > 1


def test_what_happens_depends_on_the_seed_and_not_on_the_batch(images):
    augment = ColorAugment(blur_prob=0.5)
    together = augment(images, SEEDS)
    alone = torch.cat([augment(images[i : i + 1], SEEDS[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    assert not torch.allclose(together, augment(images, SEEDS + 100))


def test_shares_of_images_that_are_changed():
    images, seeds = torch.rand(3, 4, 4).expand(2000, 3, 4, 4), torch.arange(2000)
    gray = ColorAugment(prob=0.0, gray_prob=0.2)(images, seeds)
    assert 0.17 < (gray[:, 0] == gray[:, 1]).flatten(1).all(1).float().mean() < 0.23
    changed = ColorAugment(prob=0.8, gray_prob=0.0)(images, seeds)
    assert 0.77 < (changed != images).flatten(1).any(1).float().mean() < 0.83
    blurred = ColorAugment(prob=0.0, gray_prob=0.0, blur_prob=0.5, blur_sigma=(1, 2))(images, seeds)
    assert 0.46 < ((blurred - images).abs().flatten(1).amax(1) > 1e-3).float().mean() < 0.54
    assert torch.equal(ColorAugment(prob=0.0, gray_prob=0.0)(images, seeds), images)


def test_only_the_target_view_changes_and_its_seed_decides():
    preprocessor = ViewPreprocessor(target_view=dict(type='ColorAugment', prob=1.0))
    views = [torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8) for _ in range(2)]
    samples = [DataSample(metainfo=dict(seed=i)) for i in range(4)]
    data = dict(inputs=views, data_samples=samples)
    first, again = preprocessor(data, True)['inputs'], preprocessor(data, True)['inputs']
    plain = ViewPreprocessor()(data, True)['inputs']
    assert torch.equal(first[0], plain[0]) and not torch.equal(first[1], plain[1])
    assert torch.equal(first[1], again[1])
    one = preprocessor(dict(inputs=views[0], data_samples=samples))['inputs']
    assert torch.equal(one, plain[0])


@pytest.mark.parametrize('options', [dict(brightness=-1), dict(hue=0.6), dict(prob=2), dict(blur_sigma=(2, 1))])
def test_bad_strengths_are_refused(options):
    with pytest.raises(ValueError):
        ColorAugment(**options)


def test_images_without_colours_are_refused():
    with pytest.raises(ValueError, match='3 channels'):
        ColorAugment()(torch.rand(2, 1, 4, 4), torch.arange(2))
