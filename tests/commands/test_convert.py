"""The command line of tools/convert_checkpoint.py: round trips, refusals, one-line errors."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

import mmmim
from mmmim.checkpoint import load_file
from mmmim.checkpoint.encoder import to_mmmim
from mmmim.commands import convert

ROOT = Path(__file__).resolve().parents[2]
CONVERTER = ROOT / 'tools' / 'convert_checkpoint.py'


def converter_main(*arguments):
    """Runs `mmmim convert` inside this process and returns its exit code."""
    try:
        convert.main([*map(str, arguments)])
    except SystemExit as end:
        print(end, file=sys.stderr)
        return 1
    return 0


class Attack:
    """Pickles as the call ``function(*arguments)``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __call__(self):  # pickle wants a callable where the result of a call is called
        raise AssertionError

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('new_format', [True, False])
@pytest.mark.parametrize('name', ['system', 'getattr', 'exec'])
def test_hostile_file_is_refused_and_not_run(tmp_path, capsys, name, new_format):
    path, marker, out = tmp_path / 'hostile.pth', tmp_path / 'marker', tmp_path / 'out.pth'
    code = f'open({str(marker)!r}, "w")'
    attack = {
        'system': Attack(os.system, f'touch {marker}'),
        'exec': Attack(exec, code),
        'getattr': Attack(Attack(getattr, Attack(__import__, 'builtins'), 'exec'), code),
    }
    torch.save({'state_dict': {'a': torch.ones(1)}, 'x': attack[name]}, path, _use_new_zipfile_serialization=new_format)
    torch.load(path, weights_only=False)
    assert marker.exists()  # the control: the weapon is loaded
    marker.unlink()
    assert converter_main(path, out) == 1
    assert not marker.exists() and not out.exists()
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and name.replace('getattr', '__import__') in error


@pytest.fixture(scope='module')
def mae():
    """The original code's state dict of a tiny MAE."""
    arrays = np.load(ROOT / 'tests' / 'data' / 'mae_official.npz')
    return {key[3:]: torch.from_numpy(arrays[key]) for key in arrays if key.startswith('sd/')}


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
def test_a_chain_through_every_project_ends_bit_for_bit_where_it_began(mae, tmp_path, capsys, ending):
    torch.save(dict(model=mae, args=argparse.Namespace(lr=1)), tmp_path / 'mae.pth')
    source = tmp_path / 'mae.pth'
    for came_from, to in (('mae', 'mmmim'), ('mmmim', 'hf'), ('hf', 'mmpretrain'), ('mmpretrain', 'mae')):
        target = tmp_path / f'{to}.{ending}' if to != 'mae' else tmp_path / f'back.{ending}'
        assert converter_main(source, target, '--to', to) == 0
        out = capsys.readouterr().out
        assert f'recognised as {came_from}' in out and 'left out: nothing' in out
        source = target
    back = load_file(source)
    back = back['model'] if ending == 'pth' else back['state_dict']
    assert set(back) == set(mae) and all(torch.equal(back[key], mae[key]) for key in mae)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith('.tmp')]


def test_timm_takes_the_encoder_and_knows_the_config(mae, tmp_path, capsys):
    config = dict(
        backbone=dict(type='MaskedViT', arch=dict(embed_dim=48, depth=3, num_heads=3), img_size=32, patch_size=8),
        mean=[127.5] * 3,
        std=[127.5] * 3,
    )
    text = (
        f'model = dict(type="MAE", backbone={config["backbone"]}, data_preprocessor=dict(mean={config["mean"]}, '
        f'std={config["std"]}))'
    )
    torch.save(dict(state_dict=to_mmmim(mae), meta=dict(cfg=text)), tmp_path / 'ours.pth')
    assert converter_main(tmp_path / 'ours.pth', tmp_path / 'timm.safetensors', '--to', 'timm') == 0
    assert 'neck.decoder_blocks.#.attn.qkv.weight (2)' in capsys.readouterr().out  # listed, and expected
    written = load_file(tmp_path / 'timm.safetensors')
    assert written['meta'] == dict(config=config)
    model = timm.models.VisionTransformer(32, 8, embed_dim=48, depth=3, num_heads=3, num_classes=0)
    model.load_state_dict(written['state_dict'], strict=True)
    assert torch.equal(written['state_dict']['blocks.0.attn.qkv.weight'], mae['blocks.0.attn.qkv.weight'])


