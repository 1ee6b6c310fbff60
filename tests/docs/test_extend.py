"""The code of docs/extend is whole files that run: each page is written to a folder and used as it says."""

import importlib
import importlib.util
import json
import pickle
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from harness import ROOT, load_weights, near, python, read_curve
from PIL import Image

import mmmim
from mmmim.checkpoint import load_file, schemes
from mmmim.cli import COMMANDS
from mmmim.commands import convert
from mmmim.config.load import load_config
from mmmim.models.backbones import MaskedViT
from mmmim.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from mmmim.registry import DATASETS, MODELS, TRANSFORMS

PAGES = sorted((ROOT / 'docs/extend').glob('*.md'))
BLOCK = re.compile(r'^```(\w*)\n(.*?)^```', flags=re.M | re.S)
STEPS = 4  # 32 images in batches of 8
# what a page's command does not say: a run of seconds
SMALL = [
    'total_batch_size=8',
    'max_epochs=2',
    'warmup_epochs=0',
    'optim_wrapper.dtype=float32',
    'train_dataloader.num_workers=0',
    'test_dataloader.num_workers=0',
    'model.backbone.arch.embed_dim=48',
    'model.backbone.arch.depth=2',
    'default_hooks.checkpoint.interval=2',
    'default_hooks.logger.interval=2',
]


def files_of(page: Path) -> dict:
    """``{'my_method.py': text}`` of the python blocks, whose first line is their name."""
    blocks = [text for language, text in BLOCK.findall(page.read_text(encoding='utf-8')) if language == 'python']
    return {re.match(r'# (\w+\.py)\n', text)[1]: text for text in blocks}


def commands_of(page: Path) -> list:
    return [
        line
        for language, text in BLOCK.findall(page.read_text(encoding='utf-8'))
        if language == 'bash'
        for line in text.splitlines()
    ]


@pytest.fixture(scope='module')
def photos(image_root, tmp_path_factory):
    """``train/<class>/*`` and ``val/<class>/*``, 20 and 12 images."""
    root = tmp_path_factory.mktemp('extend') / 'photos'
    for split, places in (('train', range(10)), ('val', range(10, 16))):
        for folder in image_root.iterdir():
            (root / split / folder.name).mkdir(parents=True)
            for i in places:
                shutil.copy(folder / f'{i:03d}.jpg', root / split / folder.name)
    return root


@pytest.fixture
def written(request, tmp_path):
    """A folder with the files of a page."""
    for name, text in files_of(ROOT / f'docs/extend/{request.param}.md').items():
        (tmp_path / name).write_text(text)
    shutil.copy(Path(__file__).parent / 'lmdb_stand_in.py', tmp_path / 'lmdb.py')
    if getattr(importlib.util.find_spec('datasets'), 'origin', None) is None:  # absent, or a folder of these tests
        shutil.copy(Path(__file__).parent / 'datasets_stand_in.py', tmp_path / 'datasets.py')
    return tmp_path


def of(page):
    return pytest.mark.parametrize('written', [page], indirect=True)


@pytest.fixture
def modules(written, monkeypatch):
    """Imports files of the page into this process, and forgets them afterwards."""
    monkeypatch.syspath_prepend(written)
    before = set(sys.modules)
    registered = {registry: dict(registry.module_dict) for registry in (MODELS, DATASETS, TRANSFORMS)}
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], '__file__', None) and Path(sys.modules[name].__file__).parent == written:
            del sys.modules[name]
    for registry, parts in registered.items():
        registry._module_dict.clear()
        registry._module_dict.update(parts)


def run_page(folder: Path, config: str, photos: Path, *options: str) -> Path:
    """``python -m mmmim train CONFIG``, for two epochs; the work dir."""
    command('train', config, '--work-dir', 'run', '--cfg-options', f'data_root={photos}', *SMALL, *options, cwd=folder)
    return folder / 'run'


def command(name: str, *arguments, cwd: Path) -> None:
    python('-m', 'mmmim', name, *arguments, cwd=cwd, check=True)


