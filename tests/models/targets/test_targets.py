"""What is predicted: pixels, principal components, discrete tokens."""

import pytest
import torch
from harness import FLOAT32
from sklearn.decomposition import PCA

from mmmim.models.patches import patchify
from mmmim.models.targets import DALLETarget, PCATarget, PixelTarget


def draw_images(batch=4, channels=3, size=(16, 24)):
    """Smooth random images: neighbouring pixels are correlated."""
    coarse = torch.randn(batch, channels, size[0] // 4, size[1] // 4)
    return torch.nn.functional.interpolate(coarse, size, mode='bicubic') + 0.1 * torch.randn(batch, channels, *size)


# pixels


def test_raw_pixels_are_the_patches():
    images = draw_images()
    assert torch.equal(PixelTarget(4, norm_pix=False)(images), patchify(images, 4))


def test_normalised_pixels_have_zero_mean_and_unit_variance():
    target = PixelTarget(4)(draw_images(channels=5))
    assert target.mean(-1).abs().max() < 1e-5
    torch.testing.assert_close(target.var(-1), torch.ones(4, 24), atol=1e-2, rtol=0)


@pytest.mark.parametrize('norm_pix', [True, False])
def test_the_target_painted_is_the_image(norm_pix):
    images, target = draw_images(), PixelTarget(4, norm_pix=norm_pix)
    torch.testing.assert_close(target.to_pixels(target(images), images), patchify(images, 4), **FLOAT32)


def test_only_normalised_pixels_are_painted_with_the_originals_statistics():
    assert PixelTarget(norm_pix=True).uses_original_statistics
    assert not PixelTarget(norm_pix=False).uses_original_statistics


@pytest.mark.parametrize('patch, channels, dim', [(16, 3, 768), (8, 1, 64), ((4, 8), 5, 160)])
def test_width_of_a_prediction(patch, channels, dim):
    assert PixelTarget(patch, channels).out_dim == dim


def test_a_target_has_no_gradient_and_full_precision_under_autocast():
    images, target = draw_images().requires_grad_(), PixelTarget(4)
    exact = target(images)
    with torch.autocast('cpu', torch.bfloat16):
        coarse = target(images)
    assert not coarse.requires_grad and torch.equal(coarse, exact)


# principal components


def fitted(num_components=10, batches=None):
    torch.manual_seed(0)
    target = PCATarget(4, num_components=num_components)
    target.fit([draw_images(8) for _ in range(5)] if batches is None else batches)
    return target


def test_the_basis_is_orthonormal():
    basis = fitted().basis
    torch.testing.assert_close(basis.T @ basis, torch.eye(10), **FLOAT32)


def test_components_equal_sklearns_up_to_sign():
    batches = [draw_images(8) for _ in range(5)]
    target = fitted(10, batches)
    patches = torch.cat([patchify(images, 4).flatten(0, 1) for images in batches])
    reference = PCA(10, svd_solver='full').fit(patches.double().numpy())
    expected = torch.from_numpy(reference.transform(patchify(batches[0], 4).flatten(0, 1).double().numpy())).float()
    actual = target(batches[0]).flatten(0, 1)
    torch.testing.assert_close(actual.abs(), expected.abs(), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(target.mean, torch.from_numpy(reference.mean_).float(), **FLOAT32)


def test_the_sign_of_a_component_is_fixed():
    basis = fitted().basis
    assert (basis.gather(0, basis.abs().argmax(0, keepdim=True)) > 0).all()


def test_the_basis_does_not_depend_on_the_batches():
    images = draw_images(12)
    torch.testing.assert_close(fitted(5, [images]).basis, fitted(5, images.split(5)).basis, **FLOAT32)


def test_all_components_reconstruct_the_pixels():
    images, target = draw_images(), fitted(48)
    torch.testing.assert_close(target.to_pixels(target(images), images), patchify(images, 4), **FLOAT32)


def test_few_components_reconstruct_better_than_the_mean_alone():
    images, target = draw_images(), fitted(10)
    patches = patchify(images, 4)
    error = (target.to_pixels(target(images), images) - patches).square().mean()
    assert error < 0.2 * (patches - target.mean).square().mean()


@pytest.mark.parametrize('load', ['torch', 'mmengine'])
def test_a_checkpoint_carries_the_basis(load):
    from mmengine.runner.checkpoint import load_state_dict

    source, target = fitted(), PCATarget(4, num_components=10)
    assert target.needs_fit and not source.needs_fit
    target.load_state_dict(source.state_dict()) if load == 'torch' else load_state_dict(target, source.state_dict())
    images = draw_images()
    assert not target.needs_fit and torch.equal(target(images), source(images))


def test_a_checkpoint_without_a_basis_leaves_the_target_to_be_fitted():
    target = PCATarget(4, num_components=10)
    target.load_state_dict(PCATarget(4, num_components=10).state_dict())
    assert target.needs_fit


def test_use_before_the_fit_is_an_error():
    with pytest.raises(RuntimeError, match='no basis yet: call `fit`.*FitTargetHook'):
        PCATarget(4, num_components=10)(draw_images())


@pytest.mark.parametrize('batches, count', [([torch.randn(2, 3, 8, 8)], 8), ([], 0)])
def test_too_few_patches_are_refused(batches, count):
    with pytest.raises(ValueError, match=f'{count} patches are too few to fit 10'):
        fitted(10, batches)


@pytest.mark.parametrize('number', [0, -1, 49])
def test_a_wrong_number_of_components_is_refused(number):
    with pytest.raises(ValueError, match=f'num_components={number} must lie between 1 and the 48'):
        PCATarget(4, num_components=number)


# tokens of the discrete autoencoder


@pytest.fixture(scope='module')
def dalle(tmp_path_factory):
    """mmpretrain's encoder at full width with random weights, and the file that holds them."""
    from mmpretrain.models.selfsup import DALLEEncoder

    torch.manual_seed(0)
    encoder, file = DALLEEncoder(), tmp_path_factory.mktemp('dalle') / 'dalle_encoder.pth'
    torch.save(encoder.state_dict(), file)
    yield encoder, file
    file.unlink()


@pytest.fixture(scope='module')
def tokenizer(dalle):
    target = DALLETarget(grid_size=(4, 6), weights=str(dalle[1]))
    target.set_image_statistics((123.0, 116.0, 103.0), (58.0, 57.0, 56.0))
    target.init_weights()  # as the runner does after the build; the loaded weights must stay
    return target


def normalised_photo(size):
    """Pixels in 0..1, and the same normalised."""
    pixels = torch.rand(2, 3, *size)
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) / 255 for v in ((123.0, 116.0, 103.0), (58.0, 57.0, 56.0)))
    return pixels, (pixels - mean) / std