def save_ours(mae, path, **head):
    arch = dict(embed_dim=48, depth=3, num_heads=3)
    text = f'model = dict(backbone=dict(type="MaskedViT", arch={arch}, img_size=32, patch_size=8))'
    torch.save(dict(state_dict={**to_mmmim(mae), **head}, meta=dict(cfg=text)), path)


@torch.no_grad()
def test_a_folder_is_all_that_timm_needs(mae, tmp_path, capsys):
    save_ours(mae, tmp_path / 'ours.pth')
    assert converter_main(tmp_path / 'ours.pth', tmp_path / 'new' / 'vit', '--to', 'timm') == 0
    assert sorted(os.listdir(tmp_path / 'new' / 'vit')) == ['config.json', 'model.safetensors']
    assert os.listdir(tmp_path / 'new') == ['vit']
    model = timm.create_model(f'local-dir:{tmp_path}/new/vit', pretrained=True).eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(images), mmmim.load_encoder(str(tmp_path / 'ours.pth'))(images))
    assert torch.equal(model(images), mmmim.load_encoder(f'{tmp_path}/new/vit/model.safetensors')(images))
    assert converter_main(tmp_path / 'ours.pth', tmp_path / 'new' / 'vit', '--to', 'timm') == 1
    assert '--force' in capsys.readouterr().err


@pytest.mark.parametrize(
    'options', [dict(), dict(global_pool='avg'), dict(global_pool='avg', class_token=False, fc_norm=False)], ids=str
)
@torch.no_grad()
def test_a_classifier_keeps_its_classes(options, tmp_path):
    vit = timm.models.VisionTransformer(32, 8, num_classes=7, embed_dim=48, depth=2, num_heads=4, **options).eval()
    for param in vit.parameters():
        param.normal_(std=0.3)
    torch.save(vit.state_dict(), tmp_path / 'vit.pth')
    out = tmp_path / 'out'
    assert converter_main(tmp_path / 'vit.pth', out, '--to', 'timm') == 1  # 48 is the width of none
    assert not out.exists()
    assert converter_main(tmp_path / 'vit.pth', out, '--to', 'timm', '--num-heads', 4) == 0
    images = torch.randn(2, 3, 32, 32)
    logits = timm.create_model(f'local-dir:{out}', pretrained=True).eval()(images)
    assert logits.shape == (2, 7) and torch.equal(logits, vit(images))
    swapped = timm.create_model(f'local-dir:{out}', pretrained=True, num_classes=0).eval()
    expected = vit.forward_head(vit.forward_features(images), pre_logits=True)
    assert torch.equal(swapped(images), expected)


@torch.no_grad()
def test_swin_with_its_classifier(tmp_path):
    swin = timm.models.SwinTransformer(
        16, embed_dim=8, depths=(2, 2), num_heads=(1, 2), window_size=2, num_classes=7
    ).eval()
    torch.save(swin.state_dict(), tmp_path / 'swin.pth')
    assert converter_main(tmp_path / 'swin.pth', tmp_path / 'out', '--to', 'timm') == 0
    config = json.loads((tmp_path / 'out' / 'config.json').read_text())
    model = timm.create_model(f'local-dir:{tmp_path}/out', pretrained=True).eval()
    images = torch.randn(2, *config['pretrained_cfg']['input_size'])
    torch.testing.assert_close(model(images), swin(images))
    assert config['num_classes'] == 7 and config['num_features'] == 16


