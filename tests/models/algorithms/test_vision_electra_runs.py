"""Vision ELECTRA from checkpoints and through training: what it starts from, what it leaves, that its players learn."""

import copy
import sys

import numpy as np
import pytest
import torch
from harness import FLOAT32, METHODS, ROOT, load_weights, make_config, read_curve, train_here
from safetensors.torch import load_file

import mmmim
from mmmim.checkpoint.encoder import EncoderMismatchError, fill_encoder, from_mmmim
from mmmim.checkpoint.generator import load_generator
from mmmim.models.backbones import DenseSwin, MaskedSwin, MaskedViT
from mmmim.positions import resize_pos_embed
from mmmim.registry import MODELS

pytestmark = pytest.mark.runs

VIT = METHODS['vision_electra']['generator']


def tiny(**changes):
    torch.manual_seed(0)
    cfg = copy.deepcopy(METHODS['vision_electra'])
    cfg['backbone'].pop('drop_path_rate', None)
    return MODELS.build({**cfg, **copy.deepcopy(changes)})


@pytest.fixture(scope='module')
def mae():
    """A pre-trained MAE's parameters, in our names."""
    torch.manual_seed(5)
    cfg = {key: METHODS['vision_electra'][key] for key in ('neck', 'target', 'head')}
    model = MODELS.build(dict(cfg, type='mmmim.MAE', backbone=VIT))
    return {name: value + 0.01 for name, value in model.state_dict().items()}


def save(state, path):
    torch.save(dict(state_dict=state), path)
    return str(path)


def part(state, prefix):
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def assert_equal(module, state):
    own = module.state_dict()
    assert own.keys() == state.keys() and all(torch.equal(own[name], value) for name, value in state.items())


# ------------------------------------------------------------------------------------------------ starting points


@pytest.mark.parametrize('scheme', ['mmmim', 'mae', 'mmpretrain'])
def test_generator_from_a_full_checkpoint(scheme, mae, tmp_path):
    path = save(from_mmmim(mae, scheme), tmp_path / 'mae.pth')
    model = tiny(pretrained_generator=path)
    discriminator = copy.deepcopy(model.backbone.state_dict())
    model.init_weights()
    assert_equal(model.generator, part(mae, 'backbone.'))
    assert_equal(model.neck, part(mae, 'neck.'))
    assert_equal(model.backbone, discriminator)  # its checkpoint is its own business


def test_generator_from_one_of_several_networks_of_a_file(mae, tmp_path):
    other = {name: value + 1 for name, value in mae.items()}
    torch.save(dict(teacher=mae, student=other), tmp_path / 'two.pth')
    for given, state in (
        (str(tmp_path / 'two.pth'), mae),  # the teacher goes first
        (dict(checkpoint=str(tmp_path / 'two.pth'), prefix='student.'), other),
    ):
        model = tiny(pretrained_generator=given)
        model.init_weights()
        assert_equal(model.generator, part(state, 'backbone.'))
        assert_equal(model.neck, part(state, 'neck.'))
    for wrong in (dict(prefix='student.'), dict(checkpoint='a.pth', part='student')):
        with pytest.raises(ValueError, match=r'model.pretrained_generator=.*dict\(checkpoint=PATH, prefix=NETWORK\)'):
            tiny(pretrained_generator=wrong)


def test_discriminator_from_its_own_checkpoint(mae, tmp_path):
    path = save(from_mmmim(mae, 'mae'), tmp_path / 'mae.pth')
    model = tiny(backbone=dict(VIT, init_cfg=dict(type='Pretrained', checkpoint=path)))
    generator = copy.deepcopy(model.generator.state_dict())
    model.init_weights()
    assert_equal(model.backbone, part(mae, 'backbone.'))
    assert_equal(model.generator, generator)


def test_both_from_simmims_swin(tmp_path):
    arch = dict(arch=dict(embed_dim=8, depths=(2, 2), num_heads=(1, 2)), img_size=16, patch_size=2, window_size=4)
    source, weight, bias = MaskedSwin(**arch, mask_tokens=True), torch.randn(48, 16, 1, 1), torch.randn(48)
    state = {f'encoder.{name}': value for name, value in source.state_dict().items()}
    path = save({**state, 'decoder.0.weight': weight, 'decoder.0.bias': bias}, tmp_path / 'simmim.pth')
    swin = dict(type='MaskedSwin', **arch)
    model = tiny(
        generator=dict(swin, mask_tokens=True),
        neck=dict(type='SimMIMDecoder'),
        pretrained_generator=path,
        backbone=dict(swin, init_cfg=dict(type='Pretrained', checkpoint=path)),
    )
    model.init_weights()
    assert_equal(model.generator, source.state_dict())
    assert_equal(model.neck, {'decoder.0.weight': weight, 'decoder.0.bias': bias})
    assert_equal(model.backbone, {k: v for k, v in source.state_dict().items() if k != 'mask_token'})


