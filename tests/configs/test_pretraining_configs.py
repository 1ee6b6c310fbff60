"""The pre-training configs of all methods: the published recipes, what the small ones have in common, that all build.

The recipes are written here as the papers state them, whatever configs/_base_ has.
"""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from config_harness import (
    CONFIGS,
    GONE,
    ROOT,
    changed,
    config,
    first_losses,
    flat,
    of_a_toolbox,
    read,
    resolved,
    shrunk,
    without_weights,
)
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from PIL import Image

from mmmim.config.load import load_config
from mmmim.config.schedule import batches_per_step, set_batch_and_lr
from mmmim.models.build import check_model
from mmmim.registry import DATASETS, MODELS

PRETRAINING = [name for name in CONFIGS if '/downstream/' not in name and not of_a_toolbox(name)]
VE_VIT, VE_SWIN = 'configs/vision_electra/vit-b_50e.py', 'configs/vision_electra/swin-b_50e.py'


# ------------------------------------------------------------------------------------------------ published recipes

LOAD, FLIP, PACK = dict(type='LoadImage'), dict(type='RandomFlip', prob=0.5), dict(type='PackImage')
CROP = dict(type='RandomResizedCrop', size=224, scale=(0.2, 1.0), interpolation='bicubic')
TWO_VIEWS = dict(
    type='PixelShift', size=224, master_size=256, max_shift=31, scale=(0.2, 1.0), interpolation='bicubic', flip_prob=0.5
)
STATISTICS = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
ONE_VIEW = dict(type='MIMDataPreprocessor', **STATISTICS)
COLORS = dict(
    type='ColorAugment',
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    prob=0.8,
    gray_prob=0.2,
    blur_prob=0.0,
    blur_sigma=(0.1, 2.0),
)
VIT = {
    size: dict(type='MaskedViT', arch=arch, img_size=224, patch_size=patch)
    for size, arch, patch in (('s', 'small', 16), ('b', 'base', 16), ('l', 'large', 16), ('h', 'huge', 14))
}
CONV_VIT = {
    kind: dict(type='ConvViT', arch='base', conv_vit=kind, img_size=224, patch_size=16) for kind in ('hybrid', 'stem')
}
SWIN = dict(type='MaskedSwin', arch='base', img_size=224, patch_size=4, window_size=7)
MASKED = dict(mask_ratio=0.75, masking='random')
COMPLETED = dict(
    neck=dict(type='MAEDecoder', embed_dim=512, depth=8, num_heads=16),
    head=dict(type='ReconstructionHead', loss_on='masked'),
)
PIXELS = {norm: dict(type='PixelTarget', norm_pix=norm) for norm in (True, False)}


def crop(size):
    """Vision ELECTRA's images."""
    larger = dict(type='RandomResizedCrop', size=size, scale=(0.67, 1.0), ratio=(3 / 4, 4 / 3), interpolation='bicubic')
    return [LOAD, larger, FLIP, PACK]


def mae(encoder):
    return dict(type='MAE', **MASKED, backbone=encoder, data_preprocessor=ONE_VIEW, target=PIXELS[True], **COMPLETED)


def cmae(encoder):
    return dict(
        mae(encoder),
        type='CMAE',
        data_preprocessor=dict(type='ViewPreprocessor', target_view=COLORS, **STATISTICS),
        feature_decoder=dict(type='MAEDecoder', embed_dim=512, depth=2, num_heads=16),
        feature_out='embed_dim',
        projector=dict(type='Projector', hidden_dim=1536, out_dim=256),
        predictor=dict(type='Projector', hidden_dim=1536, out_dim=256),
        contrast_head=dict(type='ContrastiveHead', kind='infonce', temperature=0.07, scale=1.0),
        contrast_weight=1.0,
        momentum=0.996,
        target_mask_ratio=0.0,
    )


