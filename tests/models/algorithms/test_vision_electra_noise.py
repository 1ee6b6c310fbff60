"""Vision ELECTRA's latent noise: how it is drawn, where it goes, and the completions that it makes differ."""

import copy

import pytest
import torch
from harness import FLOAT32, METHODS

from mmmim import randomness
from mmmim.models.noise import draw_normal
from mmmim.models.patches import unpatchify
from mmmim.registry import MODELS
from mmmim.structures import DataSample
from mmmim.visualization.images import GREY
from mmmim.visualization.reconstruction import reconstruction_panel

OTHER_VIT = dict(METHODS['vision_electra']['generator'], patch_size=2)


def tiny(**changes):
    torch.manual_seed(0)
    cfg = copy.deepcopy(METHODS['vision_electra'])
    cfg['backbone'].pop('drop_path_rate', None)
    return MODELS.build({**cfg, **copy.deepcopy(changes)})


def images(batch=4, size=16, seed=0):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


def samples(batch=4, first=0):
    return [DataSample(metainfo=dict(seed=first + i)) for i in range(batch)]


def noises(model, batch=4):
    """The mask's and the latent space's, from outside."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.rand(batch, *model.masking.noise_shape, generator=generator)
    visible = model.masking.num_keep + model.generator.num_prefix_tokens
    return dict(noise=noise, latent_noise=torch.randn(batch, visible, model.generator.embed_dim, generator=generator))


def test_normal_noise_is_normal_and_a_function_of_the_sample():
    batch, seeds = torch.zeros(400, 1), samples(400)
    noise = draw_normal(batch, seeds, (7, 9), draws=2)
    assert noise.shape == (2, 400, 7, 9)
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.01 and 4 < noise.abs().max() < 6
    assert abs((noise**4).mean() - 3) < 0.1
    assert abs(torch.corrcoef(noise.flatten(1))[0, 1]) < 0.02
    again = draw_normal(batch[:5], seeds[3:8], (7, 9))
    assert torch.equal(again[0], noise[0, 3:8])  # whatever the batch and the number of draws
    other = draw_normal(batch, seeds, (7, 9), stream=randomness.MASK)
    assert abs(torch.corrcoef(torch.stack([noise[0].flatten(), other.flatten()]))[0, 1]) < 0.02


@pytest.mark.parametrize('noise_per, tokens', [('token', 5), ('image', 1)])
def test_noise_in_the_latent_space(noise_per, tokens):
    model, seen = tiny(noise_per=noise_per, noise_scale=2.0), []
    model.neck.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model.loss(images(), samples())
    mask = model.draw_mask(images(), samples())
    added = (seen[0] - model.generator(images(), mask)) / 2
    drawn = draw_normal(images(), samples(), (tokens, 32))[0]
    torch.testing.assert_close(added, drawn.expand(-1, 5, -1), **FLOAT32)


@pytest.mark.parametrize('scale', [0.0, 0.5])
def test_losses_depend_on_the_seeds_alone(scale):
    model = tiny(noise_scale=scale)
    noise = noises(model)['noise']
    first, same, other = (
        model.loss(images(), samples(first=seed), noise=noise)['loss_recon'].item() for seed in (0, 0, 100)
    )
    assert first == same and (first == other) == (scale == 0)


def test_completions_under_several_draws():
    model = tiny(noise_scale=1.0).eval()
    one, several = model.predict(images(), samples()), model.completions(images(), samples(), draws=3)
    for first, sample, image in zip(one, several, images()):
        assert torch.equal(first.reconstruction, sample.reconstruction) and first.recon_loss == sample.recon_loss
        assert 'pictures' not in first or not first.pictures
        assert list(sample.pictures) == ['completion_2', 'completion_3']
        removed = unpatchify(sample.mask[None, :, None].expand(-1, -1, 48), 4, (4, 4))[0].bool()
        painted = [sample.reconstruction, sample.completion_2, sample.completion_3]
        for i, picture in enumerate(painted):
            assert torch.equal(picture[~removed], image[~removed])
            assert not any(torch.equal(picture[removed], other[removed]) for other in painted[:i])
    quiet = tiny(noise_scale=0.0).eval().completions(images(), samples(), draws=3)
    assert not quiet[0].pictures and 'completion_2' not in quiet[0]


@pytest.mark.parametrize('change', [{}, dict(backbone=OTHER_VIT)], ids=['equal-patches', 'finer-patches'])
def test_completions_are_columns_of_the_panel(change, monkeypatch):
    model = tiny(noise_scale=1.0, **change)
    monkeypatch.setattr(model, 'predict', model.completions)
    batch = dict(inputs=(40 * images() + 128).clamp(0, 255).byte(), data_samples=samples())
    panel = reconstruction_panel(model, batch)
    assert panel.columns == ['original', 'masked', 'reconstruction', 'noise draw 2', 'noise draw 3', 'noise draw 4']
    for tiles in panel.tiles:
        grey = (tiles[1] == GREY).all(axis=2)
        assert grey.mean() == 0.75
        assert all((tile[~grey] == tiles[0][~grey]).all() for tile in tiles[2:])
        assert all((tile[grey] != tiles[2][grey]).any() for tile in tiles[3:])


def test_predict_with_a_given_noise():
    model = tiny(noise_scale=1.0).eval()
    given = noises(model)
    sample = model.predict(images(), samples(), **given)[1]
    prediction = model.neck(
        model.generator(images(), model.masking(given['noise'])) + given['latent_noise'], model.masking(given['noise'])
    )
    painted = unpatchify(prediction, 4, (4, 4))[1]
    removed = unpatchify(sample.mask[None, :, None].expand(-1, -1, 48), 4, (4, 4))[0].bool()
    assert torch.equal(sample.reconstruction[removed], painted[removed])
    draws = torch.stack([given['latent_noise'], -given['latent_noise']])
    other = model.completions(images(), samples(), given['noise'], latent_noise=draws)[1]
    assert torch.equal(other.reconstruction, sample.reconstruction) and 'completion_2' in other