def test_a_classifier_that_reads_something_else_is_not_written(mae, tmp_path, capsys):
    """Two norms before it, or the batch norm of linear probing: timm's ViT has no place for them."""
    head = {'head.fc.weight': torch.ones(5, 48), 'head.fc.bias': torch.ones(5)}
    cases = dict(
        norm={'neck.norm.weight': torch.ones(48), 'neck.norm.bias': torch.ones(48)},
        batch={'neck.norm.running_mean': torch.ones(48), 'neck.norm.running_var': torch.ones(48)},
    )
    encoder = {name: value for name, value in mae.items() if not name.startswith('decoder')}
    for name, norm in cases.items():
        save_ours(encoder, tmp_path / 'ours.pth', **head, **norm)
        assert converter_main(tmp_path / 'ours.pth', tmp_path / name, '--to', 'timm') == 1
        assert 'no place for' in capsys.readouterr().err and not (tmp_path / name).exists()
    assert converter_main(tmp_path / 'ours.pth', tmp_path / 'out', '--to', 'timm', '--allow-partial') == 0
    assert json.loads((tmp_path / 'out' / 'config.json').read_text())['num_classes'] == 5


def test_a_classifier_of_the_mean_of_class_tokens_is_not_written(mae, tmp_path, capsys):
    encoder = {name: value for name, value in mae.items() if not name.startswith('decoder')}
    save_ours(encoder, tmp_path / 'ours.pth', **{'head.fc.weight': torch.ones(5, 48), 'head.fc.bias': torch.ones(5)})
    content = torch.load(tmp_path / 'ours.pth')
    content['meta']['cfg'] = content['meta']['cfg'][:-1] + ', neck=dict(type="PoolTokens", pool="cls_mean"))'
    torch.save(content, tmp_path / 'ours.pth')
    assert converter_main(tmp_path / 'ours.pth', tmp_path / 'out', '--to', 'timm') == 1
    assert "pool='cls_mean'" in capsys.readouterr().err and not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'name, content, words',
    [
        ('encoder.safetensors', b'', 'encoder.safetensors, which timm could read in the place of model.safetensors'),
        ('config.json', b'{"hidden_size": 48}', 'config.json is of something else than timm'),
    ],
)
def test_a_folder_of_something_else_is_left_alone(mae, tmp_path, capsys, name, content, words):
    save_ours(mae, tmp_path / 'ours.pth')
    out = tmp_path / 'out'
    out.mkdir()
    (out / name).write_bytes(content)
    assert converter_main(tmp_path / 'ours.pth', out, '--to', 'timm', '--force') == 1
    error = capsys.readouterr().err
    assert words in error and len(error.splitlines()) == 1
    assert os.listdir(out) == [name] and (out / name).read_bytes() == content
    (out / name).rename(out / 'README.md')
    assert converter_main(tmp_path / 'ours.pth', out, '--to', 'timm', '--force') == 0
    assert converter_main(tmp_path / 'ours.pth', out, '--to', 'timm', '--force') == 0
    assert sorted(os.listdir(out)) == ['README.md', 'config.json', 'model.safetensors']


def test_nothing_is_left_of_a_folder_that_could_not_be_written(mae, tmp_path, capsys, monkeypatch):
    save_ours(mae, tmp_path / 'ours.pth')

    def no_space(*_):
        raise OSError('No space left on device')

    monkeypatch.setattr('mmmim.apis.convert.atomic_write_text', no_space)  # the second of two files
    assert converter_main(tmp_path / 'ours.pth', tmp_path / 'out', '--to', 'timm') == 1
    assert 'No space left' in capsys.readouterr().err
    assert os.listdir(tmp_path) == ['ours.pth']