def gan_mae(encoder):
    return dict(
        mae(encoder),
        type='GANMAE',
        target=PIXELS[False],
        patch_head=dict(type='PatchDiscriminationHead'),
        scheme='adversarial',
        alternate='iteration',
        sharing='shared',
        gamma='adaptive',
        gamma_layer='decoder_pred',
        gamma_delta=1e-6,
        gamma_max=None,
        adv_loss='saturating',
    )


def vision_electra(encoder):
    start = dict(type='Pretrained', checkpoint='data/mae_pretrain_vit_base.pth', prefix='backbone.')
    return dict(
        mae(dict(encoder, init_cfg=start)),
        type='VisionELECTRA',
        generator=encoder,
        pretrained_generator='data/mae_visualize_vit_base.pth',
        target=PIXELS[False],
        noise_scale=0.1,
        noise_per='token',
        image_head=dict(type='ImageDiscriminationHead'),
        patch_head=dict(type='PatchDiscriminationHead'),
        fake_image='composite',
        image_weight=1.0,
        patch_weight=1.0,
        gan_loss='non_saturating',
        gan_weight=0.2,
    )


def crossmae(encoder, target):
    swin = encoder is SWIN
    head = dict(embed_dim=256, depth=2, num_heads=8, noise='mapped', noise_tokens='z_then_w')
    return dict(
        type='CrossMAE',
        **MASKED,
        backbone=encoder,
        data_preprocessor=ONE_VIEW,
        drawing_head=dict(type='DrawingHead', **head, **(dict(patch_size=16) if swin else {})),
        draw_target=dict(type='BlurredPixelTarget', sigma=10.0),
        keep_visible=True,
        end_to_end=True,
        predictor=dict(type='LinearPredictor'),
        target=target,
        pred_loss='cosine',
        pred_on='all',
        pred_weight=0.1,
        **(dict(swin_match='predictor_linear') if swin else {}),
    )


CROSSMAE_TARGETS = {
    '': dict(type='CLIPTarget', model='vit_base_patch16_clip_quickgelu_224.openai', weights=None),
    '_ema': dict(type='MomentumTarget', ema_momentum=0.996),
    '_pixel': PIXELS[True],
}
# model, epochs
RECIPES = {
    **{f'mae/vit-{s}_{n}e': (mae(VIT[s]), n) for s in 'sblh' for n in (300, 800, 1600)},
    **{f'mae/conv-vit-b_{n}e': (mae(CONV_VIT['hybrid']), n) for n in (800, 1600)},
    **{f'cmae/vit-{s}_{n}e': (cmae(VIT[s]), n) for s in 'sbl' for n in (300, 800, 1600)},
    **{f'cmae/conv-vit-b_{n}e': (cmae(CONV_VIT['hybrid']), n) for n in (800, 1600)},
    'cmae/conv-vit-stem-b_800e': (cmae(CONV_VIT['stem']), 800),
    **{f'gan_mae/vit-{s}_{n}e': (gan_mae(VIT[s]), n) for s in 'sbl' for n in (200, 300, 800, 1600)},
    **{
        f'crossmae/{name}{kind}_{n}e': (crossmae(encoder, target), n)
        for name, encoder, n in (('vit-s', VIT['s'], 300), ('vit-b', VIT['b'], 300), ('swin-b', SWIN, 100))
        for kind, target in CROSSMAE_TARGETS.items()
    },
    'vision_electra/vit-b_50e': (vision_electra(VIT['b']), 50),
}
# warm-up, images in a step, base rate, second beta
STEPS = {
    'mae': (40, 4096, 1.5e-4, 0.95),
    'cmae': (40, 4096, 1.5e-4, 0.95),
    'gan_mae': (40, 4096, 1.5e-4, 0.95),
    'crossmae': (20, 512, 1.5e-4, 0.95),
    'vision_electra': (10, 320, 2e-5, 0.999),
}
# devices, and images of each at once; the papers: 32 A100 (CMAE), 4 V100 (Vision ELECTRA)
DEVICES = {'crossmae': (8, 64), 'cmae': (32, 128), 'vision_electra': (4, 80)}