def last_losses(run: Path, name: str = 'loss') -> float:
    """Their mean over the last eight iterations."""
    return float(np.mean([line[name] for line in read_curve(run)[-8:]]))


def normalised_pixels(photos: Path) -> np.ndarray:
    """``[N, 3]`` of all images, as the model sees them."""
    pixels = np.concatenate([np.asarray(Image.open(path)).reshape(-1, 3) for path in photos.rglob('*.jpg')])
    return (pixels - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)


# ----------------------------------------------------------------------------------------------------------- the pages


def test_every_block_is_a_file_and_every_config_has_its_command():
    for page in PAGES:
        names = files_of(page)
        for name, text in names.items():
            compile(re.sub(r'\{\{.*?\}\}', '0', text), name, 'exec')
        for line in commands_of(page):
            words = re.sub(r'^PYTHONPATH=\S+ ', '', line).split()
            if words[:3] == ['python', '-m', 'mmmim']:
                assert words[3] in COMMANDS and (words[4] in names or words[4] == 'my_config.py'), line
            else:
                script = words[1] if words[0] == 'python' else words[0]
                assert script in names or (ROOT / script).is_file(), line


def test_files_and_parts_that_the_pages_name_exist():
    for page in PAGES:
        text = page.read_text(encoding='utf-8')
        inside = text.find('## Inside the package')  # names what is to be made
        for path in re.findall(r'`((?:mmmim|tests|tools|configs)/[\w/.]+\.\w+)`', text[:inside]):
            assert (ROOT / path).exists(), f'{page.name}: {path}'


def test_the_table_of_parts_has_all_that_are_registered():
    text = (ROOT / 'docs/extend/method.md').read_text(encoding='utf-8')
    for row in ('backbone', 'neck', 'target', 'head'):
        names = re.findall(r'`(\w+)`', re.search(rf'^\| {row} \| (.*) \|$', text, flags=re.M)[1])
        assert names and all(MODELS.get(name) is not None for name in names)


# ------------------------------------------------------------------------------------------------------------- methods


@of('method')
@pytest.mark.runs
def test_simmim_is_a_config(written, photos):
    run = run_page(written, 'my_simmim.py', photos, 'max_epochs=12', 'warmup_epochs=1', 'base_lr=6e-2')
    weights = load_weights(run)
    assert 'neck.decoder.0.weight' in weights and 'backbone.mask_token' in weights
    pixels = normalised_pixels(photos)
    assert last_losses(run) < 0.95 * np.abs(pixels - np.median(pixels, axis=0)).mean()  # the best constant prediction


@of('method')
@pytest.mark.runs
def test_a_method_of_ones_own_trains(written, photos):
    run = run_page(written, 'my_two_masks.py', photos, 'max_epochs=7', 'warmup_epochs=1', 'base_lr=6e-2')
    curve = read_curve(run)
    assert all({'loss_pixels', 'loss_agreement', 'removed_by_both'} <= set(line) for line in curve)
    assert curve[0]['removed_by_both'] == near(0.5)  # each keeps another quarter
    assert last_losses(run, 'loss_pixels') < 0.8  # a constant has 1: the patches are normalised
    assert (run / 'encoder.safetensors').exists()


@of('method')
@pytest.mark.runs
def test_a_teacher_follows_and_resumes(written, photos):
    whole = load_weights(run_page(written, 'my_teacher_config.py', photos))
    for name, value in whole.items():
        if name.startswith('teacher.backbone.blocks'):
            online = whole[name.removeprefix('teacher.')]
            assert value.ndim < 2 or not torch.equal(value, online)
    shutil.rmtree(written / 'run')
    run_page(written, 'my_teacher_config.py', photos, 'train_cfg.max_iters=3')
    options = ['--cfg-options', f'data_root={photos}', *SMALL]
    command('train', 'my_teacher_config.py', '--work-dir', 'run', '--resume', *options, cwd=written)
    resumed = load_weights(written / 'run')
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


