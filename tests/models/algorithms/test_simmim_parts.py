"""SimMIM's encoders and decoder: mmpretrain's numbers with the same weights, and what does not fit."""

import pytest
import torch
from harness import FLOAT32
from timm.layers import resize_rel_pos_bias_table
from timm.models.swin_transformer import SwinTransformer

from mmmim.checkpoint.encoder import fill_encoder, to_mmmim
from mmmim.models.backbones import DenseSwin, MaskedRelativeViT, MaskedSwin, MaskedViT
from mmmim.models.backbones.swin import check_windows
from mmmim.models.heads import ReconstructionHead
from mmmim.models.masking import Masking
from mmmim.models.necks import SimMIMDecoder
from mmmim.models.patches import patchify
from mmmim.models.targets import PixelTarget
from mmmim.registry import MODELS

ARCH = dict(embed_dim=8, depths=(2, 2, 2), num_heads=(1, 2, 4))  # maps of 16, 8 and 4 positions at 64 pixels
THEIRS = dict(embed_dims=8, depths=[2, 2, 2], num_heads=[1, 2, 4])


def draw(batch=2, size=64):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(2))


def scatter(model):
    """Random values everywhere, also where the initialisation is constant."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.2 * torch.randn(p.shape, generator=generator) + (1 if p.ndim == 1 and p[0] == 1 else 0))
    return model.eval()


def test_a_swin_for_pre_training_starts_as_maes_vit():
    """Xavier (CrossMAE, appendix A.3), and tables of positions of deviation 0.02."""
    torch.manual_seed(0)
    model = MaskedSwin(dict(embed_dim=32, depths=(2, 2), num_heads=(1, 2)), 32, window_size=4, mask_tokens=True)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            bound = (6 / sum(module.weight.shape)) ** 0.5
            assert 0.9 * bound < module.weight.abs().max() <= bound, name
            assert module.bias is None or not module.bias.any()
    projection = model.patch_embed.proj.weight
    assert 0.9 * (6 / (32 + 48)) ** 0.5 < projection.abs().max() <= (6 / (32 + 48)) ** 0.5
    table = model.layers[0].blocks[0].attn.relative_position_bias_table
    assert 0.01 < table.std() < 0.03 and model.mask_token.std() > 0.01


@pytest.mark.parametrize(
    'module, build',
    [
        ('timm.models.swin_transformer', lambda: DenseSwin(ARCH, window_size=2, out_indices=[2])),
        ('timm.models.beit', lambda: MaskedRelativeViT(arch=dict(embed_dim=8, depth=1, num_heads=2), img_size=32)),
    ],
)
def test_no_weight_starts_100_deviations_away(module, build, monkeypatch):
    monkeypatch.setattr(f'{module}.trunc_normal_', lambda weight, std=None: torch.nn.init.constant_(weight, -2.0))
    weights = {name: p for name, p in build().named_parameters() if p.ndim == 2}
    assert weights and all(p.abs().max() <= 0.1 + 1e-6 for p in weights.values())


def masked(grid, ratio=0.5):
    masking = Masking('random', ratio, grid)
    return masking(torch.rand(2, masking.num_patches, generator=torch.Generator().manual_seed(1)))


def theirs_and_ours(backbone, decoder, ours, patch):
    """mmpretrain's parts in one module, and ours with their weights, loaded by the names of a whole checkpoint."""
    theirs = scatter(torch.nn.ModuleDict(dict(backbone=backbone, neck=decoder)))
    state = to_mmmim(theirs.state_dict())
    fill_encoder(ours, dict(state_dict=theirs.state_dict()))
    neck = SimMIMDecoder(ours.embed_dim, patch**2 * 3, patch, ours.num_prefix_tokens)
    neck.load_state_dict({key.removeprefix('neck.'): value for key, value in state.items() if key.startswith('neck.')})
    return theirs, ours.eval(), neck


