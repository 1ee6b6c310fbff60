"""What a run exports is built by timm alone: config.json beside encoder.safetensors."""

import json
import logging
from types import SimpleNamespace

import pytest
import timm
import torch
from harness import FLOAT32
from mmengine.config import Config

from mmmim.checkpoint import load_file
from mmmim.engine.hooks import ExportEncoderHook
from mmmim.models.backbones import ConvViT, DenseViT, MaskedRelativeViT, MaskedSwin, MaskedViT, RelativeViT

# 4 heads: the width does not tell; 120 / 88 of 88 rounds down to 119
VIT = dict(arch=dict(embed_dim=88, depth=2, num_heads=4, mlp_ratio=120 / 88), img_size=32, patch_size=8)
SWIN = dict(arch=dict(embed_dim=8, depths=(2, 2), num_heads=(1, 2)), img_size=(16, 32), window_size=2)
# before, it took the last .pth of a folder, and moved the downsampling of a Swin without a classifier
READS_A_WORK_DIR = tuple(map(int, timm.__version__.split('.')[:3])) >= (1, 0, 31)


def export(folder, encoder, caplog):
    """The hook after training, with a stand-in for the runner; returns what it logged."""
    for parameter in encoder.parameters():
        parameter.data.normal_(std=0.3)
    statistics = dict(mean=[51.0 * (n + 1) for n in range(encoder.in_chans)], std=[102.0] * encoder.in_chans)
    runner = SimpleNamespace(
        model=SimpleNamespace(backbone=encoder.eval(), data_preprocessor=SimpleNamespace(**statistics)),
        cfg=Config(dict(model=dict(backbone=dict(type=type(encoder).__name__)))),
        work_dir=str(folder),
        iter=1,
        logger=logging.getLogger('export'),
    )
    caplog.clear()
    with caplog.at_level(logging.INFO, 'export'):
        ExportEncoderHook().after_train(runner)
    return caplog.text


@pytest.mark.parametrize(
    'encoder, architecture',
    [
        (lambda: MaskedViT(**VIT), 'vit_base_patch16_224'),
        (lambda: MaskedViT(**{**VIT, 'img_size': (32, 48), 'patch_size': (8, 16)}, class_token=False), 'vit_base'),
        (lambda: MaskedViT(**VIT, num_register_tokens=2, in_chans=1, final_norm=False), 'vit_base'),
        (lambda: MaskedViT(**VIT, mask_tokens=True), 'vit_base'),
        (lambda: MaskedViT('tiny', 32), 'vit_tiny_patch16_224'),
        (lambda: MaskedRelativeViT(**VIT), 'beit_base_patch16_224'),
        (lambda: RelativeViT(**{**VIT, 'img_size': (32, 48)}, layer_scale=None), 'beit_base'),
        (lambda: MaskedSwin(**SWIN, mask_tokens=True), 'swin_base_patch4_window7_224'),
        (lambda: MaskedSwin('tiny', 64, window_size=2, in_chans=2), 'swin_tiny'),
    ],
)
@torch.no_grad()
def test_timm_builds_the_encoder_from_the_work_dir(tmp_path, encoder, architecture, caplog):
    encoder = encoder()
    (tmp_path / 'epoch_1.pth').touch()
    assert 'create_model' in export(tmp_path, encoder, caplog)
    images = torch.randn(2, encoder.in_chans, *encoder.img_size)
    expected = encoder(images)
    ways = [dict(checkpoint_path=tmp_path / 'encoder.safetensors'), *[dict(pretrained=True)] * READS_A_WORK_DIR]
    for how in ways:
        model = timm.create_model(f'local-dir:{tmp_path}', **how).eval()
        torch.testing.assert_close(model.forward_features(images).reshape(expected.shape), expected, **FLOAT32)
        pooled = expected[:, encoder.num_prefix_tokens :].mean(1)
        if getattr(model, 'global_pool', 'avg') == 'avg':  # not a Beit, before timm 1.0.31
            torch.testing.assert_close(model(images), pooled, **FLOAT32)
    assert model.pretrained_cfg['architecture'].startswith(architecture)
    data = timm.data.resolve_model_data_config(model)
    assert tuple(data['input_size']) == (encoder.in_chans, *encoder.img_size)
    assert data['mean'] == pytest.approx([0.2 * (n + 1) for n in range(encoder.in_chans)]) and data['std'][0] == 0.4
    if READS_A_WORK_DIR:  # and adapts it to other classes and channels by itself
        channels = 1 if encoder.in_chans == 3 else encoder.in_chans
        model = timm.create_model(f'local-dir:{tmp_path}', pretrained=True, num_classes=5, in_chans=channels)
        assert model(torch.randn(1, channels, *encoder.img_size)).shape == (1, 5)


@pytest.mark.parametrize(
    'encoder, reason',
    [
        (lambda: ConvViT(img_size=32), 'it is a ConvViT'),
        (lambda: DenseViT('tiny', 32), 'it is a DenseViT'),  # windows, over the names of a plain ViT
        (lambda: MaskedViT(**VIT, num_class_tokens=2), 'differs in cls_token'),
        (lambda: RelativeViT(**VIT, final_norm=False), 'differs in fc_norm.weight'),
        (lambda: RelativeViT(**{**VIT, 'img_size': (16, 112)}), '2 x 14 patches for those of a square'),
    ],
)
def test_no_config_where_timm_has_no_such_encoder(tmp_path, encoder, reason, caplog):
    export(tmp_path, MaskedViT(**VIT), caplog)
    assert (tmp_path / 'config.json').exists()
    logged = export(tmp_path, encoder(), caplog)  # the file of the earlier export would be wrong now
    assert 'No config.json' in logged and reason in logged
    assert {path.name for path in tmp_path.iterdir()} == {'encoder.safetensors'}


@pytest.mark.parametrize('rival', ['vit.safetensors', 'model.pth', 'pytorch_model.bin'])
def test_no_config_beside_what_timm_might_read_instead(tmp_path, rival, caplog):
    (tmp_path / rival).touch()
    logged = export(tmp_path, MaskedViT(**VIT), caplog)
    assert rival in logged and not (tmp_path / 'config.json').exists()


@pytest.mark.parametrize('content', ['{"hidden_size": 88}', '{"model": ', '[]'])
def test_a_config_of_something_else_stays(tmp_path, content, caplog):
    (tmp_path / 'config.json').write_text(content)
    assert 'something else' in export(tmp_path, MaskedViT(**VIT), caplog)
    assert (tmp_path / 'config.json').read_text() == content
    (tmp_path / 'config.json').unlink()
    export(tmp_path, MaskedViT(**VIT), caplog)
    assert 'create_model' in export(tmp_path, MaskedViT(**VIT, num_register_tokens=1), caplog)
    assert json.loads((tmp_path / 'config.json').read_text())['model_args']['reg_tokens'] == 1


def test_a_mask_token_stays_in_the_checkpoint(tmp_path, caplog):
    export(tmp_path, MaskedViT(**VIT, mask_tokens=True), caplog)
    state = load_file(tmp_path / 'encoder.safetensors')['state_dict']
    again = MaskedViT(
        **VIT, mask_tokens=True, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'encoder.safetensors'))
    )
    again.init_weights()
    assert set(again.state_dict()) - set(state) == {'mask_token'}
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in state.items())
