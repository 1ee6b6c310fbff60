"""Pre-training that starts from weights: files of other projects, public networks, runs."""

import json
import os
from pathlib import Path

import pytest
import timm
import torch
import transformers
from harness import FLOAT32, largest_difference, load_weights, near, python, read_curve, train
from timm.models import save_for_hf

from mmmim.apis import start as start_module
from mmmim.apis.folder_split import FolderSplit
from mmmim.apis.plan import LAYER_DECAY, default_method, plan
from mmmim.apis.pretrain import write_config
from mmmim.apis.start import find_start
from mmmim.checkpoint.encoder import from_mmmim
from mmmim.config.write import Choice
from mmmim.models.backbones import MaskedViT
from mmmim.models.necks import MAEDecoder
from mmmim.models.networks import Network

SIZES = ['vit-tiny', 'vit-small']
SIDE = 28
ARCH = dict(embed_dim=192, depth=12, num_heads=3)  # a file states no number of heads, but for widths of the papers


def randomise(model):
    torch.manual_seed(0)
    for name, value in model.named_parameters():
        value.data.normal_(std=0.05)
        value.data += 1.0 * name.endswith(('norm.weight', 'norm1.weight', 'norm2.weight'))
    return model.eval()


def dinov2_file(folder):
    model = timm.create_model('vit_small_patch14_reg4_dinov2', img_size=SIDE, num_classes=0, **ARCH)
    randomise(model)
    torch.save(model.state_dict(), folder / 'dinov2.pth')
    return folder / 'dinov2.pth', model.forward_features, 5


def mae_file(folder):
    encoder = MaskedViT(ARCH, img_size=SIDE, patch_size=7)
    decoder = MAEDecoder(192, (4, 4), 3 * 49, embed_dim=512, depth=1, num_heads=16)
    state = {f'{name}.{key}': value for name, part in (('backbone', encoder), ('neck', decoder))
             for key, value in randomise(part).state_dict().items()}  # fmt: skip
    torch.save(dict(model=from_mmmim(state, 'mae')), folder / 'mae.pth')
    return folder / 'mae.pth', encoder, 1


def timm_file(folder):
    model = randomise(timm.create_model('vit_tiny_patch16_224', img_size=32, depth=2, num_classes=0))
    save_for_hf(model, folder / 'timm', model_args=dict(img_size=32, depth=2), safe_serialization=True)
    return folder / 'timm/model.safetensors', model.forward_features, 1


def hugging_face_file(folder):
    config = transformers.Dinov2Config(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=SIDE, patch_size=14, mlp_ratio=2
    )
    model = randomise(transformers.Dinov2Model(config))
    model.save_pretrained(folder / 'hf')
    return folder / 'hf/model.safetensors', lambda images: model(images).last_hidden_state, 1


FILES = dict(dinov2=dinov2_file, mae=mae_file, timm=timm_file, hugging_face=hugging_face_file)


@pytest.mark.parametrize('kind', FILES)
def test_features_before_training_are_the_librarys(kind, tmp_path):
    path, compute, prefix = FILES[kind](tmp_path)
    start = find_start(str(path), SIZES)
    images = torch.randn(2, 3, *start.encoder.img_size)
    with torch.no_grad():
        expected = compute(images)
        torch.testing.assert_close(start.encoder.eval()(images), expected, rtol=1e-5, atol=1e-5)
    again = find_start(start.write(str(tmp_path / 'out')), SIZES)  # what the run starts from
    with torch.no_grad():
        torch.testing.assert_close(again.encoder.eval()(images), expected, rtol=1e-5, atol=1e-5)
    assert start.encoder.num_prefix_tokens == again.encoder.num_prefix_tokens == prefix
    assert (start.kind, start.licence) == ('file', 'unknown')


@pytest.mark.parametrize('kind', FILES)
def test_what_goes_on_how(kind, tmp_path, image_root):
    path, _, _ = FILES[kind](tmp_path)
    start = find_start(str(path), SIZES)
    method = default_method(start, None)
    assert method == ('mae' if kind == 'mae' else 'features')
    choices = plan(FolderSplit(str(image_root)), str(tmp_path / 'out'), Choice(2, ''), method, 'x', start=start)
    value = {key: choice.value for key, choice in choices.items()}
    assert value['model.backbone.img_size'] == start.encoder.img_size[0]
    assert value['base_lr'] < 1e-3 and value['optim_wrapper.paramwise_cfg.layer_decay_rate'] == LAYER_DECAY
    if kind == 'mae':
        assert value['load_from'] == str(path) and value['model.neck']['depth'] == 1
    else:
        assert value['model.target']['model'] == value['model.backbone.init_cfg']['checkpoint']
        assert value['model.head']['loss_on'] == 'masked'
    assert default_method(start, 'efficientnet-lite0') == 'features'