@torch.no_grad()
def test_swin_prediction_and_loss_are_mmpretrains():
    from mmpretrain.models import SimMIMHead, SimMIMLinearDecoder
    from mmpretrain.models.selfsup.simmim import SimMIMSwinTransformer

    swin = SimMIMSwinTransformer(
        THEIRS, 64, out_indices=(2,), drop_path_rate=0.0, stage_cfgs=dict(block_cfgs=dict(window_size=4))
    )
    theirs, backbone, neck = theirs_and_ours(
        swin, SimMIMLinearDecoder(32, 16), MaskedSwin(ARCH, 64, window_size=4, mask_tokens=True), 16
    )
    images, mask = draw(), masked((4, 4))
    fine = mask.mask.reshape(2, 4, 4).repeat_interleave(4, 1).repeat_interleave(4, 2)  # for patches of 4 pixels
    expected = theirs['neck'](theirs['backbone'](images, fine)[0])
    prediction = neck(backbone(images, mask), mask)
    assert expected.std() > 0.1
    torch.testing.assert_close(prediction, patchify(expected, 16), **FLOAT32)
    with torch.no_grad():
        loss = SimMIMHead(4, dict(type='mmpretrain.PixelReconstructionLoss', criterion='L1', channel=3)).loss(
            expected, images, fine
        )
    target = PixelTarget(16, 3, norm_pix=False)(images)
    torch.testing.assert_close(ReconstructionHead(norm='l1').loss(prediction, target, mask), loss, **FLOAT32)


@pytest.mark.parametrize('kind', ['relative', 'absolute'])
@torch.no_grad()
def test_vit_prediction_is_mmpretrains(kind):
    """SimMIM's ViT is BEiT's pre-training ViT; with a position table and no layer scale it is MAE's, mask tokens in."""
    from mmpretrain.models import SimMIMLinearDecoder
    from mmpretrain.models.selfsup.beit import BEiTPretrainViT

    relative = kind == 'relative'
    arch = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=64)
    vit = BEiTPretrainViT(
        arch,
        16,
        4,
        use_abs_pos_emb=not relative,
        use_shared_rel_pos_bias=relative,
        layer_scale_init_value=0.1 if relative else 0,
    )
    ours = dict(arch=dict(embed_dim=16, depth=2, num_heads=2), img_size=16, patch_size=4)
    ours = MaskedRelativeViT(**ours) if relative else MaskedViT(**ours, mask_tokens=True)
    theirs, backbone, neck = theirs_and_ours(vit, SimMIMLinearDecoder(16, 4), ours, 4)
    images, mask = draw(size=16), masked((4, 4))
    tokens = theirs['backbone'](images, mask.mask.reshape(2, 4, 4))[0]
    expected = theirs['neck'](tokens[:, 1:].transpose(1, 2).unflatten(2, (4, 4)))
    torch.testing.assert_close(backbone(images, mask), tokens, **FLOAT32)
    torch.testing.assert_close(neck(backbone(images, mask), mask), patchify(expected, 4), **FLOAT32)


@torch.no_grad()
def test_swin_without_a_mask_is_timms():
    timms = scatter(SwinTransformer(64, num_classes=0, window_size=4, drop_path_rate=0.0, **ARCH))
    swin = MaskedSwin(ARCH, 64, window_size=4).eval()
    fill_encoder(swin, dict(model=timms.state_dict()))
    torch.testing.assert_close(swin(draw()), timms.forward_features(draw()).flatten(1, 2), **FLOAT32)
    assert (swin.embed_dim, swin.grid_size, swin.patch_size) == (32, (4, 4), (16, 16))


@pytest.mark.parametrize(
    'encoder',
    [
        lambda: MaskedSwin(ARCH, 64, window_size=4, mask_tokens=True),
        lambda: MaskedRelativeViT(arch=dict(embed_dim=16, depth=2, num_heads=2), img_size=64, patch_size=16),
    ],
    ids=['swin', 'vit'],
)
@torch.no_grad()
def test_what_is_removed_is_not_seen(encoder):
    encoder, images, mask = encoder().eval(), draw(), masked((4, 4))
    removed = mask.mask.reshape(2, 1, 4, 4).repeat_interleave(16, 2).repeat_interleave(16, 3).bool()
    seen = encoder(images, mask)
    assert torch.equal(encoder(images.masked_fill(removed, 7), mask), seen)
    assert not torch.equal(encoder(images.masked_fill(~removed, 7), mask), seen)


