"""MAE: equality with the original code and Hugging Face's, its gradients, its masks, and that it learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from harness import transformers_model
from mae_harness import assert_equal, build, draw_images, draw_noise, samples_with_seeds
from torch import nn
from torch.nn import functional as F

from mmmim.checkpoint.encoder import from_mmmim, to_mmmim
from mmmim.models.patches import patchify, unpatchify
from mmmim.models.targets import BaseTarget, PixelTarget
from mmmim.registry import MODELS

FIXTURE = Path(__file__).parents[2] / 'data' / 'mae_official.npz'
# equality with other implementations


@pytest.fixture(scope='module', params=[torch.float32, torch.float64], ids=str)
def official(request):
    """Our model with the original's weights, its inputs, and what the original code computed."""
    arrays = {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(FIXTURE).items()}
    mae = build().to(request.param)
    mae.load_state_dict(to_mmmim({key[3:]: value for key, value in arrays.items() if key.startswith('sd/')}))
    inputs = arrays['images'].to(request.param), arrays['noise'].to(request.param)
    return mae, *inputs, {key: value.to(request.param) for key, value in arrays.items()}


def test_loss_and_gradients_equal_the_original(official):
    mae, images, noise, expected = official
    mae.zero_grad()
    loss = mae.loss(images, noise=noise)['loss']
    loss.backward()
    assert_equal(loss, expected['loss'])
    assert_equal(mae.backbone.patch_embed.proj.weight.grad, expected['grad_patch_embed'])
    assert_equal(mae.neck.decoder_pred.weight.grad, expected['grad_decoder_pred'])


@torch.no_grad()
def test_mask_latent_and_prediction_equal_the_original(official):
    mae, images, noise, expected = official
    mask = mae.draw_mask(images, noise=noise)
    latent = mae.backbone(images, mask)
    assert torch.equal(mask.mask.to(images.dtype), expected['mask'])
    assert_equal(latent, expected['latent'])
    assert_equal(mae.neck(latent, mask), expected['pred'])


@pytest.mark.parametrize('direction', ['from Hugging Face', 'to Hugging Face'])
def test_loss_and_logits_equal_hugging_faces(direction):
    config = transformers.ViTMAEConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=192,
        image_size=32,
        patch_size=8,
        decoder_hidden_size=32,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=4,
        layer_norm_eps=1e-6,
        decoder_intermediate_size=128,
        norm_pix_loss=True,
        mask_ratio=0.75,
    )
    torch.manual_seed(0)
    theirs, ours = transformers.ViTMAEForPreTraining(config), build()
    for param in (theirs if direction == 'from Hugging Face' else ours).parameters():
        param.data.normal_(std=0.1)  # also the biases and the positions
    if direction == 'from Hugging Face':
        ours.load_state_dict(to_mmmim(theirs.state_dict()))
    else:
        theirs = transformers_model(theirs, from_mmmim(ours.state_dict(), 'hf'))
    images, noise = draw_images(), draw_noise(ours)
    with torch.no_grad():
        expected = theirs(images, noise=noise)
        mask = ours.draw_mask(images, noise=noise)
        assert_equal(ours.neck(ours.backbone(images, mask), mask), expected.logits)
        assert_equal(ours.loss(images, noise=noise)['loss'], expected.loss)


@pytest.mark.parametrize('arch, million', [('base', 111.654), ('large', 329.238)])
def test_parameter_counts_are_the_published_ones(arch, million):
    cfg = dict(
        type='MAE',
        backbone=dict(type='MaskedViT', arch=arch),
        neck=dict(type='MAEDecoder'),
        target=dict(type='PixelTarget'),
        head=dict(type='ReconstructionHead'),
    )
    with torch.device('meta'):
        mae = MODELS.build(cfg)
    bare = ('cls_token', 'mask_token', 'pos_embed')  # the published counts leave these out
    count = sum(param.numel() for name, param in mae.named_parameters() if not name.endswith(bare))
    assert round(count / 1e6, 3) == million


# gradients and the loss

VARIANTS = {
    'default': {},
    'mask tokens in the encoder': dict(backbone=dict(mask_tokens=True)),
    'no class token': dict(backbone=dict(class_token=False)),
    'raw pixels on all': dict(target=dict(norm_pix=False), head=dict(loss_on='all')),
    'block': dict(masking='block'),
    'grid': dict(masking='grid'),
    'unit': dict(masking='unit', mask_options=dict(unit=2)),
    'rectangle of 5 channels': dict(
        backbone=dict(img_size=(32, 48), in_chans=5),
        data_preprocessor=dict(type='MIMDataPreprocessor', mean=[0] * 5, std=[1] * 5),
    ),
}


@pytest.mark.parametrize('name', VARIANTS)
def test_every_trainable_parameter_gets_a_gradient(name):
    mae = build(**VARIANTS[name])
    mae.loss(draw_images(4, mae.backbone.in_chans, mae.backbone.img_size))['loss'].backward()
    without = [
        key
        for key, param in mae.named_parameters()
        if param.requires_grad and (param.grad is None or not param.grad.abs().sum() > 0)
    ]
    assert not without
    assert [key for key, param in mae.named_parameters() if not param.requires_grad] == [
        'backbone.pos_embed',
        'neck.decoder_pos_embed',
    ]