@pytest.mark.parametrize(
    'change, message',
    [
        ({'neck.': None}, 'an encoder without a decoder'),
        ({'neck.decoder_blocks.': None}, 'decoder_blocks.0.norm1.weight missing'),
        ({'neck.decoder_pred.weight': torch.zeros(3, 16)}, r'decoder_pred.weight \[3, 16\] against \[48, 16\]'),
        ({'neck.decoder_blocks.1.norm1.weight': torch.zeros(16)}, 'decoder_blocks.1.norm1.weight not in the model'),
        ({'backbone.blocks.1.': None}, 'a ViT of 1 blocks'),
    ],
)
def test_an_incomplete_generator_is_refused(change, message, mae, tmp_path):
    ((name, value),) = change.items()
    state = {key: old for key, old in mae.items() if not key.startswith(name)}
    path = save(state if value is None else {**state, name: value}, tmp_path / 'a.pth')
    model = tiny(pretrained_generator=path)
    before = copy.deepcopy(model.neck.state_dict())
    with pytest.raises(EncoderMismatchError, match=message):
        model.init_weights()
    assert_equal(model.neck, before)


def test_a_generator_for_another_image_size(mae, tmp_path):
    """Position tables of encoder and decoder are resized, as those of any encoder."""
    larger = dict(VIT, img_size=24)
    model = tiny(backbone=larger, generator=larger, pretrained_generator=save(mae, tmp_path / 'mae.pth'))
    model.init_weights()
    for name, table in (
        ('backbone.pos_embed', model.generator.pos_embed),
        ('neck.decoder_pos_embed', model.neck.decoder_pos_embed),
    ):
        torch.testing.assert_close(table.data, resize_pos_embed(mae[name], (4, 4), (6, 6), 1))
    assert torch.equal(model.neck.decoder_pred.weight, mae['neck.decoder_pred.weight'])


def test_load_from_starts_both_networks(mae, tmp_path, image_root):
    cfg = make_config(
        tmp_path / 'run', image_root, 'vision_electra', epochs=2, base_lr=0.0, load_from=save(mae, tmp_path / 'mae.pth')
    )
    cfg.train_cfg.max_iters = 1
    model = train_here(cfg).model
    for encoder in (model.backbone, model.generator):
        assert_equal(encoder, part(mae, 'backbone.'))
    assert model.generator.cls_token.data_ptr() != model.backbone.cls_token.data_ptr()
    assert_equal(model.neck, part(mae, 'neck.'))


def test_load_from_an_encoder_alone_is_refused(mae, tmp_path, image_root):
    state = {name: value for name, value in mae.items() if name.startswith('backbone.')}
    cfg = make_config(tmp_path / 'run', image_root, 'vision_electra', load_from=save(state, tmp_path / 'mae.pth'))
    with pytest.raises(EncoderMismatchError, match='does not fill the generator.*model.pretrained_generator'):
        train_here(cfg)


# --------------------------------------------------------------------------------------------- what training leaves


@pytest.fixture(scope='module')
def run(tmp_path_factory, image_root):
    """The work dir and the model of a short run."""
    folder = tmp_path_factory.mktemp('vision_electra') / 'run'
    return folder, train_here(make_config(folder, image_root, 'vision_electra', epochs=2)).model


def test_the_kept_encoder_is_the_discriminator(run):
    folder, model = run
    weights = load_weights(folder)
    kept = MaskedViT(**{key: value for key, value in VIT.items() if key != 'type'})
    fill_encoder(kept, dict(state_dict=weights))
    assert_equal(kept, model.backbone.state_dict())
    assert not torch.equal(kept.cls_token, model.generator.cls_token)
    assert {name.split('.')[0] for name in weights} == {'backbone', 'generator', 'neck', 'image_head', 'patch_head'}
    exported = load_file(folder / 'encoder.safetensors')
    assert all(torch.equal(value, exported[name]) for name, value in model.backbone.state_dict().items())
    encoder = mmmim.load_encoder(str(folder / 'encoder.safetensors'))
    images = torch.randn(2, 3, 16, 16)
    model.eval()
    torch.testing.assert_close(encoder(images), model.extract_features(images), **FLOAT32)


def test_its_checkpoint_starts_another_run(run, tmp_path, image_root):
    folder, model = run
    path = (folder / 'last_checkpoint').read_text()
    cfg = make_config(tmp_path / 'run', image_root, 'vision_electra', epochs=2, base_lr=0.0, load_from=path)
    cfg.train_cfg.max_iters = 1
    again = train_here(cfg).model
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    other = tiny()
    load_generator(other.generator, other.neck, path)  # the generator, not the encoder under `backbone.`
    assert_equal(other.generator, model.generator.state_dict())


