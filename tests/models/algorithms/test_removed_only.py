"""A decoder that leaves out visible patches: the same loss and gradients for less work."""

import pytest
import torch
from mae_harness import build, draw_images, draw_noise
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmmim.models.masking import take
from mmmim.models.necks import MAEDecoder

VARIANTS = {
    'default': {},
    'one block': dict(neck=dict(depth=1)),
    'no class token': dict(backbone=dict(class_token=False)),
    'encoder with mask tokens': dict(backbone=dict(mask_tokens=True)),
    'blocks of patches, 40%': dict(masking='block', mask_ratio=0.4),
    'units': dict(masking='unit', mask_options=dict(unit=2)),
    'raw pixels, l1': dict(
        target=dict(type='PixelTarget', norm_pix=False), head=dict(type='ReconstructionHead', norm='l1')
    ),
    'sums of a patch': dict(head=dict(patch_reduction='sum')),
}


def step(mae, images, noise, whole=False):
    """The loss, and all gradients; ``whole``: every patch is predicted."""
    mae.zero_grad()
    mae.neck.can_leave_out_visible = not whole
    loss = mae.loss(images, noise=noise)['loss']
    loss.backward()
    return loss.detach(), {key: p.grad.clone() for key, p in mae.named_parameters() if p.requires_grad}


@pytest.mark.parametrize('name', VARIANTS)
def test_loss_and_every_gradient_are_those_of_all_patches(name):
    mae = build(**VARIANTS[name]).double()
    for param in mae.parameters():
        param.data.add_(0.1 * torch.randn(param.shape, generator=torch.Generator().manual_seed(3)))
    images, noise = draw_images().double(), draw_noise(mae)
    loss, grads = step(mae, images, noise)
    expected, all_grads = step(mae, images, noise, whole=True)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    for key, grad in all_grads.items():
        torch.testing.assert_close(grads[key], grad, rtol=1e-9, atol=1e-11, msg=key)


@torch.no_grad()
@pytest.mark.parametrize('name', ['default', 'no class token', 'units'])
def test_predictions_of_removed_patches_are_the_same_and_others_are_zeros(name):
    mae = build(**VARIANTS[name]).double().eval()
    images = draw_images().double()
    mask = mae.draw_mask(images, noise=draw_noise(mae))
    tokens = mae.backbone(images, mask)
    every, some = mae.neck(tokens, mask), mae.neck(tokens, mask, removed_only=True)
    assert some.shape == every.shape
    torch.testing.assert_close(take(some, mask.ids_removed), take(every, mask.ids_removed), rtol=0, atol=1e-12)
    assert not take(some, mask.ids_keep).any() and take(every, mask.ids_keep).all()


def test_the_work_that_is_left_out():
    """The MLP of the last block and the prediction, of the visible patches and of the class token."""
    mae = build()
    images = draw_images()
    mask = mae.draw_mask(images, noise=draw_noise(mae))
    tokens = mae.backbone(images, mask)
    counts = []
    for removed_only in (False, True):
        with FlopCounterMode(display=False) as counter:
            mae.neck(tokens, mask, removed_only=removed_only)
        counts.append(counter.get_total_flops())
    width, out_dim = 32, 8 * 8 * 3
    visible, products = 4 * 4, 2 * width  # 4 images with 4 of 16 patches
    assert counts[0] - counts[1] == (visible + 4) * products * 2 * 4 * width + visible * products * out_dim


@pytest.mark.parametrize(
    'options, calls', [(dict(), [True]), (dict(head=dict(loss_on='all')), [False])], ids=['masked', 'all']
)
def test_only_where_the_loss_counts_removed_patches_alone(options, calls):
    mae, seen = build(**options), []
    mae.neck.register_forward_pre_hook(lambda module, args: seen.append(args[2:] == (True,)))
    images, noise = draw_images(), draw_noise(mae)
    mae.loss(images, noise=noise)
    assert seen == calls
    mae.predict(images, noise=noise)  # every patch can be looked at
    assert seen == [*calls, False]


def test_a_neck_that_does_not_know_of_it_predicts_all():
    class Plain(nn.Module):
        def __init__(self, neck):
            super().__init__()
            self.neck = neck

        def forward(self, tokens, mask):
            return self.neck(tokens, mask)

    mae = build().double()
    images, noise = draw_images().double(), draw_noise(mae)
    expected = mae.loss(images, noise=noise)['loss']
    mae.neck = Plain(mae.neck)
    torch.testing.assert_close(mae.loss(images, noise=noise)['loss'], expected, rtol=1e-12, atol=0)


def test_a_subclass_with_a_forward_of_its_own_is_asked_only_if_it_says_so():
    class Halved(MAEDecoder):
        def forward(self, tokens, mask):
            return super().forward(tokens, mask) / 2

    class Named(MAEDecoder):
        pass

    class Asked(MAEDecoder):
        can_leave_out_visible = True

        def forward(self, tokens, mask, removed_only=False):
            return super().forward(tokens, mask, removed_only) / 2

    assert [cls.can_leave_out_visible for cls in (MAEDecoder, Named, Halved, Asked)] == [True, True, False, True]
    mae = build().double()
    images, noise = draw_images().double(), draw_noise(mae)
    losses = []
    for cls in (Halved, Asked):
        mae.neck.__class__ = cls
        losses.append(mae.loss(images, noise=noise)['loss'])
    torch.testing.assert_close(*losses, rtol=1e-12, atol=0)


def test_a_head_that_does_not_say_what_it_counts_gets_all_predictions():
    class Squares(nn.Module):
        def loss(self, prediction, target, mask):
            return (prediction - target).square().mean()

    mae = build()
    images, noise = draw_images(), draw_noise(mae)
    mask = mae.draw_mask(images, noise=noise)
    expected = (mae.neck(mae.backbone(images, mask), mask) - mae.target(images)).square().mean()
    mae.head = Squares()
    assert torch.equal(mae.loss(images, noise=noise)['loss'], expected)


def test_a_step_whose_neck_is_checkpointed():
    plain, checkpointed = build(), build()
    turn_on_activation_checkpointing(checkpointed, ['neck'])
    images, noise = draw_images(), draw_noise(plain)
    (loss, grads), (expected, theirs) = step(checkpointed, images, noise), step(plain, images, noise)
    assert torch.equal(loss, expected)
    for key, grad in theirs.items():
        torch.testing.assert_close(grads[key], grad, rtol=1e-5, atol=1e-7, msg=key)


def test_a_compiled_decoder():
    """The same with a compiler's front end, for batches of different masks in turn."""
    torch._dynamo.reset()
    mae, compiled = build(), build()
    compiled.load_state_dict(mae.state_dict())
    for block in compiled.neck.decoder_blocks:
        block.compile(backend='aot_eager')
    images, noise = draw_images(), draw_noise(mae)
    for ratio in (0.75, 0.5):
        for model in (mae, compiled):
            model.masking.num_keep = int(16 * (1 - ratio))
        (loss, grads), (expected, theirs) = step(compiled, images, noise), step(mae, images, noise)
        torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
        for key, grad in theirs.items():
            torch.testing.assert_close(grads[key], grad, rtol=1e-4, atol=1e-6, msg=key)
