"""Reconstructions and features of MAE, and its modes."""

import pytest
import torch
from mae_harness import assert_equal, build, draw_images, draw_noise, samples_with_seeds

from mmmim.models.patches import patchify


@pytest.fixture(params=[True, False], ids=['norm_pix', 'raw'])
def predicted(request):
    mae = build(target=dict(norm_pix=request.param))
    images, noise = draw_images(), draw_noise(mae)
    return mae, images, noise, mae.predict(images, noise=noise)


def test_visible_patches_of_a_reconstruction_are_the_originals(predicted):
    _, images, _, samples = predicted
    for image, sample in zip(images, samples):
        pictures = image, sample.reconstruction, sample.masked_image
        original, painted, shown = (patchify(picture[None], 8)[0] for picture in pictures)
        visible = sample.mask == 0
        assert torch.equal(painted[visible], original[visible]) and torch.equal(shown[visible], original[visible])
        assert not (painted[~visible] == original[~visible]).all(-1).any() and not shown[~visible].any()
        assert visible.sum() == 4


def test_a_perfect_prediction_reconstructs_the_image(predicted):
    mae, images, noise, _ = predicted
    mae.neck.register_forward_hook(lambda module, args, out: mae.target(images))
    for image, sample in zip(images, mae.predict(images, noise=noise)):
        assert_equal(sample.reconstruction, image)
        assert sample.recon_loss == 0


def test_recon_losses_average_to_the_loss(predicted):
    mae, images, noise, samples = predicted
    mean = torch.stack([sample.recon_loss for sample in samples]).mean()
    assert_equal(mean, mae.loss(images, noise=noise)['loss'].detach())
    assert len({sample.recon_loss.item() for sample in samples}) == 4


def test_samples_say_whether_the_originals_statistics_painted_them(predicted):
    mae, *_, samples = predicted
    assert all(sample.uses_original_statistics == mae.target.norm_pix for sample in samples)


def test_predictions_are_added_to_the_samples_that_came():
    mae, samples = build(), samples_with_seeds(4)
    result = mae.predict(draw_images(), samples)
    assert all(a is b for a, b in zip(result, samples)) and 'reconstruction' in samples[0] and 'seed' in samples[0]


def test_principal_components_paint_without_the_original():
    mae = build(target=dict(type='PCATarget', num_components=7))
    mae.target.fit([draw_images(8)])
    sample = mae.predict(draw_images())[0]
    assert sample.reconstruction.shape == (3, 32, 32) and not sample.uses_original_statistics


@pytest.mark.parametrize('pool', ['mean', 'cls'])
def test_features_of_whole_images(pool):
    mae = build().eval()
    tokens = mae(draw_images(), mode='tensor')
    expected = tokens[:, 1:].mean(1) if pool == 'mean' else tokens[:, 0]
    assert_equal(mae.extract_features(draw_images(), pool), expected.detach())


def test_class_features_need_a_class_token():
    with pytest.raises(ValueError, match='the encoder has no class token'):
        build(backbone=dict(class_token=False)).extract_features(draw_images(), 'cls')


def test_the_entry_point_names_its_modes():
    mae, images = build(), draw_images()
    noise = draw_noise(mae)
    assert torch.equal(mae(images, mode='loss', noise=noise)['loss'], mae.loss(images, noise=noise)['loss'])
    assert mae(images, mode='predict', noise=noise)[0].mask.shape == (16,)
    with pytest.raises(ValueError, match="mode='train' is not known"):
        mae(images, mode='train')
