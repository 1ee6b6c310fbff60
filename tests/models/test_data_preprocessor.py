"""Normalisation on the device."""

import pytest
import torch

from mmmim.models.preprocess import MIMDataPreprocessor


def draw_images(channels=3, batch=2):
    return torch.randint(0, 256, (batch, channels, 4, 6), dtype=torch.uint8)


def test_pixels_are_normalised_by_channel():
    images = draw_images()
    result = MIMDataPreprocessor(mean=(10, 20, 30), std=(1, 2, 4))(dict(inputs=images))['inputs']
    for channel, (mean, std) in enumerate([(10, 1), (20, 2), (30, 4)]):
        assert torch.equal(result[:, channel], (images[:, channel].float() - mean) / std)


def test_the_default_is_imagenets_mean_and_deviation():
    white = MIMDataPreprocessor()(dict(inputs=torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)))['inputs']
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(white.flatten(), expected)


def test_two_views_stay_a_list():
    views = [draw_images(), draw_images()]
    preprocessor = MIMDataPreprocessor()
    result = preprocessor(dict(inputs=views))['inputs']
    assert isinstance(result, list) and len(result) == 2
    for view, normalised in zip(views, result):
        assert torch.equal(normalised, preprocessor.normalize(view))


def test_a_list_of_single_images_becomes_a_batch():
    images = draw_images()
    preprocessor = MIMDataPreprocessor()
    assert torch.equal(preprocessor(dict(inputs=list(images)))['inputs'], preprocessor.normalize(images))


def test_samples_travel_along():
    samples = [object(), object()]
    assert MIMDataPreprocessor()(dict(inputs=draw_images(), data_samples=samples))['data_samples'] is samples


@pytest.mark.parametrize('channels', [1, 4])
def test_other_channel_counts_need_their_own_mean(channels):
    preprocessor = MIMDataPreprocessor(mean=[100] * channels, std=[50] * channels)
    assert preprocessor(dict(inputs=draw_images(channels)))['inputs'].shape == (2, channels, 4, 6)
    with pytest.raises(ValueError, match=f'images have {channels} channels, but data_preprocessor.mean has 3'):
        MIMDataPreprocessor()(dict(inputs=draw_images(channels)))


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_the_result_has_the_default_dtype(dtype):
    preprocessor = MIMDataPreprocessor()
    torch.set_default_dtype(dtype)
    try:
        result = preprocessor(dict(inputs=draw_images()))['inputs']
    finally:
        torch.set_default_dtype(torch.float32)
    assert result.dtype == dtype


def test_denormalising_undoes_normalising():
    preprocessor, images = MIMDataPreprocessor(), draw_images()
    restored = preprocessor.denormalize(preprocessor.normalize(images))
    torch.testing.assert_close(restored, images.float(), atol=1e-4, rtol=0)


def test_checkpoints_do_not_carry_mean_and_deviation():
    assert not MIMDataPreprocessor().state_dict()


@pytest.mark.parametrize('mean, std', [((1, 2, 3), (1, 2)), ((1,), (0,)), ((1,), (-1,)), ((), ())])
def test_a_wrong_mean_or_deviation_is_refused(mean, std):
    with pytest.raises(ValueError, match='one value a channel, and a std above 0'):
        MIMDataPreprocessor(mean, std)