def test_what_the_other_side_cannot_hold_is_listed_and_fails_without_permission(tmp_path, capsys):
    arrays = np.load(ROOT / 'tests' / 'data' / 'cmae_official.npz')
    state = {key[3:]: torch.from_numpy(arrays[key]) for key in arrays if key.startswith('sd/')}
    torch.save(dict(state_dict=state), tmp_path / 'cmae.pth')
    out = tmp_path / 'mae.pth'
    assert converter_main(tmp_path / 'cmae.pth', out, '--to', 'mae') == 1
    error = capsys.readouterr().err
    assert 'target_backbone.blocks.#.attn.qkv.weight (2)' in error and 'predictor.fc#' not in error
    assert 'predictor.fc0.weight' in error and '--allow-partial' in error and not out.exists()
    assert converter_main(tmp_path / 'cmae.pth', out, '--to', 'mae', '--allow-partial') == 0
    assert 'predictor.fc0.weight' in capsys.readouterr().out
    assert {'decoder_pred.weight', 'blocks.1.mlp.fc2.bias', 'mask_token'} <= set(load_file(out)['model'])
    fine_tuned = {f'backbone.blocks.0.{name}': torch.ones(4) for name in ('norm1.weight', 'ls1.gamma')}
    torch.save(fine_tuned, tmp_path / 'scaled.pth')
    assert converter_main(tmp_path / 'scaled.pth', tmp_path / 'hf.pth', '--to', 'hf') == 1
    assert 'no place for 1 parameters of this checkpoint: backbone.blocks.#.ls1.gamma.' in capsys.readouterr().err


def test_an_absent_table_is_written_where_it_follows(mae, tmp_path, capsys):
    bare = {key: value for key, value in mae.items() if key != 'decoder_pos_embed'}
    torch.save(dict(model=bare), tmp_path / 'bare.pth')
    assert converter_main(tmp_path / 'bare.pth', tmp_path / 'hf.pth', '--to', 'hf') == 0
    assert 'neck.decoder_pos_embed was absent' in capsys.readouterr().out
    assert load_file(tmp_path / 'hf.pth')['decoder.decoder_pos_embed'].shape == (1, 17, 32)


def test_files_of_another_kind_are_named(tmp_path, capsys):
    import io
    import zipfile

    from PIL import Image

    picture, archive, weights = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.new('RGB', (8, 8)).save(picture, 'JPEG')
    with zipfile.ZipFile(archive, 'w') as file:
        file.writestr('photos/a.txt', 'a')
    torch.save(dict(weight=torch.ones(64, 64)), weights)
    tensors = safetensors.torch.save(dict(weight=torch.ones(64, 64)))
    cases = {
        'picture.pth': (picture.getvalue(), 'a JPEG image'),
        'archive.pth': (archive.getvalue(), 'photos/a.txt'),
        'notes.pth': (b'These are the notes of last week.', 'a text file'),
        'cut.pth': (weights.getvalue()[:9000], 'it is cut off'),
        'st.pth': (tensors, 'name it .safetensors'),
        'cut.safetensors': (tensors[:9000], 'cut off'),
        'torch.safetensors': (weights.getvalue(), 'name it .pth'),
        'array.pth': (b'\x93NUMPY\x01\x00' + bytes(200), 'a numpy array'),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        assert converter_main(tmp_path / name, tmp_path / 'out.pth') == 1
        error = capsys.readouterr().err
        assert words in error and name in error and len(error.splitlines()) == 1


def test_converter_errors_are_one_line(tmp_path, capsys):
    torch.save({'layers.0.weight': torch.ones(1)}, tmp_path / 'unknown.pth')
    torch.save({'backbone.blocks.0.a': torch.ones(1)}, tmp_path / 'ours.pth')
    torch.save(timm.create_model('resnet18').state_dict(), tmp_path / 'resnet.pth')
    out = tmp_path / 'out.pth'
    for arguments, text in (
        ((tmp_path / 'absent.pth', out), 'can not be found'),
        ((tmp_path, out), 'is a folder'),
        ((tmp_path / 'unknown.pth', out), 'belong to none of'),
        ((tmp_path / 'resnet.pth', out), 'those of a ResNet'),
        ((tmp_path / 'ours.pth', tmp_path / 'unknown.pth'), '--force'),
    ):
        assert converter_main(*arguments) == 1
        error = capsys.readouterr().err
        assert text in error and len(error.splitlines()) == 1
    assert not out.exists()
    assert converter_main(tmp_path / 'ours.pth', tmp_path / 'unknown.pth', '--force') == 0


@pytest.mark.runs
def test_converter_as_a_process(tmp_path):
    result = subprocess.run(
        [sys.executable, str(CONVERTER), str(tmp_path / 'absent.pth'), str(tmp_path / 'out.pth')],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr and 'can not be found' in result.stderr