@torch.no_grad()
def test_tokens_equal_those_of_mmpretrains_encoder(dalle, tokenizer):
    pixels, images = normalised_photo((32, 48))  # 8 pixels a token: no resize
    tokens = tokenizer(images)
    logits = dalle[0](0.1 + 0.8 * pixels)
    assert tokens.dtype == torch.int64 and tokens.shape == (2, 24)
    assert torch.equal(tokens, logits.flatten(2).argmax(1))
    assert len(tokens.unique()) > 1


def test_other_image_sizes_give_one_token_a_patch(tokenizer):
    tokens = tokenizer(normalised_photo((64, 96))[1])
    assert tokens.shape == (2, 24) and 0 <= tokens.min() and tokens.max() < tokenizer.out_dim == 8192


def test_the_tokenizer_stays_fixed(tokenizer):
    assert not tokenizer.train().encoder.training
    assert not any(param.requires_grad for param in tokenizer.parameters())


def test_tokens_paint_no_pixels(tokenizer):
    assert not tokenizer.paints_pixels and tokenizer.to_pixels(None, None) is None


def test_a_missing_file_names_the_key(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file '.*none.pth'.*model.target.weights"):
        DALLETarget((4, 4), weights=str(tmp_path / 'none.pth'))


@pytest.mark.parametrize('content', [dict(weight=torch.zeros(1)), [torch.zeros(1)], dict(epoch=1)], ids=str)
def test_another_file_is_refused_by_name(tmp_path, content):
    torch.save(content, tmp_path / 'other.pth')
    with pytest.raises(RuntimeError, match='other.pth is not a DALL-E encoder'):
        DALLETarget((4, 4), weights=str(tmp_path / 'other.pth'))


def test_tokens_want_three_channels(tokenizer):
    with pytest.raises(ValueError, match='3 channels'):
        tokenizer.set_image_statistics((1,), (1,))
