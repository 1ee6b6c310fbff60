"""Targets that are computed from the pixels: blurred ones, HOG, edges, and several at once."""

import numpy as np
import pytest
import torch
from harness import FLOAT32
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2gray
from skimage.feature import canny, hog
from torch.nn import functional as F

from mmmim.models.algorithms import MAE
from mmmim.models.layers.blur import blur_matrix, gaussian_blur
from mmmim.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from mmmim.models.targets import BlurredPixelTarget, CannyTarget, CombinedTarget, HOGTarget


@pytest.fixture(scope='module')
def photos(photographs):
    """Four real photographs of 224 x 160 pixels: ``[4, 3, 224, 160]``, 0..255, float64."""
    paths = sorted((photographs / 'clothing').rglob('*.jpg'))
    if not paths:
        pytest.skip(f'no photographs in {photographs}/clothing')
    pictures = [np.array(Image.open(path).convert('RGB').resize((160, 224))) for path in paths[:: len(paths) // 4][:4]]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).double()


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def drawn(batch=2, size=(32, 48)):
    coarse = torch.randn(batch, 3, size[0] // 4, size[1] // 4, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, size, mode='bicubic')


# ------------------------------------------------------------------------------------------------- blurred pixels


@pytest.mark.parametrize('sigma', [1.0, 5.0, 10.0, 20.0])
def test_blur_equals_scipys(sigma, double):
    images = torch.rand(2, 3, 64, 96)
    target = BlurredPixelTarget((8, 12), 8, sigma=sigma, reference_size=64)
    expected = gaussian_filter(images.numpy(), (0, 0, sigma, sigma), mode='nearest')
    np.testing.assert_allclose(target.blur(images).numpy(), expected, atol=1e-12)
    torch.testing.assert_close(target.blur(images), gaussian_blur(images, torch.full((2,), sigma), sigma))


def test_sigma_scales_with_the_image_and_the_patches_paint():
    target = BlurredPixelTarget((8, 12), 8, sigma=10.0)
    assert target.sigma == pytest.approx(10 * 64 / 224)
    images = drawn(size=(64, 96))
    patches = target(images)
    assert torch.equal(target.to_pixels(patches, images), patches) and not target.uses_original_statistics
    assert 0.05 < patches.var() / images.var() < 0.9


def test_no_blur_is_the_image():
    images = drawn()
    assert torch.equal(BlurredPixelTarget((4, 6), 8, sigma=None).blur(images), images)


def test_rows_of_a_blur_sum_to_one_at_the_border_too():
    for border in ('continue', 'leave_out'):
        matrix = blur_matrix(20, 4.0, border)
        torch.testing.assert_close(matrix.sum(1), torch.ones(20).double())
    with pytest.raises(ValueError, match="border='x'"):
        blur_matrix(20, 4.0, 'x')


# ------------------------------------------------------------------------------------------------------------ HOG


def test_hog_equals_scikit_images_on_photographs(photos, double):
    target = HOGTarget(16, gradient='central', window=0)
    expected = np.stack(
        [
            [hog(channel.numpy(), 9, (8, 8), (1, 1), 'L2', feature_vector=False)[:, :, 0, 0] for channel in photo]
            for photo in photos
        ]
    )  # [B, C, h, w, 9]
    np.testing.assert_allclose(target.histograms(photos).permute(0, 1, 3, 4, 2).numpy(), expected, atol=1e-6)
    # and each patch gets its own four cells
    patch = target(photos)[0, 11].reshape(3, 9, 2, 2)  # second row of 10, second patch
    np.testing.assert_allclose(patch.permute(0, 2, 3, 1).numpy(), expected[0, :, 2:4, 2:4], atol=1e-6)


def test_hog_equals_maskfeats():
    selfsup = pytest.importorskip('mmpretrain.models.selfsup', exc_type=ImportError)
    images = drawn(size=(224, 224))
    torch.testing.assert_close(HOGTarget(16)(images), selfsup.HOGGenerator()(images), atol=1e-6, rtol=0)


@pytest.mark.parametrize('patch, cell, dim', [(8, None, 108), (4, 4, 27), ((8, 16), (4, 4), 216)])
def test_hog_of_any_patch(patch, cell, dim):
    target = HOGTarget(patch, cell_size=cell)
    features = target(drawn())
    height, width = target.patch_size
    assert features.shape == (2, 32 // height * (48 // width), dim) and target.out_dim == dim
    lengths = features.unflatten(2, (3, 9, -1)).norm(dim=3)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), **FLOAT32)


def test_hog_does_not_see_contrast_and_flat_images_have_none():
    images = drawn()
    torch.testing.assert_close(HOGTarget(8)(3 * images + 1), HOGTarget(8)(images), atol=1e-4, rtol=0)
    assert not HOGTarget(8)(torch.ones(1, 3, 16, 16)).any()


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(cell_size=3), 'do not divide a patch of 16x16'),
        (dict(gradient='x'), "gradient='x'"),
        (dict(num_bins=0), 'num_bins=0'),
    ],
)
def test_hog_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        HOGTarget(16, **options)