def test_a_kept_swin_loads_elsewhere(tmp_path, image_root):
    swin = dict(
        type='MaskedSwin',
        arch=dict(embed_dim=8, depths=(2, 2), num_heads=(1, 2)),
        img_size=16,
        patch_size=2,
        window_size=4,
    )
    cfg = make_config(tmp_path / 'run', image_root, 'vision_electra', epochs=2)
    cfg.train_cfg.max_iters = 1
    cfg.merge_from_dict(
        dict(
            model=dict(
                backbone=dict(swin, _delete_=True),
                neck=dict(type='SimMIMDecoder', _delete_=True),
                generator=dict(swin, mask_tokens=True, _delete_=True),
            )
        )
    )
    model = train_here(cfg).model.eval()
    images = torch.randn(2, 3, 16, 16)
    encoder = mmmim.load_encoder(str(tmp_path / 'run/encoder.safetensors'))
    found = encoder.forward_features(images).flatten(1, 2)
    torch.testing.assert_close(found, model.backbone(images), **FLOAT32)
    dense = DenseSwin(swin['arch'], patch_size=2, window_size=4, out_norms=False, out_indices=(0, 1))
    fill_encoder(dense, torch.load((tmp_path / 'run/last_checkpoint').read_text(), weights_only=True))


def test_the_log_has_both_players(run):
    last = read_curve(run[0])[-1]
    accuracies = {f'{level}{kind}_accuracy' for level in ('', 'image_') for kind in ('original', 'generated')}
    assert set(last) >= {'loss', 'loss_recon', 'loss_image', 'loss_patch', 'loss_gan'} | accuracies
    parts = [last[name] for name in ('loss_recon', 'loss_image', 'loss_patch', 'loss_gan')]
    assert last['loss'] == pytest.approx(sum(parts), abs=1e-5)
    assert all(0 <= last[name] <= 1 for name in accuracies)


# --------------------------------------------------------------------------------------------------- that they learn


@pytest.fixture(scope='module')
def scenes():
    """Normalised drawn scenes, 128 to train on and 48 to test on."""
    sys.path.insert(0, str(ROOT / 'tools/datasets'))
    from scenes.scene import draw_scene

    pixels = np.stack([draw_scene(0, 0, i, 32).image for i in range(176)])
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 118) / 58
    return images[:128], images[128:]


def pair_for_scenes(**changes):
    vit = dict(VIT, img_size=32, patch_size=8)
    return tiny(
        backbone=vit, generator=vit, neck=dict(type='MAEDecoder', embed_dim=32, depth=1, num_heads=2), **changes
    )


def optimize(model, parts, images, steps, rate=4e-3):
    parameters = [p for name, p in model.named_parameters() if p.requires_grad and name.startswith(parts)]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.05)
    for step in range(steps):
        losses = model.loss(images[torch.randperm(len(images))[:32]])
        optimizer.zero_grad()
        model.parse_losses(losses)[0].backward()
        optimizer.step()


def test_discriminator_of_a_frozen_generator_tells_patches_apart(scenes):
    """75% of the patches of a generated image are generated: calling all of them that is right in so many cases."""
    model = pair_for_scenes(gan_weight=0)
    train, test = scenes
    optimize(model, ('generator.', 'neck.'), train, 60)
    generator = copy.deepcopy(model.generator.state_dict())
    optimize(model, ('backbone.', 'image_head.', 'patch_head.'), train, 120)
    assert_equal(model.generator, generator)
    model.eval()
    with torch.no_grad():
        mask = model.draw_mask(test)
        tokens = model.generator(test, mask)
        generated, is_original = model.show(test, model.decode(tokens, model.draw_latent(tokens)[0], mask), mask)
        of_generated, of_originals = model.judge(generated), model.judge(test)
    right = of_generated['patch'].argmax(-1) == is_original
    assert is_original.mean() == 0.25 and right.float().mean() > 0.9
    assert right[is_original.bool()].float().mean() > 0.75
    assert (of_originals['patch'].argmax(-1) == 1).float().mean() > 0.9
    assert (of_originals['image'].argmax(-1) == 1).float().mean() > 0.9
    assert (of_generated['image'].argmax(-1) == 0).float().mean() > 0.9


def test_the_gan_loss_makes_generated_patches_harder_to_tell(scenes):
    """With the discriminator held still, the generator learns to deceive it."""
    model = pair_for_scenes(image_head=None, gan_weight=1.0)
    train, test = scenes
    optimize(model, ('generator.', 'neck.'), train, 30)
    optimize(model, ('backbone.', 'patch_head.'), train, 60)
    accuracies = []
    for steps in (0, 40):
        optimize(model, ('generator.', 'neck.'), train, steps)
        with torch.no_grad():
            accuracies.append(model.loss(test)['generated_accuracy'].item())
    assert accuracies[0] > 0.9 and accuracies[1] < accuracies[0] - 0.3