def test_a_public_network_is_a_start_by_name(tmp_path, monkeypatch):
    model = randomise(timm.create_model('vit_tiny_patch16_224', img_size=32, depth=2, num_classes=0))
    network = Network(model, 'timm:any', 'apache-2.0', (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), (32, 32), 'bicubic', 1.0, None)
    monkeypatch.setattr(start_module, 'open_network', lambda name: network)
    start = find_start('timm:any', SIZES)
    assert (start.kind, start.licence, start.mean, start.std) == ('public', 'apache-2.0', network.mean, network.std)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(start.encoder.eval()(images), model.forward_features(images), **FLOAT32)
    again = find_start(start.write(str(tmp_path)), SIZES)
    assert (again.licence, again.mean, again.std) == (start.licence, start.mean, start.std)


def test_a_rotary_network_is_answered(monkeypatch):
    model = timm.create_model('eva02_tiny_patch14_224', img_size=28, depth=2, num_classes=0).eval()
    network = Network(model, 'timm:eva', 'mit', (0.0,) * 3, (1.0,) * 3, (28, 28), 'bicubic', 1.0, None)
    monkeypatch.setattr(start_module, 'open_network', lambda name: network)
    with pytest.raises(ValueError, match='timm:eva cannot be trained from here.*--target timm:eva'):
        find_start('timm:eva', SIZES)


@pytest.mark.parametrize(
    'name, words',
    [
        ('vit-tinny', 'vit-tiny'),
        ('vit_small_patch14_dinov2', 'timm:vit_small_patch14_dinov2'),
        ('no/such.pth', 'no such'),
    ],
)
def test_an_unknown_name_says_what_there_is(name, words):
    with pytest.raises(ValueError, match=f'is not known.*{words}'):
        find_start(name, SIZES)


CALL = """
import json, sys
import mmmim
call = json.loads(sys.argv[1])
mmmim.pretrain(call.pop('data'), call.pop('out'), **call)
"""


@pytest.mark.runs
@pytest.mark.parametrize('kind', ['hugging_face', 'mae'])
def test_training_goes_on_and_resumes_bit_identical(kind, tmp_path, image_root):
    path, _, _ = FILES[kind](tmp_path)
    call = dict(data=str(image_root), model=str(path), epochs=2, optim_wrapper__dtype='float32')
    call.update(train_dataloader__num_workers=0, test_dataloader__num_workers=0, total_batch_size=16)
    whole, stopped = (dict(call, out=str(tmp_path / name)) for name in ('whole', 'stopped'))
    python('-c', CALL, json.dumps(whole))
    stop = 'import mmmim.engine.loops.epoch_loop as e\nrun = e.ResumableEpochLoop.run_iter\n' + (
        'def run_iter(self, *a):\n    run(self, *a)\n    if self._iter == 4: __import__("os").kill('
        '__import__("os").getpid(), 15)\ne.ResumableEpochLoop.run_iter = run_iter\n'
    )
    python('-c', stop + CALL, json.dumps(stopped), check=False)
    assert not os.path.exists(tmp_path / 'stopped/encoder.safetensors')
    os.remove(path)  # the run has what it needs
    python('-c', CALL, json.dumps(stopped))
    assert largest_difference(load_weights(tmp_path / 'whole'), load_weights(tmp_path / 'stopped')) == 0
    record = json.loads(Path(tmp_path / 'stopped/run.json').read_text())
    assert record['start'] == dict(name=str(path), kind='file', licence='unknown')


@pytest.mark.runs
@pytest.mark.parametrize('kind', ['hugging_face', 'mae'])
def test_two_processes_go_on_as_one(kind, tmp_path, image_root):
    path, _, _ = FILES[kind](tmp_path)
    options = {'optim_wrapper.dtype': 'float32', 'total_batch_size': 16, 'custom_hooks': []}
    options.update({f'{part}_dataloader.num_workers': 0 for part in ('train', 'test')})
    config = write_config(str(image_root), str(tmp_path / 'run'), model=str(path), epochs=1, overrides=options)
    curves = []
    for processes in (1, 2):
        train(Path(config), '--work-dir', str(tmp_path / str(processes)), processes=processes)
        curves.append([line['loss'] for line in read_curve(tmp_path / str(processes)) if 'loss' in line])
    assert len(curves[0]) == 3 and curves[1] == near(curves[0])
