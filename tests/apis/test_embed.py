"""mmmim.embed: a feature vector for each image of a folder."""

import json
import shutil

import numpy as np
import pytest
import torch
from fake_hub import FakeHub
from harness import make_config, train_here

import mmmim
from mmmim.apis import embed
from mmmim.apis.from_checkpoint import build_pipeline, load_backbone, read_source
from mmmim.commands import embed as embed_command
from mmmim.datasets import read_list
from mmmim.models.backbones import MaskedViT


@pytest.fixture(scope='module')
def run(tmp_path_factory, image_root):
    from mmengine.registry import DefaultScope

    folder = tmp_path_factory.mktemp('embedded')
    with DefaultScope.overwrite_default_scope('mmmim'):
        train_here(make_config(folder / 'run', image_root, epochs=2, **{'custom_imports.imports': ['mmmim']}))
    return folder / 'run'


def test_rows_are_the_encoders_features_in_the_order_of_names(run, image_root, tmp_path):
    out = str(tmp_path / 'sub/features.npy')
    result = embed(str(run / 'epoch_2.pth'), str(image_root), out, num_workers=0, batch_size=7)
    features = np.load(out)
    names = (tmp_path / 'sub/features.txt').read_text().splitlines()
    assert features.shape == (64, 32) and features.dtype == np.float32 and len(names) == 64
    assert names == sorted(names) == result.names and result.unreadable == []

    source = read_source(str(run / 'epoch_2.pth'))
    backbone, preprocessor = load_backbone(source)
    sample = dict(img_path=str(image_root / names[40]))
    for transform in build_pipeline(source, backbone.img_size, 3):
        sample = transform(sample)
    with torch.no_grad():
        tokens = backbone(preprocessor.normalize(sample['inputs'][None]))
    np.testing.assert_allclose(features[40], tokens[0, 1:].mean(0).numpy(), rtol=1e-4, atol=1e-5)


