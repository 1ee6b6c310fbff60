"""The classification configs: each builds, reads an image and has a loss, and states the recipe it names."""

import copy
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from mmmim.config.classification import settle_classifier
from mmmim.config.load import load_config
from mmmim.config.prepare import set_up_scope
from mmmim.config.schedule import set_batch_and_lr, set_schedule
from mmmim.datasets import mim_collate
from mmmim.datasets.transforms import AsBGR
from mmmim.registry import MODELS as OURS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'configs/downstream/classification'
CONFIGS = sorted(path.stem for path in FOLDER.glob('*.py'))
TINY = [name for name in CONFIGS if name.startswith('vit-tiny')]
FINETUNE = {  # arch, patch, size, drop path, base lr, layer decay, epochs, warm-up, batch
    'vit-s_finetune_100e': ('small', 16, 224, 0.1, 5e-4, 0.65, 100, 5, 1024),
    'vit-b_finetune_100e': ('base', 16, 224, 0.1, 5e-4, 0.65, 100, 5, 1024),
    'vit-l_finetune_50e': ('large', 16, 224, 0.2, 1e-3, 0.75, 50, 5, 1024),
    'vit-h_finetune_50e': ('huge', 14, 224, 0.3, 1e-3, 0.75, 50, 5, 1024),
    'vit-h448_finetune_50e': ('huge', 14, 448, 0.3, 1e-3, 0.75, 50, 5, 1024),
    'vit-b_finetune_100e_cmae': ('base', 16, 224, 0.1, 2.5e-4, 0.65, 100, 5, 1024),
    'conv-vit-b_finetune_100e_cmae': ('base', 16, 224, 0.1, 2.5e-4, 0.65, 100, 5, 1024),
    'vit-b_finetune_100e_crossmae': ('base', 16, 224, 0.1, 1e-3, 0.65, 100, 5, 1024),
    'swin-b_finetune_100e_crossmae': ('base', 4, 224, 0.1, 1e-3, 0.9, 100, 5, 1024),
    'vit-s_finetune_100e_crossmae': ('small', 16, 224, 0.1, 1e-3, 0.65, 100, 5, 1024),
    'vit-b_finetune_100e_vision-electra': ('base', 16, 224, 0.1, 1.25e-3, 0.9, 100, 20, 640),
    'vit-b_finetune_100e_simmim': ('base', 16, 224, 0.1, 6.25e-4, 0.65, 100, 20, 2048),
}


@functools.lru_cache(maxsize=None)
def _loaded(name):
    return load_config(str(FOLDER / f'{name}.py'))


def config(name):
    return copy.deepcopy(_loaded(name))


def resolved(name, processes=8):
    cfg = config(name)
    set_schedule(cfg)
    set_batch_and_lr(cfg, processes)
    settle_classifier(cfg)
    return cfg


@pytest.fixture()
def scope(mmmim_scope):
    set_up_scope(config('vit-b_finetune_100e'))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def read(pipeline, photo, label=0):
    np.random.seed(label)
    return Compose(pipeline)(dict(img_path=photo, gt_label=label, sample_idx=label, replaced=[]))


@pytest.mark.parametrize('name', CONFIGS)
def test_builds_reads_an_image_and_has_a_loss(name, photo, scope):
    """With blocks so small that two images take no time; images, patches, neck, head and mixing stay."""
    cfg = resolved(name)
    size = cfg.model.backbone.img_size
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert read(loader.dataset.pipeline, photo)['inputs'].shape == (3, size, size)
    cfg.model.backbone.arch = {
        'mmmim.ConvViT': dict(embed_dims=(8, 16, 24), depths=(1, 1, 2), num_heads=3),
        'mmmim.MaskedSwin': dict(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)),
    }.get(cfg.model.backbone.type, dict(embed_dim=24, depth=2, num_heads=3))
    if cfg.model.backbone.type != 'mmmim.MaskedSwin':
        cfg.model.backbone.trainable_blocks = min(cfg.model.backbone.get('trainable_blocks', 2), 1)
    cfg.model.neck.pop('in_dim'), cfg.model.head.pop('in_channels')
    settle_classifier(cfg)
    model = MODELS.build(cfg.model)
    batch = mim_collate([read(cfg.train_dataloader.dataset.pipeline, photo, label) for label in (0, 1)])
    loss = model(**model.data_preprocessor(batch, True), mode='loss')['loss']
    assert loss.requires_grad and torch.isfinite(loss)
    assert model.head.fc.out_features == cfg.model.data_preprocessor.num_classes


