"""Sharpness and range of painted patches, diversity of draws, and what is told of held-out images."""

import numpy as np
import pytest
import torch
from gan_harness import IMAGE_LEVEL, batch_of, images, noise
from harness import METHODS

from mmmim.evaluation import ReconstructionMetric
from mmmim.models.painting import difference_of_draws, gradient_energy, painted_quality
from mmmim.registry import MODELS
from mmmim.structures import DataSample

P = 4


def build(method, **changes):
    torch.manual_seed(0)
    return MODELS.build({**METHODS[method], **changes}).eval()


def energy(pixels):
    """Of one image ``[C, H, W]``, patch by patch, in loops."""
    found = []
    for top in range(0, pixels.shape[1], P):
        for left in range(0, pixels.shape[2], P):
            patch = pixels[:, top : top + P, left : left + P]
            down = sum(((patch[:, i + 1] - patch[:, i]) ** 2).sum() for i in range(P - 1))
            found.append(down + sum(((patch[:, :, i + 1] - patch[:, :, i]) ** 2).sum() for i in range(P - 1)))
    return torch.stack(found)


def test_gradient_energy_is_of_neighbours_inside_a_patch():
    x = images(2)
    torch.testing.assert_close(gradient_energy(x, P), torch.stack([energy(image) for image in x]))
    steps = torch.arange(16.0).div(P, rounding_mode='floor').expand(1, 3, 16, 16)  # a step from patch to patch alone
    assert (gradient_energy(steps, P) == 0).all()


def test_sharpness_and_range_are_of_painted_patches():
    x = images(2)  # 0..1
    removed = (torch.arange(16) % 2).float().expand(2, 16)
    smooth = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    inside = removed.reshape(2, 1, 4, 4).repeat_interleave(P, 2).repeat_interleave(P, 3).bool()
    found = painted_quality(x, torch.where(inside, smooth, x), removed, P, lambda pixels: 255 * pixels)
    painted, true = found['sharpness'].unbind(1)
    torch.testing.assert_close(true, (torch.stack([energy(image) for image in x]) * removed).sum(1))
    assert (painted < 0.5 * true).all() and (found['out_of_range'] == 0).all()
    wild = torch.where(inside, x, -7.0)  # visible ones do not count
    wild[0, :, 0, P] = 1.1  # three values of the 8 * 48 that are painted
    found = painted_quality(x, wild, removed, P, lambda pixels: 255 * pixels)
    assert found['out_of_range'].tolist() == pytest.approx([3 / (8 * 48), 0])


def test_draws_that_are_the_same_and_draws_whose_errors_are_independent():
    first, second, truth = torch.randn(3, 4, 16, 480, generator=torch.Generator().manual_seed(0)).unbind(0)
    removed = (torch.arange(16) < 12).float().expand(4, 16)
    same = difference_of_draws(first, first, truth, removed)
    assert (same[:, 0] == 0).all()
    torch.testing.assert_close(same[:, 1], (first - truth)[:, :12].square().mean((1, 2)))
    above, below = difference_of_draws(truth + first, truth + second, truth, removed).mean(0)
    assert (above / below).sqrt().item() == pytest.approx(2**0.5, rel=0.02)


def test_the_metric_divides_sums_and_not_images():
    metric = ReconstructionMetric()
    pairs = [(1.0, 4.0), (3.0, 0.0)]  # an image that is flat has nothing to divide by
    metric.process(
        None,
        [
            dict(recon_loss=torch.tensor(float(i)), sharpness=torch.tensor(pair), draw_diversity=torch.tensor(pair))
            for i, pair in enumerate(pairs)
        ],
    )
    assert metric.compute_metrics(metric.results) == dict(recon_loss=0.5, sharpness=1.0, draw_diversity=1.0)


def told(model, size=4):
    batch = model.data_preprocessor(batch_of(size), False)
    samples = model(**batch, mode='predict')
    metric = ReconstructionMetric()
    metric.process(None, [sample.to_dict() for sample in samples])
    return metric.compute_metrics(metric.results), samples


PAINTED = {'recon_loss', 'sharpness', 'out_of_range'}
PATCHES, IMAGES = ({f'{level}{kind}_accuracy' for kind in ('original', 'generated')} for level in ('', 'image_'))


@pytest.mark.parametrize(
    'method, changes, names',
    [
        ('mae', {}, PAINTED),
        ('gan_mae', {}, PAINTED | PATCHES | {'mask_diversity'}),
        ('gan_mae', dict(IMAGE_LEVEL, sharing='separate'), PAINTED | PATCHES | IMAGES | {'mask_diversity'}),
        ('vision_electra', {}, PAINTED | PATCHES | IMAGES | {'mask_diversity', 'draw_diversity'}),
        ('vision_electra', dict(noise_scale=0.0, patch_head=None), PAINTED | IMAGES | {'mask_diversity'}),
        ('crossmae', {}, {'recon_loss', 'pred_loss', 'draw_diversity'}),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_what_each_method_tells_of_held_out_images(method, changes, names):
    model = build(method, **changes)
    found, samples = told(model)
    assert set(found) == names and all(np.isfinite(value) for value in found.values())
    assert all(0 <= found[name] <= 1 for name in names if 'accuracy' in name or name == 'out_of_range')
    assert all(0 < found[name] < 2 for name in names if 'diversity' in name)
    again, _ = told(model)
    assert again == found  # drawn from the samples' seeds alone


@pytest.mark.parametrize('bias, expected', [(9.0, 1.0), (-9.0, 0.0)])
@pytest.mark.parametrize('method', ['gan_mae', 'vision_electra'])
def test_a_discriminator_that_says_one_thing_recognises_one_kind(method, bias, expected):
    model = build(method, **(IMAGE_LEVEL if method == 'gan_mae' else {}))
    for head in (model.patch_head, model.image_head):
        head.fc.bias.data = torch.tensor([-bias, bias])
    found, _ = told(model)
    for level in ('', 'image_'):
        assert found[f'{level}original_accuracy'] == expected and found[f'{level}generated_accuracy'] == 1 - expected


def test_held_out_accuracies_are_those_of_training():
    """Of GAN-MAE: on the same images and masks, the log's."""
    model, x = build('gan_mae'), images()
    samples = model.predict(x, noise=noise())
    _, x_bar = model.complete(x, noise=noise())
    for name, value in model.judge(x_bar)[2].items():
        assert torch.stack([sample.get(name) for sample in samples]).mean().item() == pytest.approx(value.item())


def test_nothing_of_another_mask_without_seeds():
    model, x = build('gan_mae'), images()
    state = torch.get_rng_state()
    sample = model.predict(x, noise=noise())[0]
    assert 'mask_diversity' not in sample and torch.equal(torch.get_rng_state(), state)
    seeded = [DataSample(metainfo=dict(seed=i)) for i in range(4)]
    assert model.predict(x, seeded, noise())[0].mask_diversity.shape == (2,)
