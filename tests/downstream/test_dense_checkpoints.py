"""One config line starts a dense task from anybody's checkpoint: the same encoder in each naming scheme."""

import functools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import ROOT, train_here, transformers_model
from mmengine.registry import DefaultScope
from seg_harness import make_masks, make_seg_config

pytest.importorskip('mmseg')
from mmseg.registry import MODELS  # noqa: E402

from mmmim.checkpoint import export_encoder  # noqa: E402
from mmmim.checkpoint.encoder import (  # noqa: E402
    EncoderMismatchError,  # noqa: E402
    detect_scheme,
    from_mmmim,
)
from mmmim.config.detection import settle_detector  # noqa: E402
from mmmim.config.load import load_config  # noqa: E402
from mmmim.config.prepare import set_up_scope  # noqa: E402
from mmmim.config.segmentation import settle_segmentor  # noqa: E402
from mmmim.models.algorithms import MAE  # noqa: E402
from mmmim.models.backbones import DenseSwin, MaskedViT  # noqa: E402
from mmmim.registry import MODELS as OURS  # noqa: E402

WIDTH, DEPTH, HEADS = 24, 4, 3
ARCH = dict(embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS)
UPERNET = 'configs/downstream/segmentation/vit-b_upernet_160k.py'
LINEAR = 'configs/downstream/segmentation/vit-b_linear_160k_crossmae.py'
MASK_RCNN = 'configs/downstream/detection/vit-tiny_scenes_mask-rcnn.py'


def pretraining() -> MAE:
    """A whole MAE with every value at random, its tables and tokens too."""
    torch.manual_seed(0)
    model = MAE(
        dict(type='MaskedViT', arch=ARCH, img_size=32, patch_size=8),
        dict(type='MAEDecoder', embed_dim=16, depth=2, num_heads=2),
        dict(type='PixelTarget'),
        dict(type='ReconstructionHead'),
    ).eval()
    for param in model.parameters():
        param.data.normal_(std=0.2)
    return model


@functools.lru_cache(maxsize=None)
def model_and_maps():
    """The model, two images, and for each block the map of its tokens; then that of the last, normalised."""
    model, tokens = pretraining(), []
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for module in (*model.backbone.blocks, model.backbone.norm):
        module.register_forward_hook(lambda module, args, output: tokens.append(output))
    with torch.no_grad():
        model.backbone(images)
    return model, images, [output[:, 1:].mT.unflatten(2, (4, 4)) for output in tokens]


# ------------------------------------------------------------------- one encoder, as each project's code would save it


def as_ours(model, path):
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=800, iter=1)), path)


def as_export(model, path):
    export_encoder(model.state_dict(), path, dict(type='MaskedViT', arch=ARCH, img_size=32, patch_size=8))


def as_original(model, path):
    """With its decoder; the names are those that were recorded with the authors' code."""
    state = from_mmmim(parts(model), 'mae')
    with np.load(ROOT / 'tests/data/mae_official.npz') as official:
        recorded = {name.removeprefix('sd/') for name in official.files if name.startswith('sd/')}
    assert {re.sub(r'\d+', 'N', name) for name in state} == {re.sub(r'\d+', 'N', name) for name in recorded}
    torch.save(dict(model=state), path)


def as_timm(model, path):
    from timm.models.vision_transformer import VisionTransformer

    vit = VisionTransformer(32, 8, num_classes=0, global_pool='', embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS)
    vit.load_state_dict(model.backbone.state_dict(), strict=True)
    torch.save(vit.state_dict(), path)


def as_hugging_face(model, path):
    from safetensors.torch import save_file
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    theirs = ViTMAEForPreTraining(
        ViTMAEConfig(
            image_size=32,
            patch_size=8,
            hidden_size=WIDTH,
            num_hidden_layers=DEPTH,
            num_attention_heads=HEADS,
            intermediate_size=4 * WIDTH,
            decoder_hidden_size=16,
            decoder_num_hidden_layers=2,
            decoder_num_attention_heads=2,
            decoder_intermediate_size=64,
        )
    )
    save_file(transformers_model(theirs, from_mmmim(parts(model), 'hf')).state_dict(), path)


def as_mmpretrain(model, path):
    from mmpretrain.registry import MODELS as MMPRETRAIN

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        theirs = MMPRETRAIN.build(
            dict(
                type='ImageClassifier',
                backbone=dict(
                    type='VisionTransformer',
                    img_size=32,
                    patch_size=8,
                    out_type='cls_token',
                    arch=dict(embed_dims=WIDTH, num_layers=DEPTH, num_heads=HEADS, feedforward_channels=4 * WIDTH),
                ),
            )
        )
    state = from_mmmim({f'backbone.{key}': value for key, value in model.backbone.state_dict().items()}, 'mmpretrain')
    theirs.load_state_dict(state, strict=True)
    torch.save(dict(state_dict=theirs.state_dict(), meta={}), path)


