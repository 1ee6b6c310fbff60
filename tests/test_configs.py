"""Every config loads, states its command, resolves to the recipe it names, builds, reads an image and has a loss."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from config_harness import (
    CONFIGS,
    GONE,
    ROOT,
    changed,
    config,
    docstring,
    first_losses,
    flat,
    lines_after_docstring,
    read,
    resolved,
    shrunk,
    without_weights,
)
from mmengine.registry import DefaultScope
from PIL import Image

from mmmim.config.load import load_config
from mmmim.models.build import check_model
from mmmim.registry import DATASETS, MODELS

PRETRAINING = [name for name in CONFIGS if '/downstream/' not in name]
ABLATIONS = [name for name in CONFIGS if name.startswith('configs/mae/ablations/')]
DEFAULT = 'configs/mae/ablations/_default.py'
IMAGENET = {
    f'configs/mae/vit-{size}_{epochs}e.py': (arch, patch, epochs)
    for size, arch, patch in (('s', 'small', 16), ('b', 'base', 16), ('l', 'large', 16), ('h', 'huge', 14))
    for epochs in (300, 800, 1600)
}
IMAGENET.update({f'configs/mae/conv-vit-b_{epochs}e.py': ('base', 16, epochs) for epochs in (800, 1600)})


@pytest.fixture(scope='module', autouse=True)
def one_thread():
    """These models are so small that threads only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='module')
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp('photos') / 'photo.png'
    pixels = np.random.default_rng(0).integers(0, 256, (26, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((300, 260)).save(path)
    return str(path)


@pytest.mark.parametrize('name', CONFIGS)
def test_docstring_has_the_command_of_this_file(name):
    tools = r'tools/(?:dist_train\.sh|slurm_train\.sh|train\.py|test\.py)'
    commands = re.findall(rf'{tools}\s+(configs/\S+\.py)', docstring(name))
    assert commands and set(commands) == {name}


@pytest.mark.parametrize('name', [*IMAGENET, *ABLATIONS])
def test_docstring_says_hardware_result_and_where_it_stands(name):
    text = ' '.join(docstring(name).split())
    assert '8 GPUs with 80 GB' in text and 'Published' in text and 'Not reproduced by this code yet.' in text


@pytest.mark.parametrize('name', PRETRAINING)
def test_schedule_batch_and_learning_rate(name):
    cfg = resolved(name)
    warmup, rest = cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == cfg.max_epochs == rest.end
    assert (warmup.begin, warmup.end) == (0, cfg.warmup_epochs) and rest.begin == cfg.warmup_epochs
    if rest.type == 'CosineAnnealingLR':
        assert rest.T_max == cfg.max_epochs - cfg.warmup_epochs
    else:  # MMEngine counts a milestone from where the scheduler begins
        assert rest.milestones == [cfg.max_epochs - 100 - cfg.warmup_epochs]
    batch, accumulation = cfg.train_dataloader.batch_size, cfg.optim_wrapper.accumulative_counts
    assert 8 * batch * accumulation == cfg.total_batch_size == cfg.train_dataloader.sampler.round_to
    assert batch <= cfg.max_batch_per_device
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(cfg.base_lr * cfg.total_batch_size / 256)


@pytest.mark.parametrize('name', IMAGENET)
def test_published_recipe(name):
    arch, patch, epochs = IMAGENET[name]
    cfg = resolved(name)
    assert (cfg.model.backbone.arch, cfg.model.backbone.patch_size, cfg.max_epochs) == (arch, patch, epochs)
    assert cfg.model.mask_ratio == 0.75 and cfg.model.masking == 'random' and cfg.model.head.loss_on == 'masked'
    assert cfg.model.target == dict(type='PixelTarget', norm_pix=True)
    assert cfg.model.neck == dict(type='MAEDecoder', embed_dim=512, depth=8, num_heads=16)
    assert (cfg.total_batch_size, cfg.warmup_epochs) == (4096, 40)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW' and tuple(optimizer.betas) == (0.9, 0.95) and optimizer.weight_decay == 0.05
    assert optimizer.lr == pytest.approx(1.5e-4 * 16)


@pytest.mark.parametrize('name', PRETRAINING)
def test_builds_and_has_a_loss(name, photo, tmp_path, monkeypatch):
    cfg = config(name)
    size = cfg.model.backbone.img_size
    views = read(cfg.train_dataloader.dataset.pipeline, photo)['inputs']
    assert [view.shape for view in (views if isinstance(views, list) else [views])] == (
        [(3, size, size)] * (2 if cfg.model.type == 'CMAE' else 1)
    )
    assert read(cfg.test_dataloader.dataset.pipeline, photo)['inputs'].shape == (3, size, size)
    if cfg.model.get('neck') and 'num_heads' in cfg.model.neck:
        assert cfg.model.neck.embed_dim % cfg.model.neck.num_heads == 0
    without_weights(monkeypatch)
    if cfg.model.target.type == 'DALLETarget':
        monkeypatch.chdir(tmp_path)  # so that data/ is not there
        with pytest.raises(FileNotFoundError, match=r'data/dalle_encoder\.pth.*model\.target\.weights'):
            MODELS.build(shrunk(cfg))
        cfg.model.target.weights = tiny_dalle_encoder(tmp_path, monkeypatch)
    check_model(cfg.model)
    losses = first_losses(shrunk(cfg), cfg.train_dataloader.dataset.pipeline, photo)
    assert losses and all(loss.requires_grad and torch.isfinite(loss) for loss in losses.values())


def tiny_dalle_encoder(folder, monkeypatch):
    """Let one convolution stand for mmpretrain's DALLEEncoder (50M parameters); the path of its weights."""

    def encoder():
        return torch.nn.Conv2d(3, 8192, 8, 8)

    monkeypatch.setitem(sys.modules, 'mmpretrain.models.selfsup', types.SimpleNamespace(DALLEEncoder=encoder))
    torch.save(encoder().state_dict(), folder / 'tiny.pth')
    return str(folder / 'tiny.pth')


# ---------------------------------------------------------------- ablations: what each row changes, and nothing else

RESIZED = dict(type='RandomResizedCrop', size=224, scale=(0.2, 1.0), interpolation='bicubic')
FLIP, LOAD, PACK = dict(type='RandomFlip', prob=0.5), dict(type='LoadImage'), dict(type='PackImage')
CENTER, FIXED = dict(type='CenterCrop', size=224, ratio=0.875), dict(type='FixedSizeCrop', size=224, resize=256)
JITTER = dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
PIPELINE, ARCH, PATCH = 'train_dataloader.dataset.pipeline', 'model.backbone.arch', 'model.backbone.patch_size'
TOKENS, DEPTH, LIMIT = 'model.backbone.mask_tokens', 'model.neck.depth', 'max_batch_per_device'
NORM_PIX, TARGET, HEAD = 'model.target.norm_pix', 'model.target.type', 'model.head.type'
HUGE = {ARCH: 'huge', PATCH: 14, LIMIT: 128}
DIFFERENCES = {
    **{f'decoder-depth-{depth}': {DEPTH: depth} for depth in (1, 2, 4, 12)},
    **{
        f'decoder-width-{width}': {'model.neck.embed_dim': width, 'model.neck.num_heads': heads}
        for width, heads in ((128, 4), (256, 8), (768, 24), (1024, 32))
    },
    'encoder-with-mask-tokens': {TOKENS: True},
    'target-pixel-norm': {NORM_PIX: True},
    'target-pca': {TARGET: 'PCATarget', NORM_PIX: GONE, 'model.target.num_components': 96},
    'target-dvae': {
        TARGET: 'DALLETarget',
        NORM_PIX: GONE,
        'model.target.weights': 'data/dalle_encoder.pth',
        HEAD: 'TokenHead',
    },
    'aug-none': {PIPELINE: [LOAD, CENTER, PACK]},
    'aug-crop-fixed': {PIPELINE: [LOAD, FIXED, FLIP, PACK]},
    'aug-crop-jitter': {PIPELINE: [LOAD, RESIZED, FLIP, JITTER, PACK]},
    'mask-block-50': {'model.masking': 'block', 'model.mask_ratio': 0.5},
    'mask-block-75': {'model.masking': 'block'},
    'mask-grid-75': {'model.masking': 'grid'},
    **{f'mask-ratio-{percent}': {'model.mask_ratio': percent / 100} for percent in range(10, 100, 10)},
    'loss-all-pixels': {'model.head.loss_on': 'all'},
    'table2-vit-l-mask-tokens': {TOKENS: True},
    'table2-vit-l-depth-1': {DEPTH: 1},
    'table2-vit-h-mask-tokens': {**HUGE, TOKENS: True},
    'table2-vit-h-depth-8': HUGE,
    'table2-vit-h-depth-1': {**HUGE, DEPTH: 1},
    **dict.fromkeys(
        (
            'decoder-depth-8',
            'decoder-width-512',
            'encoder-without-mask-tokens',
            'target-pixel',
            'aug-crop-random',
            'mask-random-75',
            'table2-vit-l-depth-8',
        ),
        {},
    ),
}


def test_every_ablation_is_listed():
    assert {Path(name).stem for name in ABLATIONS} == set(DIFFERENCES)


@pytest.mark.parametrize('row', DIFFERENCES)
def test_ablation_differs_in_what_it_names(row):
    assert changed(f'configs/mae/ablations/{row}.py', DEFAULT) == DIFFERENCES[row]


@pytest.mark.parametrize('row', DIFFERENCES)
def test_ablation_is_short(row):
    assert lines_after_docstring(f'configs/mae/ablations/{row}.py') <= 5


def test_ablation_default_is_the_slides():
    assert changed(DEFAULT, 'configs/mae/vit-l_800e.py') == {NORM_PIX: False}


# ------------------------------------------------------------------------------------------- the folder; the pages


def test_folder_config_reads_any_folder(photo):
    root = str(Path(photo).parent)
    cfg = load_config(str(ROOT / 'configs/mae/vit-tiny_folder.py'), dict(data_root=root))
    with DefaultScope.overwrite_default_scope('mmmim'):
        for loader in (cfg.train_dataloader, cfg.test_dataloader):
            assert len(DATASETS.build(loader.dataset)) == 1
    assert (cfg.feature_eval.bank.data_root, cfg.feature_eval.query.data_root) == (f'{root}/train', f'{root}/val')


def test_folder_config_takes_separate_folders():
    given = {
        'train_dataloader.dataset.data_root': 'a',
        'test_dataloader.dataset.data_root': 'b',
        'feature_eval.bank.data_root': 'c',
        'feature_eval.query.data_root': 'd',
        'model.backbone.arch': 'tiny',
    }
    cfg = load_config(str(ROOT / 'configs/mae/vit-tiny_folder.py'), dict(given, data_root='e'))
    values = flat(cfg.to_dict())
    assert {key: values[key] for key in given} == given


def test_metafile_names_configs_and_claims_nothing():
    meta = yaml.safe_load((ROOT / 'configs/mae/metafile.yml').read_text())
    assert sorted(model['Config'] for model in meta['Models']) == sorted(IMAGENET)
    assert (ROOT / meta['Collections'][0]['README']).is_file()
    for model in meta['Models']:
        assert model['In Collection'] == 'MAE' and 'Weights' not in model
        assert model['Metadata']['Epochs'] == IMAGENET[model['Config']][2]
        assert not model['Results'] or 'not reproduced by this code' in model['Metadata']['Results Source']
        for result in model['Results'] or []:
            assert all(f'{value}%' in docstring(model['Config']) for value in result['Metrics'].values())


def test_readme_links_every_config_with_the_numbers_of_its_docstring():
    text = (ROOT / 'configs/mae/README.md').read_text()
    links = set(re.findall(r'\]\(([^)]+\.py)\)', text))
    assert {f'configs/mae/{link}' for link in links} == {
        DEFAULT,
        *(name for name in CONFIGS if name.startswith('configs/mae/')),
    }
    rows = re.findall(r'^\| (.*) \| \[[^]]+\]\((ablations/.+)\) \|$', text, flags=re.M)
    assert len(rows) == 24 + 6
    for cells, link in rows:
        numbers = re.findall(r'\d+\.\d(?!×)', cells)
        assert numbers and all(number in docstring(f'configs/mae/{link}') for number in numbers)