@pytest.mark.parametrize('loss_on', ['masked', 'all'])
def test_only_a_loss_on_all_sees_predictions_of_visible_patches(loss_on):
    mae = build(head=dict(loss_on=loss_on))
    images, noise = draw_images(), draw_noise(mae)
    visible = mae.draw_mask(images, noise=noise).mask == 0
    before = mae.loss(images, noise=noise)['loss']
    mae.neck.register_forward_hook(lambda module, args, out: out + 5 * visible[..., None])
    assert torch.equal(mae.loss(images, noise=noise)['loss'], before) == (loss_on == 'masked')


def test_a_removed_patch_is_not_seen_by_the_prediction():
    mae = build().eval()
    images, noise = draw_images(1), draw_noise(mae, 1)
    mask = mae.draw_mask(images, noise=noise)
    patches = patchify(images, 8)
    other = unpatchify(torch.where(mask.mask[..., None].bool(), torch.randn_like(patches), patches), 8, (4, 4))
    with torch.no_grad():
        assert torch.equal(mae.neck(mae.backbone(images, mask), mask), mae.neck(mae.backbone(other, mask), mask))


def test_without_fill_in_the_decoder_takes_the_encoders_mask_tokens():
    mae = build(backbone=dict(mask_tokens=True))
    assert mae.neck.mask_token is None and 'neck.mask_token' not in mae.state_dict()
    mask = mae.draw_mask(draw_images())
    assert mae.neck(mae.backbone(draw_images(), mask), mask).shape == (4, 16, 192)


def test_half_precision_gives_a_close_loss():
    mae = build()
    images, noise = draw_images(), draw_noise(mae)
    exact = mae.loss(images, noise=noise)['loss']
    with torch.autocast('cpu', torch.bfloat16):
        coarse = mae.loss(images, noise=noise)['loss']
    assert coarse.dtype == torch.float32 and not torch.equal(coarse, exact)
    assert coarse.item() == pytest.approx(exact.item(), rel=0.02)


def test_tokens_are_learned_by_cross_entropy():
    class Tokens(BaseTarget):
        out_dim, discrete = 11, True

        def compute(self, images):
            return patchify(images, 8).argmax(-1) % 11

    mae = build(target=Tokens(), head=dict(type='TokenHead'))
    mae.neck.decoder_pred.weight.data.zero_()
    assert mae.loss(draw_images())['loss'].item() == pytest.approx(np.log(11), abs=1e-5)


# where the noise comes from


def test_the_mask_of_a_sample_is_the_same_anywhere_in_any_batch():
    mae = build()
    images, samples = draw_images(8), samples_with_seeds(8)
    masks = mae.draw_mask(images, samples).mask
    assert torch.equal(mae.draw_mask(images, samples[::-1]).mask, masks.flip(0))
    assert torch.equal(mae.draw_mask(images[:3], samples[2:5]).mask, masks[2:5])
    assert torch.equal(mae.draw_mask(images[:1], samples[6:7]).mask, masks[6:7])
    assert len(masks.unique(dim=0)) == 8


def test_seeds_make_the_loss_independent_of_the_generators():
    mae = build()
    losses = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        losses.append(mae.loss(draw_images(), samples_with_seeds(4))['loss'])
    assert torch.equal(*losses)


def test_without_seeds_every_call_draws_anew():
    mae = build()
    assert not torch.equal(mae.draw_mask(draw_images(8)).mask, mae.draw_mask(draw_images(8)).mask)


def test_noise_from_outside_wins_over_seeds():
    mae = build()
    noise = draw_noise(mae)
    mask = mae.draw_mask(draw_images(), samples_with_seeds(4), noise)
    assert torch.equal(mask.ids_keep, noise.argsort(1)[:, :4])


# learning


@pytest.mark.runs
def test_it_overfits_smooth_images_below_a_constant_predictor():
    ramp = torch.linspace(-1, 1, 32)
    angles = torch.arange(8) * 0.7
    waves = [torch.sin(2.5 * (a.cos() * ramp[:, None] + a.sin() * ramp[None]) + a) for a in angles]
    images = torch.stack(waves)[:, None].repeat(1, 3, 1, 1)
    mae = build()
    optimizer = torch.optim.AdamW(mae.parameters(), lr=3e-3, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=200)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(200):
        loss = mae.loss(images, noise=torch.rand(8, 16, generator=generator))['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    constant = F.mse_loss(torch.zeros(8, 16, 192), mae.target(images)).item()  # what a patch's mean gives
    assert constant == pytest.approx(1, abs=0.05)
    assert np.mean(losses[-20:]) < 0.5 * constant < losses[0]


@MODELS.register_module()
class CoarseTarget(PixelTarget):
    """Features on a grid of its own."""

    grid_size = (2, 2)


def test_a_target_on_another_grid_is_refused():
    with pytest.raises(ValueError, match='CoarseTarget has features on a grid of 2x2, and the .* is 4x4'):
        build(target=dict(type='CoarseTarget'))


def test_a_part_that_is_left_out_is_named():
    with pytest.raises(ValueError, match='MAE needs model.neck and model.head'):
        build(neck=None, head=None)


def test_a_decoder_without_mask_token_says_what_is_missing():
    mae = build(neck=dict(fill_in=False))
    with pytest.raises(ValueError, match='no mask token for the 12 patches'):
        mae.loss(draw_images())


def test_init_weights_keeps_a_loaded_encoder(tmp_path):
    source = build()
    nn.init.normal_(source.backbone.patch_embed.proj.weight)
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'mae.pth')
    mae = build(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'mae.pth'))))
    for param in mae.parameters():
        param.data.zero_()
    mae.init_weights()
    for key, value in source.backbone.state_dict().items():
        assert torch.equal(mae.backbone.state_dict()[key], value), key