@pytest.mark.parametrize('name', RECIPES)
def test_published_recipe(name):
    method, (model, epochs) = name.split('/')[0], RECIPES[name]
    warmup, batch, base_lr, beta = STEPS[method]
    cfg = resolved(f'configs/{name}.py')
    assert cfg.model.to_dict() == model
    images = {'cmae': [LOAD, TWO_VIEWS, PACK], 'vision_electra': crop(224)}.get(method, [LOAD, CROP, FLIP, PACK])
    assert cfg.train_dataloader.dataset.pipeline == images
    assert (cfg.max_epochs, cfg.warmup_epochs, cfg.total_batch_size) == (epochs, warmup, batch)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW' and tuple(optimizer.betas) == (0.9, beta) and optimizer.weight_decay == 0.05
    assert optimizer.lr == pytest.approx(base_lr * batch / (512 if method == 'vision_electra' else 256))
    assert [scheduler.type for scheduler in cfg.param_scheduler] == ['LinearLR', 'CosineAnnealingLR']
    hooks = [*(['CosineMomentumHook'] if '_ema' in name else []), 'KNNHook']
    assert [hook.type for hook in cfg.get('custom_hooks', [])] == hooks
    if '_ema' in name:
        assert cfg.custom_hooks[0].end == 1.0


OFFICIAL = [f'cmae/official/vit-b_{epochs}e' for epochs in (300, 800, 1600)]


@pytest.mark.parametrize('name', [name for name in (*RECIPES, *OFFICIAL) if name.split('/')[0] in DEVICES])
def test_the_papers_devices_accumulate_nothing(name):
    """CMAE: so that the whole batch is contrasted."""
    processes, batch = DEVICES[name.split('/')[0]]
    cfg = resolved(f'configs/{name}.py', processes)
    assert (cfg.train_dataloader.batch_size, batches_per_step(cfg)) == (batch, 1)


@pytest.mark.parametrize('name', OFFICIAL)
def test_cmaes_code_differs_from_the_paper_by_these_keys(name):
    assert changed(f'configs/{name}.py', f'configs/{name.replace("official/", "")}.py') == {
        'model.masking': 'unit',
        'model.mask_ratio': 0.65,
        'model.feature_out': 'pixels',
        'model.target_backbone.final_norm': False,
        'model.contrast_head.scale': pytest.approx(2 * 0.07),
        'model.data_preprocessor.target_view.blur_prob': 0.5,
        'optim_wrapper.paramwise_cfg.custom_keys.cls_token.decay_mult': 0.0,
        'optim_wrapper.paramwise_cfg.custom_keys.mask_token.decay_mult': 0.0,
        'optim_wrapper.paramwise_cfg.custom_keys.bn0.weight.decay_mult': 1.0,
        'param_scheduler': config(f'configs/{name}.py').param_scheduler,
    }
    assert config(f'configs/{name}.py').param_scheduler[0].start_factor == 1e-4


@pytest.mark.parametrize('size', ['vit-b', 'vit-l', 'vit-h'])
def test_maes_table_7_has_the_length_of_its_normalised_row(size):
    for target, differences in (
        ('pixel', {'model.target.norm_pix': False}),
        ('dvae', {'model.target.type': 'DALLETarget', 'model.head.type': 'TokenHead'}),
    ):
        found = changed(f'configs/mae/ablations/table7-{size}-{target}.py', f'configs/mae/{size}_1600e.py')
        assert differences.items() <= found.items() and {key.split('.')[1] for key in found} <= {'target', 'head'}


@pytest.mark.parametrize('epochs', [100, 200, 400, 1600])
def test_each_point_of_maes_figure_7_is_a_schedule_of_its_own(epochs):
    name, default = f'configs/mae/ablations/schedule-{epochs}.py', 'configs/mae/ablations/_default.py'
    assert changed(name, default) == {'max_epochs': epochs}