@pytest.mark.parametrize('name', FINETUNE)
def test_published_fine_tuning(name):
    arch, patch, size, drop_path, base_lr, decay, epochs, warmup, batch = FINETUNE[name]
    cfg = resolved(name)
    backbone, optimizer = cfg.model.backbone, cfg.optim_wrapper.optimizer
    assert (backbone.arch, backbone.patch_size, backbone.img_size, backbone.drop_path_rate) == (
        arch,
        patch,
        size,
        drop_path,
    )
    assert (cfg.base_lr, cfg.max_epochs, cfg.warmup_epochs, cfg.total_batch_size) == (base_lr, epochs, warmup, batch)
    assert optimizer.type == 'AdamW' and tuple(optimizer.betas) == (0.9, 0.999) and optimizer.weight_decay == 0.05
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == decay
    assert [(a.type, a.alpha) for a in cfg.model.train_cfg.augments] == [('Mixup', 0.8), ('CutMix', 1.0)]
    assert cfg.model.head.loss == dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')
    crop, augment, erase = (cfg.train_dataloader.dataset.pipeline[i] for i in (1, 3, 4))
    assert crop.scale == (0.08, 1.0)
    assert (augment.transforms[0].magnitude_level, augment.transforms[0].magnitude_std) == (9, 0.5)
    assert erase.erase_prob == 0.25
    assert cfg.test_dataloader.dataset.pipeline[1].ratio == (1.0 if size > 224 else 0.875)


def test_vision_electras_rates_are_for_512_images():
    cfg = resolved('vit-b_finetune_100e_vision-electra', processes=4)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1.5625e-3)
    assert (cfg.optim_wrapper.clip_grad.max_norm, cfg.train_dataloader.batch_size) == (5.0, 160)
    cfg = config('vit-b_finetune_100e_vision-electra')
    cfg.lr_base_batch = 256
    set_batch_and_lr(cfg, 4)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(3.125e-3)


@pytest.mark.parametrize('name', [name for name in CONFIGS if 'linear_90e' in name])
def test_published_linear_probing(name):
    cfg = resolved(name)
    crossmae = name.endswith('crossmae')
    swin = name.startswith('swin')  # whose norm is always there, and which has no class token
    assert cfg.model.backbone.trainable_blocks == 0 and cfg.model.backbone.get('final_norm', swin)
    assert (cfg.model.neck.pool, cfg.model.neck.norm) == ('mean' if swin else 'cls', 'batch')
    assert 'train_cfg' not in cfg.model
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == ('SGD' if crossmae else 'mmmim.LARS')
    assert (optimizer.momentum, optimizer.weight_decay, cfg.base_lr) == (0.9, 0.0, 0.1)
    assert (cfg.total_batch_size, cfg.max_epochs, cfg.warmup_epochs) == (512 if crossmae else 16384, 90, 10)
    assert [step.type for step in cfg.train_dataloader.dataset.pipeline] == [
        'mmmim.LoadImage',
        'mmmim.RandomResizedCrop',
        'mmmim.RandomFlip',
        'PackInputs',
    ]


def test_of_a_probed_swin_only_the_head_learns(scope):
    cfg = resolved('swin-b_linear_90e_crossmae')
    cfg.model.backbone.arch = dict(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2))
    cfg.model.neck.pop('in_dim'), cfg.model.head.pop('in_channels')
    settle_classifier(cfg)
    model = MODELS.build(cfg.model).train()
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {'head.fc.weight', 'head.fc.bias'}
    assert not any(module.training for module in model.backbone.layers.modules())
    with pytest.raises(ValueError, match='trainable_blocks=2: of Swin nothing is trained'):
        MODELS.build(dict(cfg.model.backbone, trainable_blocks=2))


@pytest.mark.parametrize(
    'tokens, expected',
    [
        ({}, (1, 0)),
        (dict(num_class_tokens=2, num_register_tokens=4), (6, 4)),
        (dict(class_token=False, num_register_tokens=4), (4, 4)),
    ],
)
def test_the_neck_knows_the_tokens_beside_the_patches(tokens, expected):
    cfg = resolved('vit-b_finetune_100e')
    for key in ('num_prefix_tokens', 'num_register_tokens'):
        cfg.model.neck.pop(key)
    cfg.model.backbone.update(tokens)
    settle_classifier(cfg)
    assert (cfg.model.neck.num_prefix_tokens, cfg.model.neck.num_register_tokens) == expected