@of('method')
def test_the_loss_of_the_method_is_what_its_page_says(modules):
    modules('my_method')
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='TwoMasks',
            agreement_weight=2.0,
            backbone=dict(type='MaskedViT', arch=dict(embed_dim=32, depth=1, num_heads=2), img_size=16, patch_size=4),
            neck=dict(type='MAEDecoder', embed_dim=16, depth=1, num_heads=2),
            target=dict(type='PixelTarget'),
            head=dict(type='ReconstructionHead'),
        )
    )
    images, noise = torch.randn(2, 3, 16, 16), torch.rand(2, 16)
    losses = model.loss(images, noise=noise)
    first, second = (model.masking(x) for x in (noise, 1 - noise))
    a, b = (model.neck(model.backbone(images, mask), mask) for mask in (first, second))
    removed = (first.mask * second.mask).bool()
    assert removed.sum(dim=1).tolist() == [8, 8]
    assert losses['loss_agreement'].item() == near(2 * (a - b)[removed].square().mean().item())
    assert losses['loss_pixels'].item() == near(model.head.loss(a, model.target(images), first).item())


# ------------------------------------------------------------------------------------------------------------- targets


@of('target')
@pytest.mark.runs
def test_dino_features_are_a_config(written):
    network = timm.create_model('vit_small_patch16_224.dino')  # random: the real weights are a download
    torch.save(network.state_dict(), written / 'dino.pth')
    overrides = {'model.target.weights': str(written / 'dino.pth'), 'model.neck.depth': 1, 'model.neck.embed_dim': 48}
    cfg = load_config(str(written / 'my_dino.py'), {**overrides, 'model.neck.num_heads': 3})
    cfg.model.backbone.arch = dict(embed_dim=48, depth=1, num_heads=3)
    model = MODELS.build(cfg.model)
    images = torch.randn(2, 3, 224, 224)
    losses = model.loss(images)
    losses['loss'].backward()
    assert -1 <= losses['loss'].item() <= 1  # a negative cosine
    assert model.target(images).shape == (2, 196, 384) and not list(model.target.parameters())
    assert model.neck.decoder_pred.out_features == 384 and model.neck.decoder_pred.weight.grad.any()


@of('target')
@torch.no_grad()
def test_a_target_of_ones_own(modules):
    target = modules('my_target').CoarsePixelTarget(patch_size=8, in_chans=3, cells=2)
    images = torch.randn(2, 3, 16, 24)
    coarse = target(images)
    assert coarse.shape == (2, 6, target.out_dim) == (2, 6, 12)
    # the second patch of the second row; its lower left cell
    torch.testing.assert_close(coarse[1, 4].reshape(2, 2, 3)[1, 0], images[1, :, 12:16, 8:12].mean(dim=(1, 2)))
    torch.testing.assert_close(target.to_pixels(coarse, images).mean(dim=1), target.to_pixels(coarse, images).mean(1))
    repeated = target.to_pixels(coarse, images).reshape(2, 6, 8, 8, 3)
    torch.testing.assert_close(repeated[1, 4, 7, 0], coarse[1, 4].reshape(2, 2, 3)[1, 0])


@of('target')
@pytest.mark.runs
def test_the_own_target_trains(written, photos):
    run = run_page(written, 'my_coarse.py', photos, 'max_epochs=7', 'warmup_epochs=1', 'base_lr=6e-2')
    assert last_losses(run) < 0.8 * normalised_pixels(photos).var(axis=0).mean()  # of the mean colour


# ----------------------------------------------------------------------------------------------------------- data sets


