"""The pictures of a reconstruction: what stands in which column, and what a column admits to have used."""

import copy

import numpy as np
import pytest
import torch
from harness import METHODS
from mmengine.optim import OptimWrapperDict

from mmmim.engine.optim.autocast import AutocastOptimWrapper
from mmmim.evaluation.features import evaluating
from mmmim.models.masking import Masking
from mmmim.models.patches import patchify, unpatchify
from mmmim.models.targets import BaseTarget
from mmmim.registry import MODELS
from mmmim.structures import DataSample
from mmmim.visualization.images import GREY, to_tile
from mmmim.visualization.reconstruction import (
    FROM_ORIGINAL,
    FROM_VISIBLE,
    compare_reconstructions,
    paint_from_visible,
    reconstruction_panel,
)


def _model(in_chans=3, **changes):
    torch.manual_seed(0)
    cfg = copy.deepcopy(METHODS['mae'])
    cfg['backbone']['in_chans'] = in_chans
    cfg['data_preprocessor'] = dict(type='MIMDataPreprocessor', mean=[100.0] * in_chans, std=[50.0] * in_chans)
    return MODELS.build({**cfg, **changes})


def _batch(count=2, channels=3):
    images = torch.randint(0, 256, (count, channels, 16, 16), generator=torch.Generator().manual_seed(1))
    samples = [DataSample(metainfo=dict(img_path=f'/photos/cat/{i}.jpg', seed=i + 1)) for i in range(count)]
    return dict(inputs=images.byte(), data_samples=samples)


def _removed(panel, row=0):
    """[H, W] of the removed pixels, from the masked tile."""
    return (panel.tiles[row][1] == GREY).all(axis=2)


def test_the_columns_and_what_they_show():
    model, batch = _model(), _batch()
    panel = reconstruction_panel(model, batch, notes=dict(epoch=3))
    assert panel.columns == ['original', 'masked', FROM_ORIGINAL]
    assert panel.notes['uses_original_statistics'] is True and panel.notes['epoch'] == 3
    assert panel.notes['images'] == ['/photos/cat/0.jpg', '/photos/cat/1.jpg']
    for i, (original, masked, painted) in enumerate(panel.tiles):
        assert np.array_equal(original, batch['inputs'][i].permute(1, 2, 0).numpy())
        removed = _removed(panel, i)
        assert removed.sum() == 12 * 16  # 75% of 16 patches of 4 x 4
        assert np.array_equal(masked[~removed], original[~removed])
        assert np.array_equal(painted[~removed], original[~removed])
        assert (painted[removed] != original[removed]).mean() > 0.5
        assert panel.row_names[i].startswith(f'cat/{i}.jpg  loss {panel.notes["recon_loss"][i]:.3f}')


def test_the_mask_follows_from_the_seeds():
    model = _model()
    first, again = (reconstruction_panel(model, _batch()) for _ in range(2))
    assert all(np.array_equal(a, b) for r, s in zip(first.tiles, again.tiles) for a, b in zip(r, s))
    other = _batch()
    other['data_samples'][0].set_metainfo(dict(seed=99))
    other = reconstruction_panel(model, other)
    assert not np.array_equal(_removed(first, 0), _removed(other, 0))
    assert np.array_equal(_removed(first, 1), _removed(other, 1))


def test_raw_pixels_admit_to_nothing():
    panel = reconstruction_panel(
        _model(target=dict(type='PixelTarget', norm_pix=False)), _batch(), visible_statistics=True
    )
    assert panel.columns == ['original', 'masked', 'reconstruction']
    assert panel.notes['uses_original_statistics'] is False


class _Tokens(BaseTarget):
    """A target that cannot paint."""

    out_dim, discrete = 5, True

    def compute(self, images):
        return torch.zeros(len(images), 16, dtype=torch.int64)


def test_without_a_painter_there_is_no_reconstruction():
    panel = reconstruction_panel(_model(target=_Tokens(), head=dict(type='TokenHead')), _batch())
    assert panel.columns == ['original', 'masked']


