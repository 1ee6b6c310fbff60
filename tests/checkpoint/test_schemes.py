"""Names of ViTs in other projects: exact round trips, and equal outputs of models built with random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from harness import FLOAT32
from mmengine.registry import DefaultScope
from mmpretrain.models import BEiTViT, VisionTransformer
from mmpretrain.registry import MODELS as MMPRETRAIN
from timm.models.beit import Beit
from torch import nn

import mmmim
from mmmim.checkpoint.encoder import detect_scheme, from_mmmim, left_out, to_mmmim
from mmmim.checkpoint.schemes import list_names
from mmmim.checkpoint.schemes.hugging_face import _version_4
from mmmim.models.algorithms import MAE
from mmmim.models.backbones import MaskedViT
from mmmim.models.masking import Masking

DATA = Path(__file__).parents[1] / 'data'
WIDTH, DEPTH, HEADS = 24, 2, 3
MMPRETRAIN_ARCH = dict(embed_dims=WIDTH, num_layers=DEPTH, num_heads=HEADS, feedforward_channels=4 * WIDTH)
OURS = dict(arch=dict(embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS), img_size=32, patch_size=8)
HF = dict(
    hidden_size=WIDTH,
    num_hidden_layers=DEPTH,
    num_attention_heads=HEADS,
    intermediate_size=4 * WIDTH,
    image_size=32,
    patch_size=8,
    layer_norm_eps=1e-6,
)


def randomise(model: nn.Module) -> nn.Module:
    """Every parameter random, also those that start as zeros or ones: a swap of two of them then shows."""
    generator = torch.Generator().manual_seed(0)
    for param in model.parameters():
        param.data.normal_(std=0.3, generator=generator)
    model.eval()
    return model


def images(size=32):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def assert_same(left, right):
    assert set(left) == set(right)
    for key in left:
        assert torch.equal(left[key], right[key]), key


def build_mmpretrain(cfg):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MMPRETRAIN.build(cfg)


def mmpretrain_mae():
    return randomise(
        build_mmpretrain(
            dict(
                type='MAE',
                backbone=dict(type='MAEViT', arch=MMPRETRAIN_ARCH, img_size=32, patch_size=8, mask_ratio=0.75),
                neck=dict(
                    type='MAEPretrainDecoder',
                    num_patches=16,
                    patch_size=8,
                    in_chans=3,
                    embed_dim=WIDTH,
                    decoder_embed_dim=16,
                    decoder_depth=2,
                    decoder_num_heads=2,
                    mlp_ratio=4.0,
                ),
                head=dict(
                    type='MAEPretrainHead',
                    norm_pix=True,
                    patch_size=8,
                    loss=dict(type='PixelReconstructionLoss', criterion='L2'),
                ),
            )
        )
    )


def our_mae():
    return MAE(
        dict(type='MaskedViT', **OURS),
        dict(type='MAEDecoder', embed_dim=16, depth=2, num_heads=2),
        dict(type='PixelTarget'),
        dict(type='ReconstructionHead'),
    ).eval()


@pytest.mark.parametrize('scheme', ['mae', 'hf', 'mmpretrain', 'cmae'])
def test_whole_models_of_ours_come_back_bit_for_bit(scheme):
    ours = our_mae().state_dict()
    ours = {key: value for key, value in ours.items() if key.startswith(('backbone.', 'neck.'))}
    there = from_mmmim(ours, scheme)
    assert left_out(ours, scheme) == [] and detect_scheme(there) == scheme
    assert_same(to_mmmim(there), ours)


@torch.no_grad()
def test_mmpretrain_mae_computes_the_same_here_and_back():
    theirs = mmpretrain_mae()
    state = theirs.state_dict()
    assert detect_scheme(state) == 'mmpretrain'
    assert_same(from_mmmim(to_mmmim(state), 'mmpretrain'), state)
    ours = our_mae()
    keys = ours.load_state_dict(to_mmmim(state), strict=False)
    assert not keys.unexpected_keys and not [key for key in keys.missing_keys if 'target' not in key]
    torch.manual_seed(3)
    noise = torch.rand(2, 16)  # the first random numbers that mmpretrain draws, too
    torch.manual_seed(3)
    latent, _, ids_restore = theirs.backbone(images(), mask=True)
    mask = Masking('random', 0.75, (4, 4))(noise)
    tokens = ours.backbone(images(), mask)
    torch.testing.assert_close(tokens, latent, **FLOAT32)
    torch.testing.assert_close(ours.neck(tokens, mask), theirs.neck(latent, ids_restore), **FLOAT32)


@pytest.mark.parametrize(
    'build, scheme',
    [
        (lambda: VisionTransformer(MMPRETRAIN_ARCH, 32, 8, out_type='raw'), 'mmpretrain'),
        (lambda: VisionTransformer(MMPRETRAIN_ARCH, 32, 8, out_type='raw', layer_scale_init_value=0.1), 'mmpretrain'),
        (
            lambda: BEiTViT(
                MMPRETRAIN_ARCH, 32, 8, out_type='raw', final_norm=True, use_abs_pos_emb=True, use_rel_pos_bias=False
            ),
            'mmpretrain',
        ),
        (lambda: transformers.ViTModel(transformers.ViTConfig(**HF)), 'hf'),
        (
            lambda: Beit(
                32,
                8,
                num_classes=0,
                global_pool='',
                embed_dim=WIDTH,
                depth=DEPTH,
                num_heads=HEADS,
                init_values=0.1,
                use_abs_pos_emb=True,
            ),
            'timm',
        ),
    ],
    ids=['vit', 'layer scale', 'beit', 'hugging face', 'timm beit'],
)
@torch.no_grad()
def test_encoders_load_directly_into_our_backbone(build, scheme, tmp_path):
    theirs = randomise(build())
    torch.save(theirs.state_dict(), tmp_path / 'theirs.pth')
    assert detect_scheme(theirs.state_dict()) == scheme
    ours = MaskedViT(
        **OURS, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'theirs.pth'), prefix='backbone.')
    )
    ours.init_weights()
    expected = theirs(images())
    expected = expected[0] if isinstance(expected, tuple) else getattr(expected, 'last_hidden_state', expected)
    torch.testing.assert_close(ours.eval()(images()), expected, **FLOAT32)


def test_names_in_mmpretrain_of_an_encoder_come_back_bit_for_bit():
    backbone = dict(
        type='VisionTransformer',
        arch=MMPRETRAIN_ARCH,
        img_size=32,
        patch_size=8,
        out_type='avg_featmap',
        layer_scale_init_value=0.1,
    )
    alone = build_mmpretrain(backbone).state_dict()
    assert_same(from_mmmim(to_mmmim(alone), 'mmpretrain'), {f'backbone.{key}': alone[key] for key in alone})
    for head in ('LinearClsHead', 'VisionTransformerClsHead'):
        classifier = build_mmpretrain(
            dict(type='ImageClassifier', backbone=backbone, head=dict(type=head, num_classes=5, in_channels=WIDTH))
        ).state_dict()
        assert_same(from_mmmim(to_mmmim(classifier), 'mmpretrain'), classifier)
        assert {'head.weight', 'head.bias', 'fc_norm.weight'} <= set(from_mmmim(to_mmmim(classifier), 'timm'))


def test_beit_comes_back_as_a_vit_that_computes_the_same():
    theirs = randomise(BEiTViT(MMPRETRAIN_ARCH, 32, 8, use_abs_pos_emb=True, use_rel_pos_bias=False))
    back = from_mmmim(to_mmmim(theirs.state_dict()), 'mmpretrain')
    vit = VisionTransformer(
        MMPRETRAIN_ARCH, 32, 8, final_norm=False, out_type='avg_featmap', layer_scale_init_value=0.1
    )
    vit.load_state_dict({key.removeprefix('backbone.'): value for key, value in back.items()}, strict=True)
    vit.eval()
    with torch.no_grad():
        torch.testing.assert_close(vit(images())[0], theirs(images())[0], **FLOAT32)


def test_a_beit_with_relative_positions_is_refused_where_there_are_none(tmp_path):
    state = BEiTViT(MMPRETRAIN_ARCH, 32, 8).state_dict()
    ours = to_mmmim(state)
    for scheme in ('mae', 'hf', 'mmpretrain'):
        assert 'backbone.blocks.1.attn.relative_position_bias_table' in left_out(ours, scheme)
    torch.save(state, tmp_path / 'beit.pth')
    with pytest.raises(mmmim.checkpoint.encoder.EncoderMismatchError, match='mmmim.RelativeViT is the backbone'):
        MaskedViT(**OURS, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'beit.pth'))).init_weights()


@torch.no_grad()
def test_the_authors_cmae_encodes_as_in_their_code(tmp_path):
    arrays = np.load(DATA / 'cmae_official.npz')
    state = {key[3:]: torch.from_numpy(arrays[key]) for key in arrays if key.startswith('sd/')}
    assert detect_scheme(state) == 'cmae'
    ours = to_mmmim(state)
    assert not [key for key in ours if '.ln' in key or 'ffn' in key]
    assert_same(from_mmmim(ours, 'cmae'), state)
    lost = left_out(ours, 'mae')
    assert {key.split('.')[0] for key in lost} == {
        'target_backbone',
        'feature_decoder',
        'projector',
        'target_projector',
        'predictor',
    }
    torch.save(dict(state_dict=state), tmp_path / 'cmae.pth')
    backbone = MaskedViT(
        dict(embed_dim=48, depth=2, num_heads=3),
        32,
        4,
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'cmae.pth'), prefix='backbone.'),
    )
    backbone.init_weights()
    mask = Masking('unit', 0.65, (8, 8))(torch.from_numpy(arrays['unit_noise']).float())
    latent = backbone.eval()(torch.from_numpy(arrays['images']).float(), mask)
    reference = torch.from_numpy(arrays['latent']).float()
    # visible patches stand in the order of blocks there; here by their own order in the mask
    torch.testing.assert_close(latent.mean(1), reference.mean(1), **FLOAT32)
    torch.testing.assert_close(latent[:, 0], reference[:, 0], **FLOAT32)
    # the momentum encoder is there for those who ask for it by its prefix
    target = MaskedViT(
        dict(embed_dim=48, depth=2, num_heads=3),
        32,
        4,
        final_norm=False,
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'cmae.pth'), prefix='target_backbone.'),
    )
    target.init_weights()
    name = 'target_backbone.layers.1.ffn.layers.1.weight'
    assert torch.equal(target.blocks[1].mlp.fc2.weight.double(), state[name].double())


def test_the_simmim_authors_vit_loses_its_prefix():
    beit = Beit(32, 8, num_classes=0, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, use_abs_pos_emb=True)
    state = {f'encoder.{key}': value for key, value in beit.state_dict().items()}
    state.update({'encoder.mask_token': torch.ones(1, 1, WIDTH), 'decoder.0.weight': torch.ones(192, WIDTH, 1, 1)})
    assert detect_scheme(state) == 'simmim'
    ours = to_mmmim(state)
    assert 'neck.decoder.0.weight' in ours and 'backbone.mask_token' in ours
    assert {key for key in to_mmmim(beit.state_dict())} == set(ours) - {'neck.decoder.0.weight', 'backbone.mask_token'}
    assert left_out(ours, 'timm') == ['backbone.mask_token', 'neck.decoder.0.weight']


def test_hugging_face_simmim_and_classifier_keep_their_names():
    for cls in (
        transformers.ViTForMaskedImageModeling,
        transformers.ViTForImageClassification,
        transformers.ViTModel,
        transformers.ViTMAEForPreTraining,
    ):
        config = transformers.ViTMAEConfig(**HF) if 'MAE' in cls.__name__ else transformers.ViTConfig(**HF)
        state = cls(config).state_dict()
        ours = to_mmmim(state)
        assert left_out(ours, 'hf') == []
        older = {_version_4(name): value for name, value in state.items()}  # version 5 has other names in memory
        assert_same({_version_4(name): value for name, value in from_mmmim(ours, 'hf').items()}, older)
    ours = to_mmmim(transformers.ViTForImageClassification(transformers.ViTConfig(**HF)).state_dict())
    assert {'head.weight', 'head.bias'} <= set(from_mmmim(ours, 'timm'))
    assert {'head.fc.weight', 'head.fc.bias'} <= set(from_mmmim(ours, 'mmpretrain'))


def test_lists_are_short_and_complete():
    names = ['backbone.blocks.0.ls1.gamma', 'backbone.blocks.1.ls1.gamma', 'head.0.running_mean']
    assert list_names(names) == 'backbone.blocks.#.ls1.gamma (2), head.#.running_mean'


def test_other_architectures_are_named():
    for state, kind in (
        ({'conv1.weight': 1, 'layer1.0.conv1.weight': 1}, 'a ResNet'),
        ({'stages.0.blocks.0.attn.w_msa.logit_scale': 1}, 'a Swin V2'),
        ({'stages.0.0.depthwise_conv.weight': 1}, 'a ConvNeXt'),
    ):
        state = {key: torch.ones(1) for key in state}
        with pytest.raises(ValueError, match=f'belong to none of.*those of {kind}'):
            to_mmmim(state)


def test_models_of_other_libraries_load_as_before(tmp_path):
    state = randomise(VisionTransformer(MMPRETRAIN_ARCH, 32, 8)).state_dict()
    torch.save(dict(state_dict={f'backbone.{key}': value for key, value in state.items()}), tmp_path / 'vit.pth')
    model = VisionTransformer(
        MMPRETRAIN_ARCH,
        32,
        8,
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'vit.pth'), prefix='backbone.'),
    )
    model.init_weights()
    assert_same(model.state_dict(), state)