@pytest.mark.parametrize('rows, columns', [(64, 64), (64, 128)])
def test_gradients_reach_all_of_swin_and_decoder(rows, columns):
    swin = MaskedSwin(ARCH, (rows, columns), window_size=4, mask_tokens=True)
    neck = SimMIMDecoder(32, 768, 16)
    mask = Masking('random', 0.5, swin.grid_size)(torch.rand(2, swin.grid_size[0] * swin.grid_size[1]))
    prediction = neck(swin(torch.randn(2, 3, rows, columns), mask))
    prediction.square().sum().backward()
    assert prediction.shape == (2, rows * columns // 256, 768)
    for name, p in [*swin.named_parameters(), *neck.named_parameters()]:
        assert p.grad is not None and p.grad.any(), name


def test_simmims_own_names_fill_swin_and_its_mask_token(tmp_path):
    source = scatter(MaskedSwin(ARCH, 64, window_size=4, mask_tokens=True))
    state = {f'encoder.{key}': value for key, value in source.state_dict().items()}
    torch.save(dict(model={**state, 'decoder.0.weight': torch.zeros(768, 32, 1, 1)}), tmp_path / 'simmim.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'simmim.pth'))
    swin = MODELS.build(
        dict(type='mmmim.MaskedSwin', arch=ARCH, img_size=64, window_size=4, mask_tokens=True, init_cfg=init)
    )
    swin.init_weights()
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in swin.state_dict().items())
    other = MaskedSwin(ARCH, 32, window_size=2, mask_tokens=True, init_cfg=init)
    other.init_weights()  # tables for other windows are resized as BEiT's are
    for name, value in other.state_dict().items():
        expected = source.state_dict()[name]
        if name.endswith('relative_position_bias_table'):
            expected = resize_rel_pos_bias_table(expected, (2, 2), value.shape)
        assert torch.equal(value, expected), name


def test_layers_are_those_of_the_dense_swin():
    swin = MaskedSwin(ARCH, 64, window_size=4)
    dense = DenseSwin(ARCH, window_size=4, out_indices=(0, 1, 2))
    for name, _ in swin.named_parameters():
        assert swin.get_layer_depth(f'backbone.{name}', 'backbone.') == dense.get_layer_depth(
            f'backbone.{name}', 'backbone.'
        )


@pytest.mark.parametrize(
    'img_size, window, stages, message',
    [
        (224, 6, 4, r'windows of 6x6 do not fit .*224x224.*stage 0 has 56x56.*Nearest .*192x192'),
        (192, 7, 4, r'stage 0 has 48x48.*Nearest .*224x224'),
        (200, 5, 4, r'cannot cut .*200x200.*32x32'),
        ((192, 224), 6, 4, r'192x224.*stage 0 has 48x56.*Nearest .*192x192'),
    ],
)
def test_images_that_windows_do_not_fit(img_size, window, stages, message):
    with pytest.raises(ValueError, match=message):
        MaskedSwin('tiny', img_size, window_size=window)
    sides = img_size if isinstance(img_size, tuple) else (img_size, img_size)
    with pytest.raises(ValueError, match=message):
        check_windows(sides, (4, 4), window, stages)


@pytest.mark.parametrize('img_size, window, grid', [(192, 6, (6, 6)), (224, 7, (7, 7)), (96, 6, (3, 3))])
def test_images_that_windows_fit(img_size, window, grid):
    assert check_windows((img_size, img_size), (4, 4), window, 4) == grid


def test_what_cannot_be_decoded_or_masked():
    with pytest.raises(ValueError, match='mask_tokens=True'):
        SimMIMDecoder(32, 768, 16, fill_in=True)
    with pytest.raises(ValueError, match='predicts pixels'):
        SimMIMDecoder(32, 96, 16)
    with pytest.raises(ValueError, match='mask_tokens=True'):
        MaskedSwin(ARCH, 64, window_size=4)(draw(), masked((4, 4)))