def test_a_method_adds_its_own_pictures(monkeypatch):
    model = _model()
    predict = model.predict

    def with_sketch(inputs, samples):
        samples = predict(inputs, samples)
        for sample, image in zip(samples, inputs):
            sample.set_field(-image, 'sketch')
            sample.set_metainfo(dict(pictures=dict(sketch='what the sketcher drew')))
        return samples

    monkeypatch.setattr(model, 'predict', with_sketch)
    panel = reconstruction_panel(model, _batch())
    assert panel.columns == ['original', 'masked', FROM_ORIGINAL, 'what the sketcher drew']
    original, sketch = panel.tiles[0][0].astype(int), panel.tiles[0][3].astype(int)
    assert np.abs(sketch - (200 - original).clip(0, 255)).max() <= 1  # mirrored at the mean of 100


@pytest.mark.parametrize('channels', [1, 2, 3, 5])
def test_any_number_of_channels(channels):
    batch = _batch(channels=channels)
    panel = reconstruction_panel(_model(channels), batch)
    shown = batch['inputs'][0][:3] if channels >= 3 else batch['inputs'][0][:1].expand(3, -1, -1)
    assert np.array_equal(panel.tiles[0][0], shown.permute(1, 2, 0).numpy())


def test_of_two_views_the_first_is_shown():
    batch, other = _batch(), _batch()
    both = dict(inputs=[batch['inputs'], 255 - other['inputs']], data_samples=batch['data_samples'])
    assert np.array_equal(reconstruction_panel(_model(), both).tiles[1][0], batch['inputs'][1].permute(1, 2, 0).numpy())


def test_model_and_batch_are_left_as_they_were():
    model, batch = _model(), _batch()
    model.train()
    model.neck.eval()  # a part that is frozen
    before = {key: value.clone() for key, value in model.state_dict().items()}
    reconstruction_panel(model, batch)
    assert model.training and model.backbone.blocks[0].training and not model.neck.decoder_blocks[0].training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert 'reconstruction' not in batch['data_samples'][0]


def test_modes_come_back_after_an_error():
    model = _model().train()
    with pytest.raises(RuntimeError), evaluating(model):
        assert not model.training and not torch.is_grad_enabled()
        raise RuntimeError
    assert model.training and model.neck.training and torch.is_grad_enabled()


def test_precision_is_that_of_training_with_one_optimizer_or_two():
    model = _model()
    wrapper = AutocastOptimWrapper(dtype='bfloat16', optimizer=torch.optim.SGD(model.parameters(), 0.1))
    for wrappers in (wrapper, OptimWrapperDict(encoder=wrapper, decoder=wrapper)):
        with evaluating(model, wrappers):
            assert model.neck.decoder_pred(torch.zeros(1, 16)).dtype == torch.bfloat16
    with evaluating(model):
        assert model.neck.decoder_pred(torch.zeros(1, 16)).dtype == torch.float32


def test_pixels_come_back_and_are_clipped():
    preprocessor = _model().data_preprocessor
    image = torch.tensor([0.0, 127.0, 255.0])[:, None, None].expand(3, 2, 2)
    assert to_tile(preprocessor.normalize(image[None])[0], preprocessor)[0, 0].tolist() == [0, 127, 255]
    assert to_tile(torch.tensor([-9.0, 0.0, 9.0])[:, None, None], preprocessor)[0, 0].tolist() == [0, 100, 255]


def _visible_case(ratio=0.75, strategy='random'):
    torch.manual_seed(0)
    images, painted = torch.randn(2, 3, 16, 24), torch.randn(2, 3, 16, 24)
    masking = Masking(strategy, ratio, (4, 6))
    mask = masking(torch.rand(2, *masking.noise_shape)).mask
    return images, painted, mask


def _paint(images, painted, mask):
    return paint_from_visible(images, painted, mask, (4, 4), (4, 6))


def test_the_honest_picture_knows_nothing_of_removed_pixels():
    """Another picture under the holes: the same prediction must be painted alike."""
    images, painted, mask = _visible_case()
    removed = mask[..., None].bool()
    honest = patchify(_paint(images, painted, mask), (4, 4))
    elsewhere = patchify(images, (4, 4)), patchify(painted, (4, 4))
    # what the model says, normalised, is kept; the mean and variance under the holes change
    changed = [torch.where(removed, 3 + 2 * patches, patches) for patches in elsewhere]
    again = patchify(_paint(*(unpatchify(patches, (4, 4), (4, 6)) for patches in changed), mask), (4, 4))
    assert torch.allclose(honest, again, atol=1e-4)
    assert torch.equal(honest[~mask.bool()], elsewhere[0][~mask.bool()])