def test_cmaes_code_decays_other_parameters_than_the_paper():
    decays = {}
    for name in ('cmae/official/vit-b_300e', 'cmae/vit-b_300e'):
        cfg = config(f'configs/{name}.py')
        small = dict(embed_dim=768, depth=1, num_heads=12)  # as wide as a patch has values
        cfg.model.backbone.update(arch=small, img_size=96)
        for part in (cfg.model.neck, cfg.model.feature_decoder):
            part.update(small)
        model = MODELS.build(cfg.model)
        cfg.optim_wrapper.optimizer.lr = 1e-3
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        names = {id(p): name for name, p in model.named_parameters()}
        decays[name] = {names[id(p)]: g['weight_decay'] for g in wrapper.optimizer.param_groups for p in g['params']}
    official, paper = decays.values()
    assert {key: official[key] for key in official if official[key] != paper[key]} == {
        'backbone.cls_token': 0.0,
        'neck.mask_token': 0.0,
        'feature_decoder.mask_token': 0.0,
        'projector.bn0.weight': 0.05,
        'predictor.bn0.weight': 0.05,
    }


def test_pixio_differs_from_mae_in_what_it_changes():
    found = changed('configs/mae/pixio_vit-b.py', 'configs/mae/vit-b_800e.py')
    assert {key: value for key, value in found.items() if 'pipeline' not in key} == {
        'max_batch_per_device': 256,
        'model.masking': 'unit',
        'model.mask_options.unit': 4,
        'model.backbone.img_size': 256,
        'model.backbone.num_class_tokens': 8,
        'model.backbone.learned_positions': True,
        'model.neck.depth': 32,
        'model.neck.learned_positions': True,
    }
    cfg = resolved('configs/mae/pixio_vit-b.py')
    sizes = {str(step.get('size')) for part in ('train', 'test') for step in cfg[f'{part}_dataloader'].dataset.pipeline}
    assert sizes == {'None', '256'} and cfg.feature_eval.bank.pipeline == cfg.test_dataloader.dataset.pipeline


def test_maes_ablations_have_raw_pixels():
    assert changed('configs/mae/ablations/_default.py', 'configs/mae/vit-l_800e.py') == {'model.target.norm_pix': False}


def test_vision_electra_with_swin_differs_in_networks_and_image_size():
    difference = changed(VE_SWIN, VE_VIT)
    assert {key: difference[key] for key in difference if 'pipeline' not in key and '.backbone.' not in key} == {
        'model.pretrained_generator': 'data/simmim_pretrain__swin_base__img192_window6__800ep.pth',
        'model.generator.type': 'MaskedSwin',
        'model.generator.img_size': 192,
        'model.generator.window_size': 6,
        'model.generator.patch_size': GONE,
        'model.generator.mask_tokens': True,
        'model.neck.type': 'SimMIMDecoder',
        'model.head.norm': 'l1',
        **{f'model.neck.{key}': GONE for key in ('embed_dim', 'depth', 'num_heads')},
    }
    cfg = config(VE_SWIN)
    own, other = cfg.model.backbone.to_dict(), cfg.model.generator.to_dict()
    assert own.pop('init_cfg')['checkpoint'] == cfg.model.pretrained_generator
    assert dict(own, mask_tokens=True) == other
    assert cfg.train_dataloader.dataset.pipeline == crop(192)


@pytest.mark.parametrize('base, rate', [(256, 2.5e-5), (512, 1.25e-5), (None, 2e-5)])
def test_what_vision_electras_learning_rate_is_for(base, rate):
    cfg = config(VE_VIT)
    assert (cfg.lr_base_batch, cfg.optim_wrapper.clip_grad.max_norm) == (512, 5.0)
    cfg.lr_base_batch = base
    set_batch_and_lr(cfg, 4)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(rate)