# ---------------------------------------------------------------------------------------------------------- Canny


@pytest.mark.parametrize('options', [{}, dict(sigma=2.0), dict(low=0.05, high=0.3)], ids=str)
def test_edges_equal_scikit_images_on_photographs(photos, double, options):
    target = CannyTarget((14, 10), reach=200, **options)
    gray = [rgb2gray(photo.permute(1, 2, 0).numpy() / 255) for photo in photos]
    names = dict(low='low_threshold', high='high_threshold')
    expected = np.stack([canny(g, **{names.get(key, key): v for key, v in options.items()}) for g in gray])
    edges = target.edges(torch.from_numpy(np.stack(gray))[:, None])[:, 0].numpy()
    assert expected.mean() > 0.005 and (edges == expected).all()


def test_edges_of_normalised_images_in_patches(photos, double):
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    target = CannyTarget((14, 10))
    target.set_image_statistics(IMAGENET_MEAN, IMAGENET_STD)
    patches = target((photos - mean) / std)
    assert patches.shape == (4, 140, 256) and set(patches.unique().tolist()) == {0.0, 1.0}
    expected = canny(rgb2gray(photos[0].permute(1, 2, 0).numpy() / 255))
    assert (patches[0, 0].reshape(16, 16).bool().numpy() != expected[:16, :16]).mean() < 0.01


def test_the_reach_bounds_how_far_weak_edges_are_followed():
    """An edge that is strong at its left end and weak for the rest."""
    image = torch.zeros(1, 1, 32, 64)
    image[:, :, 16:] = torch.linspace(0.12, 0.045, 64)
    lengths = [CannyTarget((2, 4), reach=reach).edges(image).any(2).sum().item() for reach in (0, 10, 60)]
    assert lengths[1] == lengths[0] + 10 and lengths[2] > lengths[1]


@pytest.mark.parametrize('options', [dict(sigma=0), dict(low=0.3), dict(reach=-1)], ids=str)
def test_canny_that_cannot_be(options):
    with pytest.raises(ValueError, match='must be above 0'):
        CannyTarget((2, 2), **options)


# ------------------------------------------------------------------------------------- several, and in other methods


def test_several_targets_stand_one_after_another():
    combined = CombinedTarget([dict(type='HOGTarget'), dict(type='PixelTarget')], 8, 3, (4, 6))
    images = drawn()
    hog_part, pixels = combined(images).split(combined.out_dims, dim=-1)
    assert combined.out_dims == (108, 192) and combined.out_dim == 300
    assert torch.equal(hog_part, HOGTarget(8)(images))
    torch.testing.assert_close(pixels.mean(-1), torch.zeros(2, 24), **FLOAT32)


@pytest.mark.parametrize(
    'target',
    [
        dict(type='HOGTarget'),
        dict(type='CannyTarget'),
        dict(type='BlurredPixelTarget'),
        dict(type='MomentumTarget'),
        dict(type='CombinedTarget', targets=[dict(type='HOGTarget'), dict(type='MomentumTarget')]),
    ],
    ids=str,
)
@pytest.mark.parametrize('head', ['ReconstructionHead', 'FeatureHead'])
def test_mae_predicts_them_too(target, head):
    backbone = dict(type='MaskedViT', arch=dict(embed_dim=32, depth=1, num_heads=2), img_size=32, patch_size=8)
    model = MAE(
        backbone=backbone,
        neck=dict(type='MAEDecoder', embed_dim=16, depth=1, num_heads=2),
        target=target,
        head=dict(type=head),
    )
    model.loss(drawn(size=(32, 32)))['loss'].backward()
    assert model.neck.decoder_pred.weight.grad.any() and model.backbone.patch_embed.proj.weight.grad.any()