def parts(model):
    return {key: value for key, value in model.state_dict().items() if key.startswith(('backbone.', 'neck.'))}


KINDS = dict(
    mmmim=(as_ours, 'epoch_800.pth'),
    safetensors=(as_export, 'encoder.safetensors'),
    mae=(as_original, 'mae_pretrain_full.pth'),
    timm=(as_timm, 'vit.pth'),
    hf=(as_hugging_face, 'model.safetensors'),
    mmpretrain=(as_mmpretrain, 'mmpretrain.pth'),
)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """``{kind: path}``."""
    folder = tmp_path_factory.mktemp('checkpoints')
    for save, name in KINDS.values():
        save(model_and_maps()[0], folder / name)
    return {kind: folder / name for kind, (_, name) in KINDS.items()}


# ------------------------------------------------------------------------------------------------------- the same line


def segmentor(config: str, arch: dict = ARCH, **overrides):
    """The model of a config that people run, shrunk, as a run builds it before it starts."""
    cfg = load_config(str(ROOT / config), {'crop_size': 32, 'scale': (64, 32), **overrides})
    set_up_scope(cfg)
    linear = config == LINEAR
    cfg.model.backbone.update(
        arch=dict(arch), patch_size=8, out_indices=(DEPTH - 1,) if linear else tuple(range(DEPTH))
    )
    if not linear:
        cfg.model.decode_head.channels = cfg.model.auxiliary_head.channels = 8
    settle_segmentor(cfg)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
        model.init_weights()
    return model.eval()


def detectors_backbone(arch: dict = ARCH, **overrides):
    """The same of a detector, its backbone alone: without heads."""
    cfg = load_config(str(ROOT / MASK_RCNN), {'image_size': 32, 'num_classes': 3, **overrides})
    cfg.model.backbone.update(arch=dict(arch), patch_size=8, out_indices=(DEPTH - 1,))
    settle_detector(cfg, with_data=False)
    backbone = OURS.build(cfg.model.backbone)
    backbone.init_weights()
    return backbone.eval()


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('config', [UPERNET, LINEAR])
@torch.no_grad()
def test_every_kind_starts_a_segmentor_by_the_same_line(config, kind, files, capsys):
    encoder, (_, images, expected) = model_and_maps()[0].backbone, model_and_maps()
    backbone = segmentor(config, pretrained=str(files[kind])).backbone
    maps = backbone(images)
    wanted = expected[-1:] if config == LINEAR else expected[:DEPTH]
    assert len(maps) == len(wanted)
    for found, tokens in zip(maps, wanted):
        torch.testing.assert_close(found, tokens, atol=1e-6, rtol=0)
    # all of the encoder's parameters but the norm, which UperNet's maps do not pass
    names = {name for name in encoder.state_dict() if config == LINEAR or not name.startswith('norm.')}
    said = capsys.readouterr().out
    assert f'Encoder loaded: {len(names)} keys matched' in said
    assert all(torch.equal(backbone.state_dict()[name], encoder.state_dict()[name]) for name in names)
    tables = {name for name in backbone.state_dict() if name not in names}
    assert len(tables) == DEPTH and f'Tables of relative positions: 0 of {DEPTH} are in the file' in said


@pytest.mark.parametrize('kind', KINDS)
@torch.no_grad()
def test_every_kind_starts_a_detector_by_the_same_line(kind, files, capsys):
    model, images, expected = model_and_maps()
    backbone = detectors_backbone(pretrained=str(files[kind]))
    torch.testing.assert_close(backbone(images)[0], expected[DEPTH - 1], atol=1e-6, rtol=0)
    names = {name for name in model.backbone.state_dict() if not name.startswith('norm.')}
    assert set(backbone.state_dict()) == names
    assert f'Encoder loaded: {len(names)} keys matched' in capsys.readouterr().out


@torch.no_grad()
def test_windows_and_relative_positions_take_all_but_the_class_token(files, capsys):
    """As in ViTDet; without the windows, and so with the token, the same file gives the encoder's map."""
    model = model_and_maps()[0]
    backbone = detectors_backbone(
        pretrained=str(files['mae']),
        **{'model.backbone.window_size': 3, 'model.backbone.relative_positions': 'decomposed'},
    )
    theirs, said = model.backbone.state_dict(), capsys.readouterr().out
    for name, value in backbone.state_dict().items():
        if 'rel_pos' in name:
            assert not value.any()
        else:
            assert torch.equal(value, theirs[name][:, 1:] if name == 'pos_embed' else theirs[name]), name
    left = set(theirs) - set(backbone.state_dict())
    assert left == {'cls_token', 'norm.weight', 'norm.bias'} and 'class token of the file was dropped' in said
    assert f'Encoder loaded: {len(theirs) - len(left)} keys matched' in said