@pytest.mark.parametrize('name', [name for name in PRETRAINING if config(name).model.type == 'GANMAE'])
def test_each_config_has_what_two_players_need(name):
    cfg = config(name)
    assert cfg.optim_wrapper.constructor == 'PlayersOptimWrapperConstructor'
    assert cfg.model_wrapper_cfg.find_unused_parameters is True


@pytest.mark.parametrize(
    'name', [name for name in PRETRAINING if config(name).model.type in ('GANMAE', 'VisionELECTRA')]
)
def test_the_discriminator_is_watched_whatever_hooks_a_user_adds(name):
    assert config(name).default_hooks.discriminator.type == 'DiscriminatorHook'


@pytest.mark.parametrize('method', ['mae', 'crossmae'])
@pytest.mark.parametrize('share, images', [('1percent', 12_811), ('10percent', 128_116)])
def test_few_images_take_as_many_iterations_as_all(method, share, images):
    cfg, whole = config(f'configs/{method}/few_images/vit-b_{share}.py'), config(f'configs/{method}/vit-b_300e.py')
    steps, all_steps = images // cfg.total_batch_size, 1_281_167 // whole.total_batch_size
    assert cfg.max_epochs * steps == pytest.approx(whole.max_epochs * all_steps, rel=5e-4)
    assert cfg.warmup_epochs * steps == pytest.approx(whole.warmup_epochs * all_steps, rel=2e-3)
    assert cfg.train_dataloader.dataset.pipeline == whole.train_dataloader.dataset.pipeline