@of('dataset')
@pytest.mark.runs
def test_images_from_an_lmdb_train_as_those_of_the_folder(written, photos):
    python(written / 'make_lmdb.py', photos, 'data/photos.lmdb', cwd=written, check=True)
    options = [option for option in SMALL if not option.startswith('test_dataloader')]
    small = ['--cfg-options', *options, 'train_dataloader.num_workers=1']
    command('train', 'my_lmdb.py', '--work-dir', 'run', *small, cwd=written)
    small = ['--cfg-options', f'data_root={photos}', *SMALL]
    command('train', 'mmmim::mae/vit-tiny_folder.py', '--work-dir', 'folder', *small, cwd=written)
    ours, folders = load_weights(written / 'run'), load_weights(written / 'folder')
    assert all(torch.equal(ours[name], value) for name, value in folders.items())


@of('dataset')
def test_the_lmdb_data_set_keeps_the_contract(written, modules, photos):
    modules('make_lmdb').write(photos / 'train', written / 'photos.lmdb')
    module = modules('my_dataset')
    pipeline = [dict(type='LoadImage'), dict(type='CenterCrop', size=16), dict(type='PackImage')]
    dataset = module.LMDBImages(data_root=str(written / 'photos.lmdb'), pipeline=pipeline)
    assert len(dataset) == 20 and dataset.metainfo['classes'] == ('class0', 'class1')
    assert dataset.get_labels().tolist() == [0] * 10 + [1] * 10
    sample = dataset[13]
    assert sample['inputs'].shape == (3, 16, 16) and sample['data_samples'].gt_label == 1
    folder = DATASETS.build(dict(type='ImageFolder', data_root=str(photos / 'train'), pipeline=pipeline))
    assert torch.equal(sample['inputs'], folder[13]['inputs'])
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[13]['inputs'], sample['inputs'])  # as a worker gets it
    dataset.get_subset_([3, 13])
    assert dataset.get_labels().tolist() == [0, 1] and torch.equal(dataset[1]['inputs'], sample['inputs'])


def save_rows(datasets, photos, place, encode=True):
    """The images of class folders as a Hugging Face data set on the disk."""
    files = sorted((photos / 'train').glob('*/*.jpg'))
    labels = [int(file.parent.name[-1]) for file in files]
    images = [dict(bytes=file.read_bytes(), path=None) for file in files]
    if not encode:
        images[3] = dict(bytes=None, path=str(photos / 'gone.jpg'))
    features = datasets.Features(dict(image=datasets.Image(), label=datasets.ClassLabel(names=['class0', 'class1'])))
    datasets.Dataset.from_dict(dict(image=images, label=labels), features=features).save_to_disk(str(place))


@of('dataset')
def test_images_of_a_hugging_face_data_set(written, modules, photos):
    save_rows(modules('datasets'), photos, written / 'rows')
    pipeline = [dict(type='LoadImage'), dict(type='CenterCrop', size=16), dict(type='PackImage')]
    module = modules('hf_images')
    dataset = module.HuggingFaceImages(data_root=str(written / 'rows'), pipeline=pipeline)
    folder = DATASETS.build(dict(type='ImageFolder', data_root=str(photos / 'train'), pipeline=pipeline))
    assert len(dataset) == 20 and dataset.metainfo['classes'] == ('class0', 'class1')
    assert dataset.get_labels().tolist() == folder.get_labels().tolist()
    for i in (0, 13):
        assert torch.equal(dataset[i]['inputs'], folder[i]['inputs'])
        assert torch.equal(pickle.loads(pickle.dumps(dataset))[i]['inputs'], folder[i]['inputs'])
    with pytest.raises(ValueError, match="no column 'photo'; there are .*'image', 'label'"):
        module.HuggingFaceImages(data_root=str(written / 'rows'), image='photo')
    unlabelled = module.HuggingFaceImages(data_root=str(written / 'rows'), label='none', pipeline=pipeline)
    assert 'gt_label' not in unlabelled[0]['data_samples']


@of('dataset')
def test_a_row_that_cannot_be_read_is_replaced_and_named(written, modules, photos):
    save_rows(modules('datasets'), photos, written / 'rows', encode=False)
    pipeline = [dict(type='LoadImage'), dict(type='CenterCrop', size=16), dict(type='PackImage')]
    dataset = modules('hf_images').HuggingFaceImages(data_root=str(written / 'rows'), pipeline=pipeline)
    (replaced,) = dataset[3]['data_samples'].replaced
    assert replaced[0].endswith('rows#3') and 'FileNotFoundError' in replaced[1]


