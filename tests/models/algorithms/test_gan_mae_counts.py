"""GAN-MAE's Table 4: parameters and operations of a forward pass, and the discriminator's passes in a step."""

import pytest
import torch
from config_harness import config
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from flops import FlopCounter, count_step
from mmmim.models.algorithms import MAE
from mmmim.registry import MODELS

BARE = ('cls_token', 'mask_token', 'pos_embed', 'decoder_pos_embed')  # the paper counts layers only


@pytest.fixture(scope='module', params=['b', 'l'])
def model(request):
    """ViT-B or ViT-L as configured, combined so that the discriminator passes once; its weights do not matter."""
    cfg = config(f'configs/gan_mae/vit-{request.param}_800e.py').model
    with pytest.MonkeyPatch.context() as patch:
        for name in ('xavier_uniform_', 'kaiming_uniform_', 'normal_', 'uniform_', 'trunc_normal_'):
            patch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)
        return request.param, MODELS.build({**cfg, 'scheme': 'combined'})


def parameters(model):
    return sum(p.numel() for name, p in model.named_parameters() if name.rpartition('.')[2] not in BARE)


def forward_macs(model):
    """Multiply-adds for one image, without the products of queries, keys and values, and with predictions of visible
    patches, as the paper counts. Nothing is computed."""
    model.neck.can_leave_out_visible = False
    with FakeTensorMode(allow_non_fake_inputs=True), FlopCounter(model) as counter:
        model(torch.zeros(1, 3, 224, 224), mode='loss', noise=torch.rand(1, 196))
    return sum(n for (_, phase, kind), n in counter.counts.items() if (phase, kind) == ('forward', 'linear')) / 2


def test_table_4(model):
    size, gan = model
    published = dict(b=((9.4e9, 111.654e6), (2.6e10, 111.656e6)), l=((2.0e10, 329.238e6), (8.0e10, 329.240e6)))[size]
    mae = MAE(backbone=gan.backbone, neck=gan.neck, target=gan.target, head=gan.head)
    for algorithm, (macs, count) in zip((mae, gan), published):
        assert parameters(algorithm) == pytest.approx(count, abs=500)
        assert forward_macs(algorithm) == pytest.approx(macs, rel=0.05)
    assert parameters(gan) - parameters(mae) == 2 * gan.backbone.embed_dim + 2


def passes_of(scheme, **options):
    """Forward and backward multiply-adds in linear layers of the shared encoder's blocks, in passes over one patch."""
    from gan_harness import batch_of, optimizers, tiny

    model = tiny(scheme=scheme, **options)
    flops = count_step(model, optimizers(model), batch_of(2), 2)
    one_token = 2 * 2 * 12 * 32**2  # two blocks of width 32: qkv 3, projection 1, MLP 4 + 4 times the width squared
    return [flops.by_part(2, phase, 'linear')['backbone.blocks'] / one_token for phase in ('forward', 'backward')]


@pytest.mark.parametrize(
    'scheme, options, forward, backward',
    [
        # the encoder on 5 tokens and the discriminator on 17; a backward pass has one product for the weights and one
        # for the inputs
        ('combined', {}, 5 + 17, 2 * (5 + 17)),
        ('two_stage', {}, 5 + 17, 2 * (5 + 17)),
        # once more in the generator's step, where a gradient is taken with respect to the image alone
        ('adversarial', {}, 5 + 17 + 17, 2 * (5 + 17) + 17),
        ('adversarial', dict(gamma=0), 5 + 17, 2 * (5 + 17)),
        # L_adv is not the negative of L_disc: a pass for each
        ('combined', dict(adv_loss='non_saturating'), 5 + 17 + 17, 2 * (5 + 17) + 17),
    ],
)
def test_passes_of_the_discriminator(scheme, options, forward, backward):
    assert passes_of(scheme, **options) == [forward, backward]