def test_published_supervised_baseline():
    cfg = resolved('vit-b_scratch_300e')
    optimizer = cfg.optim_wrapper.optimizer
    assert tuple(optimizer.betas) == (0.9, 0.95) and optimizer.weight_decay == 0.3
    assert (cfg.base_lr, cfg.total_batch_size, cfg.max_epochs, cfg.warmup_epochs) == (1e-4, 4096, 300, 20)
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == 1.0 and cfg.model.backbone.init_cfg is None
    assert [hook.type for hook in cfg.custom_hooks] == ['mmengine.EMAHook']
    assert cfg.custom_hooks[0].momentum == pytest.approx(1e-4)


@pytest.mark.parametrize('name', CONFIGS)
def test_keys_at_the_top_reach_their_places(name):
    data_root = config(name).data_root
    cfg = load_config(str(FOLDER / f'{name}.py'), dict(data_root=f'{data_root}/moved', num_classes=3))
    cfg.pretrained = 'checkpoint.pth'
    settle_classifier(cfg)
    init_cfg = cfg.model.backbone.init_cfg
    assert init_cfg == dict(type='Pretrained', checkpoint='checkpoint.pth', prefix='backbone.')
    assert cfg.model.head.num_classes == cfg.model.data_preprocessor.num_classes == 3
    assert tuple(cfg.val_evaluator.topk) == tuple(cfg.test_evaluator.topk) == (1,)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        root = loader.dataset.data_root
        assert root.startswith(f'{data_root}/moved') and root.count('moved') == 1


def test_a_checkpoint_may_be_named_in_the_backbone():
    cfg = load_config(str(FOLDER / 'vit-tiny_folder_finetune.py'), {'model.backbone.init_cfg.checkpoint': 'a.pth'})
    settle_classifier(cfg)
    assert cfg.model.backbone.init_cfg.checkpoint == 'a.pth'
    cfg = config('vit-tiny_folder_finetune')
    settle_classifier(cfg)
    assert cfg.model.backbone.init_cfg is None  # from scratch


def test_the_other_of_two_players_encoders_is_taken_by_its_prefix(tmp_path, mmmim_scope):
    """Of GAN-MAE's Table 1, from one checkpoint, as the command line says it."""
    small = dict(type='mmmim.MaskedViT', arch=dict(embed_dim=24, depth=2, num_heads=3), img_size=32, patch_size=16)
    torch.manual_seed(0)
    model = OURS.build(
        dict(
            type='mmmim.GANMAE',
            backbone=small,
            neck=dict(type='mmmim.MAEDecoder', embed_dim=24, depth=1, num_heads=3),
            head=dict(type='mmmim.ReconstructionHead'),
            patch_head=dict(type='mmmim.PatchDiscriminationHead'),
            sharing='separate',
        )
    )
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'both.pth')
    found = {}
    for part in ('backbone', 'discriminator_backbone'):
        overrides = {'pretrained': str(tmp_path / 'both.pth'), 'model.backbone.init_cfg.prefix': f'{part}.'}
        cfg = load_config(str(FOLDER / 'vit-b_finetune_100e.py'), overrides)
        cfg.model.backbone.update(small)
        settle_classifier(cfg)
        found[part] = OURS.build(cfg.model.backbone)
        found[part].init_weights()
        own, theirs = found[part].state_dict(), model.get_submodule(part).state_dict()
        assert all(torch.equal(own[key], theirs[key]) for key in own if not key.startswith('norm.'))
    assert not torch.equal(*(encoder.patch_embed.proj.weight for encoder in found.values()))


def test_other_models_are_left_alone():
    cfg = load_config(str(ROOT / 'configs/mae/vit-tiny_folder.py'))
    before = copy.deepcopy(cfg._cfg_dict)
    settle_classifier(cfg)
    assert cfg._cfg_dict == before


def test_transforms_of_other_libraries_see_bgr(scope):
    """Fully desaturated, red must become as dark as OpenCV's formula says, not as blue would."""
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    grey = AsBGR([dict(type='mmpretrain.ColorTransform', magnitude=-1.0, prob=1.0, random_negative_prob=0.0)])
    assert grey.transform(dict(img=red))['img'][0, 0].tolist() == [76, 76, 76]  # 0.299 * 255