@of('dataset')
@pytest.mark.runs
def test_a_folder_of_parquet_files_trains_as_the_folder_of_images(written, modules, photos):
    save_rows(modules('datasets'), photos, written / 'rows')
    module = modules('datasets')
    (written / 'data').mkdir()
    module.load_from_disk(str(written / 'rows')).to_parquet(str(written / 'data/train-00000-of-00001.parquet'))
    run_page(written, 'my_parquet.py', written / 'data')
    small = ['--cfg-options', f'data_root={photos}/train', *SMALL]
    command('train', 'mmmim::mae/vit-tiny_folder.py', '--work-dir', 'folder', *small, cwd=written)
    ours, folders = load_weights(written / 'run'), load_weights(written / 'folder')
    assert all(torch.equal(ours[name], value) for name, value in folders.items())


@of('dataset')
def test_what_the_lmdb_lacks_is_replaced_and_named(written, modules, photos):
    modules('make_lmdb').write(photos / 'train', written / 'photos.lmdb')
    next((written / 'photos.lmdb').glob('class0*003.jpg')).unlink()
    pipeline = [dict(type='LoadImage'), dict(type='CenterCrop', size=16), dict(type='PackImage')]
    dataset = modules('my_dataset').LMDBImages(data_root=str(written / 'photos.lmdb'), pipeline=pipeline)
    (replaced,) = dataset[3]['data_samples'].replaced
    assert replaced[0].endswith('class0/003.jpg') and replaced[1] == 'is not in the LMDB'


@of('dataset')
def test_images_of_12_bits(written, modules):
    values = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(values).save(written / 'camera.png')
    modules('my_reader')
    sample = dict(img_path=str(written / 'camera.png'))
    for step in (dict(type='Read12Bits'), dict(type='LoadImage', channels=1), dict(type='Resize', size=16)):
        sample = TRANSFORMS.build(step)(sample)
    assert np.abs(sample['img'][..., 0] - values * (255 / 4095)).max() <= 0.5
    (written / 'torn.png').write_bytes((written / 'camera.png').read_bytes()[:60])
    with pytest.raises(ValueError, match='torn.png'):
        TRANSFORMS.build(dict(type='Read12Bits'))(dict(img_path=str(written / 'torn.png')))


@of('dataset')
@pytest.mark.runs
def test_images_of_12_bits_train(written, tmp_path):
    (tmp_path / 'camera').mkdir()
    rng = np.random.default_rng(0)
    for i in range(16):
        Image.fromarray(rng.integers(0, 4096, (12, 12), dtype=np.uint16)).save(tmp_path / f'camera/{i}.png')
    run = run_page(written, 'my_12_bits.py', tmp_path / 'camera')
    assert len(read_curve(run)) == 4 and load_weights(run)['backbone.patch_embed.proj.weight'].shape[1] == 1


# ------------------------------------------------------------------------------------------------- checkpoint schemes


@pytest.fixture
def their_mae(written, modules):
    """A tiny MAE of ours, and its encoder in a file under the page's names, which are known."""
    known = list(schemes.SCHEMES)
    modules('my_scheme')
    arch = dict(embed_dim=48, depth=2, num_heads=3)
    model = MODELS.build(
        dict(
            type='MAE',
            backbone=dict(type='MaskedViT', arch=arch, img_size=96, patch_size=8),
            neck=dict(type='MAEDecoder', embed_dim=16, depth=1, num_heads=2),
            target=dict(type='PixelTarget'),
            head=dict(type='ReconstructionHead'),
        )
    ).eval()
    encoder = {f'backbone.{name}': value for name, value in model.backbone.state_dict().items()}
    theirs, lost = schemes.translate({**encoder, 'head.weight': torch.ones(5, 48)}, 'mine')
    assert not lost and 'layer1.pre_attention.bias' in theirs and 'cls.weight' in theirs
    torch.save(dict(model={f'module.{name}': value for name, value in theirs.items()}), written / 'theirs.pth')
    yield model
    schemes.SCHEMES[:] = known