def test_the_files_are_of_different_kinds(files):
    from mmmim.checkpoint.read import load_file

    found = {kind: detect_scheme(load_file(str(path))) for kind, path in files.items()}
    assert found == dict(mmmim='mmmim', safetensors='timm', mae='mae', timm='timm', hf='hf', mmpretrain='mmpretrain')


@pytest.mark.parametrize(
    'overrides, message',
    [
        (
            {'model.backbone.init_cfg.prefix': 'encoder.'},
            r"no encoder under 'encoder\.' .*begin with backbone .*prefix",
        ),
        (dict(arch=dict(embed_dim=48, depth=DEPTH, num_heads=3)), 'width 24.* the module is .*width 48'),
        (dict(arch=dict(embed_dim=WIDTH, depth=5, num_heads=3)), '4 blocks .* the module is .* 5 blocks'),
    ],
    ids=['prefix', 'width', 'depth'],
)
@pytest.mark.parametrize(
    'build', [functools.partial(segmentor, UPERNET), detectors_backbone], ids=['segmentor', 'detector']
)
def test_what_does_not_fit_is_refused_in_a_line(build, overrides, message, files):
    with pytest.raises(EncoderMismatchError) as caught:
        build(**{'model.backbone.init_cfg.checkpoint': str(files['mmmim']), **overrides})
    assert re.search(message, str(caught.value).splitlines()[0])


# ------------------------------------------------------------------------------------------------------------ load_from


def run_of_nothing(folder, data, **overrides):
    """One step with a rate of zero."""
    return make_seg_config(
        folder / 'run',
        data,
        steps=1,
        **{
            'model.backbone.arch': ARCH,
            'model.backbone.patch_size': 8,
            'optim_wrapper.optimizer.lr': 0.0,
            'warmup_iters': 0,
            'val_cfg': None,
            'val_dataloader': None,
            'val_evaluator': None,
            **overrides,
        },
    )


@pytest.fixture(scope='module')
def drawings(tmp_path_factory) -> Path:
    return make_masks(tmp_path_factory.mktemp('drawings') / 'data', 8, 4)


@pytest.mark.runs
@pytest.mark.parametrize('kind, relative', [*((kind, None) for kind in KINDS), ('mmmim', 'separate')])
def test_load_from_does_what_pretrained_does(kind, relative, files, drawings, tmp_path):
    runner = train_here(
        run_of_nothing(
            tmp_path, drawings, **{'load_from': str(files[kind]), 'model.backbone.relative_positions': relative}
        )
    )
    ours, theirs = runner.model.backbone.state_dict(), model_and_maps()[0].backbone.state_dict()
    assert {name for name in theirs if name not in ours} == {'norm.weight', 'norm.bias'}
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items() if 'rel_pos' not in name)


@pytest.mark.runs
def test_load_from_of_a_segmentor_brings_heads_and_tables_along(drawings, tmp_path):
    settings = {'model.backbone.relative_positions': 'separate', 'optim_wrapper.optimizer.lr': 1e-2}
    first = train_here(run_of_nothing(tmp_path / 'first', drawings, **settings)).model
    assert first.backbone.blocks[0].attn.rel_pos.relative_position_bias_table.any()
    later = train_here(
        run_of_nothing(
            tmp_path / 'later',
            drawings,
            **{**settings, 'optim_wrapper.optimizer.lr': 0.0, 'load_from': str(tmp_path / 'first/run/iter_1.pth')},
        )
    ).model
    learned = {name for name, _ in first.named_parameters()}
    assert all(
        torch.equal(value, first.state_dict()[name]) for name, value in later.state_dict().items() if name in learned
    )


def test_a_swin_of_a_segmentor_brings_its_norms_along(tmp_path, capsys):
    arch = dict(embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 4))
    trained = DenseSwin(arch, window_size=4)
    for param in trained.parameters():
        param.data.add_(torch.randn_like(param))
    torch.save(
        dict(state_dict={f'backbone.{key}': value for key, value in trained.state_dict().items()}),
        tmp_path / 'iter_1.pth',
    )
    swin = DenseSwin(
        arch,
        window_size=4,
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'iter_1.pth'), prefix='backbone.'),
    )
    swin.init_weights()
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in swin.state_dict().items())
    assert 'begin anew' not in capsys.readouterr().out


def test_load_from_of_another_width_is_refused(files, drawings, tmp_path):
    with pytest.raises(EncoderMismatchError, match='width 24.* the module is .*width 32'):
        train_here(
            run_of_nothing(
                tmp_path,
                drawings,
                **{
                    'load_from': str(files['timm']),
                    'model.backbone.arch': dict(embed_dim=32, depth=DEPTH, num_heads=2),
                },
            )
        )


def test_masked_and_dense_encoders_name_the_same_things():
    """What the tests above count as the encoder is all of it."""
    assert set(MaskedViT(ARCH, 32, 8).state_dict()) == set(model_and_maps()[0].backbone.state_dict())
