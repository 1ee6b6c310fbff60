"""Vision ELECTRA's configs: the supplement's recipe, what each ablation changes, and that all build and have losses."""

import re
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
    lines_after_docstring,
    read,
    resolved,
    shrunk,
)
from PIL import Image

from mmmim.models.build import check_model

OURS = [name for name in CONFIGS if name.startswith('configs/vision_electra/')]
ABLATIONS = [name for name in OURS if '/ablations/' in name]
DEFAULT, VIT = 'configs/vision_electra/ablations/_default.py', 'configs/vision_electra/vit-b_50e.py'
SWIN = 'configs/vision_electra/swin-b_50e.py'
QUICKSTART = 'configs/quickstart/vision_electra.py'
SMALL = [f'configs/vision_electra/vit-tiny_{data}.py' for data in ('cifar10', 'folder')]
LOAD, PACK = dict(type='LoadImage'), dict(type='PackImage')


@pytest.fixture(scope='module')
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp('photos') / 'photo.png'
    pixels = np.random.default_rng(0).integers(0, 256, (26, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((300, 260)).save(path)
    return str(path)


def crop(size):
    return [
        LOAD,
        dict(type='RandomResizedCrop', size=size, scale=(0.67, 1.0), ratio=(3 / 4, 4 / 3), interpolation='bicubic'),
        dict(type='RandomFlip', prob=0.5),
        PACK,
    ]


# ------------------------------------------------------------------------------------------------------ the recipe


def test_the_supplements_recipe():
    cfg = resolved(VIT, processes=4)
    vit = dict(type='MaskedViT', arch='base', img_size=224, patch_size=16)
    model = cfg.model.to_dict()
    assert model.pop('data_preprocessor')['mean'] == [123.675, 116.28, 103.53]
    assert model == dict(
        type='VisionELECTRA',
        mask_ratio=0.75,
        masking='random',
        generator=vit,
        neck=dict(type='MAEDecoder', embed_dim=512, depth=8, num_heads=16),
        target=dict(type='PixelTarget', norm_pix=False),
        head=dict(type='ReconstructionHead', loss_on='masked'),
        noise_scale=0.1,
        noise_per='token',
        pretrained_generator='data/mae_visualize_vit_base.pth',
        backbone=dict(
            vit, init_cfg=dict(type='Pretrained', checkpoint='data/mae_pretrain_vit_base.pth', prefix='backbone.')
        ),
        image_head=dict(type='ImageDiscriminationHead'),
        patch_head=dict(type='PatchDiscriminationHead'),
        fake_image='composite',
        image_weight=1.0,
        patch_weight=1.0,
        gan_loss='non_saturating',
        gan_weight=0.2,
    )
    assert cfg.train_dataloader.dataset.pipeline == crop(224)
    assert (cfg.train_dataloader.batch_size, cfg.optim_wrapper.accumulative_counts) == (80, 1)
    assert (cfg.max_epochs, cfg.warmup_epochs, cfg.total_batch_size) == (50, 10, 320)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW' and tuple(optimizer.betas) == (0.9, 0.999) and optimizer.weight_decay == 0.05
    warmup, cosine = cfg.param_scheduler
    assert (warmup.type, cosine.type, cosine.T_max) == ('LinearLR', 'CosineAnnealingLR', 40)


@pytest.mark.parametrize('base, rate', [(256, 2e-5 * 320 / 256), (512, 2e-5 * 320 / 512), (None, 2e-5)])
def test_what_the_learning_rate_is_for(base, rate):
    from mmmim.config.schedule import set_batch_and_lr

    cfg = config(VIT)
    assert cfg.lr_base_batch == 256
    cfg.lr_base_batch = base
    set_batch_and_lr(cfg, 4)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(rate)


def test_swin_differs_in_networks_and_image_size():
    difference = changed(SWIN, VIT)
    assert {key: difference[key] for key in difference if 'pipeline' not in key and '.backbone.' not in key} == {
        'model.pretrained_generator': 'data/simmim_pretrain__swin_base__img192_window6__800ep.pth',
        'model.generator.type': 'MaskedSwin',
        'model.generator.img_size': 192,
        'model.generator.window_size': 6,
        'model.generator.patch_size': GONE,
        'model.generator.mask_tokens': True,
        **SIMMIM_DECODER,
    }
    cfg = config(SWIN)
    own, other = cfg.model.backbone.to_dict(), cfg.model.generator.to_dict()
    assert own.pop('init_cfg')['checkpoint'] == cfg.model.pretrained_generator
    assert dict(own, mask_tokens=True) == other
    assert cfg.train_dataloader.dataset.pipeline == crop(192)


@pytest.mark.parametrize('name', [*SMALL, QUICKSTART])
def test_small_configs_have_two_of_maes_networks(name):
    mae = name.replace('vision_electra', 'mae')
    cfg, other = config(name), config(mae)
    assert cfg.model.generator == cfg.model.backbone == other.model.backbone
    assert cfg.model.neck == other.model.neck and cfg.train_dataloader == other.train_dataloader
    assert (cfg.max_epochs, cfg.total_batch_size) == (other.max_epochs, other.total_batch_size)
    assert cfg.model.target.norm_pix is False and tuple(cfg.optim_wrapper.optimizer.betas) == (0.9, 0.999)
    assert cfg.model.data_preprocessor == other.model.data_preprocessor


def test_quickstart_keeps_what_the_quickstart_measures():
    own, other = config(QUICKSTART), config('configs/quickstart/mae.py')
    assert own.custom_hooks[0] == other.custom_hooks[0] and own.feature_eval == other.feature_eval
    assert [hook.type for hook in own.custom_hooks] == ['KNNHook', 'ReconstructionHook', 'DiscriminatorHook']


# ---------------------------------------------------------------- ablations: what each row changes, and nothing else

LOADED, OF_DISCRIMINATOR = 'model.pretrained_generator', 'model.backbone.init_cfg'
SIMMIM_DECODER = {
    'model.neck.type': 'SimMIMDecoder',
    'model.head.norm': 'l1',
    **{f'model.neck.{key}': GONE for key in ('embed_dim', 'depth', 'num_heads')},
}
SMALL_IMAGES = {
    f'{part}.pipeline': [LOAD, dict(type='CenterCrop', size=192, ratio=0.875), PACK]
    for part in ('test_dataloader.dataset', 'feature_eval.bank', 'feature_eval.query')
}
SMALL_IMAGES.update(
    {
        'test_pipeline': SMALL_IMAGES['test_dataloader.dataset.pipeline'],
        'train_pipeline': crop(192),
        'train_dataloader.dataset.pipeline': crop(192),
    }
)
SWIN_FILE = 'data/simmim_pretrain__swin_base__img192_window6__800ep.pth'


def swin(part):
    return {
        f'model.{part}.type': 'MaskedSwin',
        f'model.{part}.img_size': 192,
        f'model.{part}.window_size': 6,
        f'model.{part}.patch_size': GONE,
    }


DIFFERENCES = {
    'mask-ratio-75': {},
    'gan-weight-0_2': {},
    **{f'mask-ratio-{percent}': {'model.mask_ratio': percent / 100} for percent in (60, 85, 95)},
    'gan-weight-0_5': {'model.gan_weight': 0.5},
    'gan-weight-0': {'model.gan_weight': 0.0},
    'gan-minimax': {'model.gan_loss': 'minimax'},
    'start-scratch': {
        LOADED: None,
        OF_DISCRIMINATOR: None,
        **{f'{OF_DISCRIMINATOR}.{key}': GONE for key in ('type', 'checkpoint', 'prefix')},
    },
    'level-image': {'model.patch_head': None, 'model.patch_head.type': GONE},
    'level-patch': {'model.image_head': None, 'model.image_head.type': GONE},
    'image-mean': {'model.image_head.pool': 'mean'},
    'noise-0': {'model.noise_scale': 0.0},
    'noise-1_0': {'model.noise_scale': 1.0},
    'noise-per-image': {'model.noise_per': 'image'},
    'fake-full': {'model.fake_image': 'full'},
    'target-pixel-norm': {'model.target.norm_pix': True, LOADED: 'data/mae_pretrain_vit_base_full.pth'},
    'generator-simmim-vit': {
        **SIMMIM_DECODER,
        LOADED: 'data/simmim_pretrain__vit_base__img224__800ep.pth',
        'model.generator.type': 'MaskedRelativeViT',
        'model.generator.relative_positions': 'shared',
    },
    'generator-simmim-swin': {
        **SIMMIM_DECODER,
        **SMALL_IMAGES,
        **swin('generator'),
        LOADED: SWIN_FILE,
        'model.generator.mask_tokens': True,
        'model.backbone.img_size': 192,
    },
    'discriminator-swin': {
        **SMALL_IMAGES,
        **swin('backbone'),
        'model.generator.img_size': 192,
        'model.masking': 'unit',
        f'{OF_DISCRIMINATOR}.checkpoint': SWIN_FILE,
    },
}


def test_every_ablation_is_listed():
    assert {Path(name).stem for name in ABLATIONS} == set(DIFFERENCES)


@pytest.mark.parametrize('row', DIFFERENCES)
def test_ablation_differs_in_what_it_names(row):
    name = f'configs/vision_electra/ablations/{row}.py'
    assert changed(name, DEFAULT) == DIFFERENCES[row]
    assert lines_after_docstring(name) <= (6 if 'swin' not in row else 20)
    assert ('The same as the default.' in docstring(name)) == (DIFFERENCES[row] == {})


def test_ablation_default_is_the_recipe():
    assert changed(DEFAULT, VIT) == {}


# ------------------------------------------------------------------------------------------- that they build and run


@pytest.mark.parametrize('name', [*OURS, QUICKSTART, DEFAULT])
def test_builds_and_has_its_losses(name, photo):
    cfg = config(name)
    size = cfg.model.backbone.img_size
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        assert read(loader.dataset.pipeline, photo)['inputs'].shape == (3, size, size)
    check_model(cfg.model)
    losses = first_losses(shrunk(cfg), cfg.train_dataloader.dataset.pipeline, photo)
    off = {
        'level-image': {'loss_patch'},
        'level-patch': {'loss_image'},
        'gan-weight-0': {'loss_gan'},
        'gan-minimax': {'loss_gan'},
    }.get(Path(name).stem, set())
    assert set(losses) == {'loss_recon', 'loss_gan', 'loss_image', 'loss_patch'} - off
    assert all(loss.requires_grad and torch.isfinite(loss) for loss in losses.values())


# --------------------------------------------------------------------------------------------------------- the pages


@pytest.mark.parametrize('name', [VIT, SWIN, DEFAULT, *ABLATIONS])
def test_docstring_says_hardware_result_and_where_it_stands(name):
    text = ' '.join(docstring(name).split())
    assert 'For 4 GPUs with 32 GB' in text and 'Published' in text and 'Not reproduced by this code yet.' in text


def test_metafile_names_configs_and_claims_nothing():
    meta = yaml.safe_load((ROOT / 'configs/vision_electra/metafile.yml').read_text())
    assert sorted(model['Config'] for model in meta['Models']) == sorted([VIT, SWIN])
    assert (ROOT / meta['Collections'][0]['README']).is_file()
    for model in meta['Models']:
        assert model['In Collection'] == 'Vision ELECTRA' and 'Weights' not in model
        assert model['Metadata']['Epochs'] == config(model['Config']).max_epochs
        assert model['Metadata']['Batch Size'] == config(model['Config']).total_batch_size
        assert not model['Results'] or 'not reproduced by this code' in model['Metadata']['Results Source']
        for result in model['Results'] or []:
            assert all(f'{value}%' in docstring(model['Config']) for value in result['Metrics'].values())


def test_readme_links_every_config_with_the_numbers_of_its_docstring():
    text = (ROOT / 'configs/vision_electra/README.md').read_text()
    links = {
        (ROOT / 'configs/vision_electra' / link).resolve() for link in re.findall(r'\]\(([^):]+\.(?:py|md))\)', text)
    }
    assert all(link.is_file() for link in links)
    assert {ROOT / name for name in [*OURS, DEFAULT, QUICKSTART]} <= links
    tables = text[text.index('## Ablations') :]
    rows = re.findall(r'^\| (.*) \| \[[^]]+\]\((ablations/.+)\) \|$', tables, flags=re.M)
    assert {f'configs/vision_electra/{link}' for _, link in rows} == set(ABLATIONS)
    for cells, link in rows:
        quoted = cells.split(' | ')[-1]
        assert quoted == '-' or f'{quoted}%' in docstring(f'configs/vision_electra/{link}')
    assert sum(bool(re.search(r'\d\d\.\d\d$', cells)) for cells, _ in rows) == 6