@of('scheme')
@torch.no_grad()
def test_a_scheme_is_one_file_and_one_line(written, their_mae, tmp_path):
    """Convert, load_encoder, init_cfg and load_from read its files, and convert writes them."""
    encoder, path, images = their_mae.backbone, str(written / 'theirs.pth'), torch.randn(2, 3, 96, 96)
    tokens = encoder(images)
    convert.convert(path, str(tmp_path / 'ours.pth'), 'mmmim')
    convert.convert(str(tmp_path / 'ours.pth'), str(tmp_path / 'back.pth'), 'mine')
    back = load_file(tmp_path / 'back.pth')
    assert all(torch.equal(back[n.removeprefix('module.')], v) for n, v in load_file(path)['model'].items())
    loaded = mmmim.load_encoder(path, num_heads=3)
    torch.testing.assert_close(loaded.forward_features(images), tokens, atol=1e-5, rtol=0)
    arch = dict(embed_dim=48, depth=2, num_heads=3)
    fresh = MaskedViT(arch, 96, 8, init_cfg=dict(type='Pretrained', checkpoint=path, prefix='backbone.'))
    fresh.init_weights()
    torch.testing.assert_close(fresh.eval()(images), tokens)


@of('scheme')
@pytest.mark.runs
def test_load_from_reads_the_scheme(written, their_mae, photos):
    options = ['load_from=theirs.pth', 'base_lr=0']
    run = run_page(written, 'my_finetuning.py', photos, *options)
    weights, own = load_weights(run), their_mae.backbone.state_dict()
    assert all(torch.equal(weights[f'backbone.{name}'], value) for name, value in own.items())


# ------------------------------------------------------------------------------------------------------------- metrics


@of('metric')
@pytest.mark.runs
def test_a_metric_beside_knn(written, photos):
    curve = read_curve(run_page(written, 'my_rank.py', photos))
    measured = [line for line in curve if 'knn/top1_k20' in line]
    assert [line['iter'] for line in measured] == [0, STEPS, 2 * STEPS]
    assert all(1 <= line['features/effective_rank'] <= 12 for line in measured)  # 12 images


@of('metric')
def test_the_effective_rank(modules):
    rank = modules('my_metric').effective_rank
    directions = torch.cat([torch.eye(3), -torch.eye(3)])  # three of the same size
    assert rank(directions) == near(3)
    assert rank(torch.outer(torch.arange(5.0), torch.randn(4))) == near(1)


@of('metric')
@pytest.mark.runs
def test_a_metric_of_the_test_loop(written, photos):
    checkpoint = run_page(written, 'my_hard_images.py', photos) / 'epoch_2.pth'
    options = [option for option in SMALL if not option.startswith(('total', 'max_epochs', 'warmup'))]
    small = ['--cfg-options', f'data_root={photos}', *options]
    command('test', 'my_hard_images.py', checkpoint, '--work-dir', 'run', '--out', 'numbers.json', *small, cwd=written)
    numbers = json.loads((written / 'numbers.json').read_text())
    assert numbers['held_out/hard_loss'] > numbers['held_out/recon_loss'] > 0


# --------------------------------------------------------------------------------------------------------------- hooks


@of('hook')
@pytest.mark.runs
def test_a_hook_of_ones_own(written, photos):
    run = run_page(written, 'my_watched.py', photos, 'custom_hooks.0.smallest=1.0')
    measured = [line for line in read_curve(run) if 'features/spread' in line]
    assert [line['iter'] for line in measured] == [STEPS, 2 * STEPS]
    assert all(0 < line['features/spread'] < 1 / 48**0.5 + 0.01 for line in measured)
    assert 'features of different images are almost alike' in next(run.glob('*/*.log')).read_text()