def test_exported_encoder_and_workers_give_the_same(run, image_root, tmp_path):
    first = embed(str(run / 'epoch_2.pth'), str(image_root), str(tmp_path / 'a.npy'), num_workers=0).features
    second = embed(str(run / 'encoder.safetensors'), str(image_root), str(tmp_path / 'b.npy'), num_workers=2).features
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('name', ['photos.txt', 'photos.npy'])
def test_what_is_given_as_data_is_not_overwritten(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text('1.png\n')
    for data in (name, ['other.txt', str(tmp_path / name)]):
        with pytest.raises(ValueError, match=f'would overwrite .*{name}.* another name'):
            embed('nothing.pth', data, './photos.npy')
    assert (tmp_path / name).read_text() == '1.png\n'


def test_where_no_image_can_be_read_it_says_why(run, tmp_path):
    (tmp_path / 'photos').mkdir()
    np.save(tmp_path / 'photos/0.npy', np.zeros((40, 40, 13), np.uint16))
    with pytest.raises(ValueError, match=r'none of the 1 images .*0\.npy: has 13 channels, but 3 channels were'):
        embed(str(run), str(tmp_path / 'photos'), str(tmp_path / 'a.npy'), num_workers=0)


@pytest.mark.parametrize('layer', [None, 1, 'auto'])
def test_layer_of_the_run_and_former_name(run, image_root, tmp_path, layer):
    copy = shutil.copytree(run, tmp_path / 'run')
    (copy / 'run.json').write_text(json.dumps({**json.loads((run / 'run.json').read_text()), 'layer': 1}))
    photos, out = str(image_root / 'class0'), str(tmp_path / 'a.npy')
    features = embed(str(copy), photos, out, num_workers=0, layer=layer).features
    output = embed(checkpoint=str(copy / 'encoder.safetensors'), data=photos, out=out, num_workers=0).features
    assert features.shape == output.shape and np.abs(features - output).max() > 1e-3
    first = mmmim.load(copy / 'encoder.safetensors', layer=1).embed(sorted((image_root / 'class0').iterdir()))
    np.testing.assert_allclose(features, first, atol=1e-5)


def test_public_weights(image_root, tmp_path, monkeypatch):
    hub = FakeHub(tmp_path / 'hub', monkeypatch)
    hub.put_timm('test_resnet.r160_in1k')
    photos = image_root / 'class0'
    embed_command.main(
        ['--model', 'timm:test_resnet', '--data', str(photos), '--out', str(tmp_path / 'a.npy'), '--layer', '2']
    )
    frozen = mmmim.load('timm:test_resnet', layer=2)
    np.testing.assert_allclose(np.load(tmp_path / 'a.npy'), frozen.embed(sorted(photos.iterdir())), atol=1e-5)


def test_class_token_is_another_feature(run, image_root, tmp_path):
    mean, cls = (
        embed(
            str(run / 'epoch_2.pth'), str(image_root), str(tmp_path / f'{pool}.npy'), pool=pool, num_workers=0
        ).features
        for pool in ('mean', 'cls')
    )
    assert np.abs(mean - cls).max() > 1e-3


@torch.no_grad()
def test_one_of_several_networks_by_its_prefix(tmp_path, image_root, capsys):
    """DINO's file, with register tokens and no config: the architecture follows from the shapes."""
    shutil.copytree(image_root / 'class0', tmp_path / 'photos')
    networks = {}
    for seed, name in enumerate(('teacher', 'student')):
        torch.manual_seed(seed)
        networks[name] = MaskedViT('tiny', 32, 8, num_register_tokens=2).eval()
    torch.save({name: network.state_dict() for name, network in networks.items()}, tmp_path / 'dino.pth')
    images = None
    for options, name in ((dict(), 'teacher'), (dict(prefix='student'), 'student'), (dict(part='student'), 'student')):
        path, out = str(tmp_path / 'dino.pth'), str(tmp_path / f'{len(options)}{name}.npy')
        features = embed(path, str(tmp_path / 'photos'), out, pool='cls', num_workers=0, **options).features
        if images is None:
            source = read_source(path)
            backbone, preprocessor = load_backbone(source)
            pipeline = build_pipeline(source, backbone.img_size, 3)
            samples = [dict(img_path=str(file)) for file in sorted((tmp_path / 'photos').iterdir())]
            for transform in pipeline:
                samples = [transform(sample) for sample in samples]
            images = preprocessor.normalize(torch.stack([sample['inputs'] for sample in samples]))
        np.testing.assert_allclose(features, networks[name](images)[:, 0].numpy(), atol=1e-5)
        assert ("'teacher' is taken" in capsys.readouterr().err) == (not options)


def test_unreadable_images_have_no_row_and_are_named(run, image_root, tmp_path):
    shutil.copytree(image_root / 'class0', tmp_path / 'photos')
    (tmp_path / 'photos/005.jpg').write_text('no image')
    result = embed(
        str(run / 'epoch_2.pth'), str(tmp_path / 'photos'), str(tmp_path / 'f.npy'), num_workers=0, batch_size=1
    )
    assert result.unreadable == ['005.jpg'] and len(result.names) == 31 and np.load(tmp_path / 'f.npy').shape[0] == 31
    whole = embed(str(run / 'epoch_2.pth'), str(image_root / 'class0'), str(tmp_path / 'g.npy'), num_workers=0)
    np.testing.assert_allclose(result.features[5], whole.features[6], rtol=1e-4, atol=1e-5)  # rows moved up by one


@pytest.mark.parametrize(
    'call, message',
    [
        (dict(out='features.csv'), 'must end in .npy'),
        (dict(data='nowhere'), "'nowhere' does not exist; a folder of images is needed, a list"),
        (dict(data='empty'), 'there are no images'),
        (dict(data='broken'), 'none of the 2 images'),
        (dict(model='none.pth'), "'none.pth' is no file"),
        (dict(model='resnet18'), 'did you mean timm:resnet18'),
        (dict(model='timm:resnt18'), "timm .* has no model 'resnt18'.*resnet18"),
        (dict(model=None), 'give model'),
        (dict(checkpoint='a.pth'), 'not both'),
        (dict(layer=9), 'layer=9'),
        (dict(pool='max'), "pool='max'"),
        (dict(batch_size=0), 'at least 1'),
    ],
    ids=str,
)
def test_what_cannot_be_is_said_and_leaves_nothing_behind(run, image_root, tmp_path, monkeypatch, call, message):
    monkeypatch.chdir(tmp_path)
    for name, files in (('empty', 0), ('broken', 2)):
        (tmp_path / name).mkdir()
        for i in range(files):
            (tmp_path / name / f'{i}.jpg').write_text('no image')
    arguments = dict(dict(model=str(run / 'epoch_2.pth'), data=str(image_root), out='features.npy'), **call)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        embed(num_workers=0, **arguments)
    assert {path.name for path in tmp_path.iterdir()} == {'empty', 'broken'}


def test_the_same_call_again_and_several_sources(run, image_root, tmp_path, capsys):
    photos = shutil.copytree(image_root / 'class0', tmp_path / 'photos')
    (photos / 'x.heic').write_text('')
    shutil.move(str(photos / '000.jpg'), photos / ' a\n1.jpg')
    for _ in range(2):  # the features of the first call lie among the images
        first = embed(str(run / 'epoch_2.pth'), str(photos), str(photos / 'features.npy'), num_workers=0)
        assert len(first.names) == 32 and first.unreadable == []
    assert [name for _, name, _ in read_list(str(photos / 'features.txt'))] == first.names
    assert 'skipped: 1 x .heic' in capsys.readouterr().out
    (tmp_path / 'list.txt').write_text('photos/003.jpg\nphotos/001.jpg\n')
    data = [str(tmp_path / 'list.txt'), str(image_root / 'class1')]
    both = embed(str(run / 'epoch_2.pth'), data, str(tmp_path / 'b.npy'), num_workers=0)
    assert len(both.names) == 34 and np.allclose(
        both.features[0], first.features[first.names.index('003.jpg')], atol=1e-5
    )