@pytest.mark.parametrize('name', ['crossmae/vit-b_300e', 'crossmae/ablations/target-vgg_100e'])
def test_missing_weights_are_named_before_training(name, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr('huggingface_hub.try_to_load_from_cache', lambda *_: None)
    with pytest.raises(FileNotFoundError, match=r'model\.target\.weights'):
        MODELS.build(config(f'configs/{name}.py').model)


# ---------------------------------------------------------------------------- small configs: MAE's, and the method

NEW = {  # parts of the model that a method adds to MAE's or has in place of it
    'cmae': 'data_preprocessor feature_decoder feature_out projector predictor contrast_head contrast_weight momentum '
    'target_mask_ratio',
    'gan_mae': 'target patch_head scheme alternate sharing gamma gamma_layer gamma_delta gamma_max adv_loss',
    'vision_electra': 'generator noise_scale noise_per target image_head patch_head fake_image image_weight '
    'patch_weight gan_loss gan_weight',
    'crossmae': 'neck head drawing_head draw_target keep_visible end_to_end predictor target pred_loss pred_on '
    'pred_weight',
}
# what it needs beside the model
BESIDE = {
    'cmae': {'train_pipeline', 'train_dataloader.dataset'},
    'gan_mae': {
        'optim_wrapper.constructor',
        'model_wrapper_cfg.find_unused_parameters',
        'default_hooks.discriminator',
    },
    'vision_electra': {
        'base_lr',
        'lr_base_batch',
        'optim_wrapper.optimizer',
        'custom_hooks',
        'default_hooks.discriminator',
    },
    'crossmae': {'custom_hooks'},
}


@pytest.mark.parametrize(
    'name',
    [
        name
        for name in PRETRAINING
        if ('vit-tiny' in name or 'quickstart' in name)
        and not {'mae', 'simmim', 'maskfeat', 'features'} & {name.split('/')[1], Path(name).stem}
    ]
    + ['configs/gan_mae/vit-b_800e.py'],
)
def test_it_differs_from_maes_by_the_method_alone(name):
    quickstart = 'quickstart' in name
    method = Path(name).stem if quickstart else name.split('/')[1]
    stem = 'mae' if quickstart else f'vit-tiny_{name.rpartition("_")[2][:-3]}' if 'tiny' in name else 'vit-b_800e'
    mae_name = f'configs/{"quickstart" if quickstart else "mae"}/{stem}.py'
    parts = {'.'.join(key.split('.')[:2]) for key in changed(name, mae_name)}
    model = {part.partition('.')[2] for part in parts if part.startswith('model.')}
    assert 'type' in model and model - {'type'} <= set(NEW[method].split())
    assert parts - {f'model.{part}' for part in model} - {'max_batch_per_device'} <= BESIDE[method]
    if not quickstart:  # which leaves more to the defaults
        assert model - {'type'} == set(NEW[method].split()) and BESIDE[method] - {'base_lr', 'custom_hooks'} <= parts
    own, other = config(name), config(mae_name)
    for cfg in (own, other):
        cfg.model.data_preprocessor = {key: cfg.model.data_preprocessor[key] for key in ('mean', 'std')}
    assert own.model.backbone == other.model.backbone and own.model.data_preprocessor == other.model.data_preprocessor
    if method == 'vision_electra':
        assert own.model.generator == own.model.backbone and own.model.target.norm_pix is False
        assert tuple(own.optim_wrapper.optimizer.betas) == (0.9, 0.999)
    assert (own.max_epochs, own.total_batch_size) == (other.max_epochs, other.total_batch_size)


def test_quickstart_of_vision_electra_keeps_what_the_quickstart_measures():
    own, other = config('configs/quickstart/vision_electra.py'), config('configs/quickstart/mae.py')
    assert own.custom_hooks[0] == other.custom_hooks[0] and own.feature_eval == other.feature_eval
    assert [hook.type for hook in own.custom_hooks] == ['KNNHook', 'ReconstructionHook', 'HealthHook']


@pytest.mark.parametrize(
    'name', ['cmae/vit-b_800e', 'cmae/vit-tiny_cifar10', 'cmae/vit-tiny_folder', 'quickstart/cmae']
)
def test_views_are_shifted_windows_of_one_crop(name, tmp_path):
    """The target's view is the online one, moved by up to 14% of its size, and often not by 0."""
    rows, columns = np.mgrid[:300, :300]  # no two pixels are the same: column in red and blue, row in green and blue
    pixels = np.stack([columns % 256, rows % 256, 16 * (columns // 256) + rows // 256], axis=-1)
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / 'photo.png')
    *_, shift, pack = config(f'configs/{name}.py').train_dataloader.dataset.pipeline
    largest, size = shift.max_shift, shift.size
    assert shift.master_size == size + largest + 1
    assert largest / size == pytest.approx(31 / 224, rel=0.35) and largest / size <= 31 / 224
    shifts = set()
    for seed in range(6):
        online, second = read([LOAD, shift, pack], str(tmp_path / 'photo.png'), seed)['inputs']
        shifts.add(
            next(
                (top, left)
                for top in range(largest + 1)
                for left in range(largest + 1)
                if (online[:, top:, left:] == second[:, : size - top, : size - left]).all()
            )
        )
    assert len(shifts) > 2


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


# ---------------------------------------------------------------------------------------- that they build and learn


@pytest.mark.parametrize('name', PRETRAINING)
def test_builds_and_has_its_losses(name, photo, tmp_path, monkeypatch):
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
    if cfg.model.type == 'VisionELECTRA':
        off = {
            'level-image': {'loss_patch'},
            'level-patch': {'loss_image'},
            'gan-weight-0': {'loss_gan'},
            'gan-minimax': {'loss_gan'},
        }.get(Path(name).stem, set())
        assert set(losses) == {'loss_recon', 'loss_gan', 'loss_image', 'loss_patch'} - off


def tiny_dalle_encoder(folder, monkeypatch):
    """Let one convolution stand for mmpretrain's DALLEEncoder (50M parameters); the path of its weights."""

    def encoder():
        return torch.nn.Conv2d(3, 8192, 8, 8)

    monkeypatch.setitem(sys.modules, 'mmpretrain.models.selfsup', types.SimpleNamespace(DALLEEncoder=encoder))
    torch.save(encoder().state_dict(), folder / 'tiny.pth')
    return str(folder / 'tiny.pth')