def test_the_honest_picture_takes_the_nearest_visible_statistics():
    """One visible column on the left and one on the right: each half takes after its own."""
    images, painted, _ = _visible_case()
    mask = torch.ones(2, 4, 6)
    mask[:, :, 0] = mask[:, :, 5] = 0
    images[..., :4] = images[..., :4] * 0.1 - 5
    images[..., 20:] = images[..., 20:] * 3 + 5
    honest = patchify(_paint(images, painted, mask.flatten(1)), (4, 4)).reshape(2, 4, 6, -1)
    means, stds = honest.mean(-1), honest.std(-1)
    assert (means[:, :, :3] < -4.5).all() and (means[:, :, 3:] > 4).all()
    assert (stds[:, :, :3] < 0.2).all() and (stds[:, :, 3:] > 2).all()


def test_the_honest_column_is_added_and_named():
    panel = reconstruction_panel(_model(), _batch(), visible_statistics=True)
    assert panel.columns == ['original', 'masked', FROM_ORIGINAL, FROM_VISIBLE]
    leaky, honest, removed = *panel.tiles[0][2:4], _removed(panel)
    assert (leaky[removed] != honest[removed]).any()
    assert np.array_equal(leaky[~removed], honest[~removed])


# ------------------------------------------------------------------------------------------------- several models


RAW = dict(type='PixelTarget', norm_pix=False)


def test_several_models_complete_the_same_images_under_the_same_masks():
    """Of different masking, target and normalisation; each as by itself under the first one's masks."""
    pair = {'a/1.pth': _model(), 'b/1.pth': _model(mask_ratio=0.5, masking='grid', target=RAW)}
    pair['b/1.pth'].data_preprocessor = MODELS.build(dict(type='MIMDataPreprocessor'))
    panel = compare_reconstructions(pair.items(), _batch(), notes=dict(seed=3))
    assert panel.columns == ['original', 'masked', 'reconstruction'] and len(panel.tiles) == 4
    assert panel.row_names == [
        "cat/0.jpg  a/1.pth  (original patch's mean and variance)",
        'cat/0.jpg  b/1.pth',
        "cat/1.jpg  a/1.pth  (original patch's mean and variance)",
        'cat/1.jpg  b/1.pth',
    ]
    assert panel.notes['models'] == ['a/1.pth', 'b/1.pth'] and panel.notes['mask_ratio'] == 0.75
    assert panel.notes['seed'] == 3 and [len(losses) for losses in panel.notes['recon_loss']] == [2, 2]
    for place, model in enumerate(pair.values()):  # the second has the first one's masking by now
        alone = reconstruction_panel(model, _batch())
        assert alone.notes['recon_loss'] == panel.notes['recon_loss'][place]
        for i, row in enumerate(alone.tiles):
            assert all(np.array_equal(one, other) for one, other in zip(row, panel.tiles[2 * i + place], strict=True))
    for first, second in ((0, 1), (2, 3)):
        assert np.array_equal(_removed(panel, first), _removed(panel, second))
        assert not np.array_equal(panel.tiles[first][2], panel.tiles[second][2])
    honest = compare_reconstructions(pair.items(), _batch(), visible_statistics=True)
    assert honest.row_names[0].endswith('(mean and variance of the nearest visible patches)')
    assert not np.array_equal(honest.tiles[0][2], panel.tiles[0][2])
    assert np.array_equal(honest.tiles[1][2], panel.tiles[1][2])


def test_models_that_cannot_have_the_same_masks_are_refused():
    larger, finer = copy.deepcopy(METHODS['mae']['backbone']), copy.deepcopy(METHODS['mae']['backbone'])
    larger['img_size'], finer['patch_size'] = 32, 2
    for backbone, words in (
        (larger, r'images of 32x32 pixels and 3 channels where a has images of 16x16 .* grid of 8x8 patches where'),
        (finer, r'b has masks on a grid of 8x8 patches where a has masks on a grid of 4x4 patches'),
    ):
        with pytest.raises(ValueError, match=words):
            compare_reconstructions([('a', _model()), ('b', _model(backbone=backbone))], _batch())
    blind = _model(target=dict(type='HOGTarget'))
    with pytest.raises(ValueError, match='b: MAE paints no pixels'):
        compare_reconstructions([('a', _model()), ('b', blind)], _batch())
