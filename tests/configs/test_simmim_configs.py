"""SimMIM, MaskFeat and feature targets as configs of MAE's parts: published recipes, a training step, fine-tuning."""

import numpy as np
import pytest
import timm
import torch
from config_harness import ROOT, config, read, resolved, shrunk
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from PIL import Image

from mmmim.checkpoint.encoder import fill_encoder
from mmmim.datasets import mim_collate
from mmmim.models.build import check_model
from mmmim.registry import MODELS

PUBLISHED, SMALL = 'configs/simmim/vit-b_800e.py', 'configs/simmim/vit-tiny_cifar10.py'
SWIN, MASKFEAT = 'configs/simmim/swin-b_100e.py', 'configs/maskfeat/vit-b_1600e.py'


@pytest.fixture(scope='module')
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp('photos') / 'photo.png'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (260, 300, 3), dtype=np.uint8)).save(path)
    return str(path)


def built(name):
    """The model, small, and its optimizer."""
    torch.manual_seed(0)
    cfg = resolved(name)
    check_model(cfg.model)
    model = MODELS.build(shrunk(cfg))
    cfg.optim_wrapper.update(dtype='float32')
    return model, build_optim_wrapper(model, cfg.optim_wrapper), cfg


def test_the_recipe_is_the_authors():
    cfg = resolved(PUBLISHED)
    assert (cfg.total_batch_size, cfg.max_epochs, cfg.warmup_epochs) == (2048, 800, 10)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.lr == pytest.approx(1e-4 * 2048 / 512) and tuple(optimizer.betas) == (0.9, 0.999)
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=5.0) and optimizer.weight_decay == 0.05
    backbone = cfg.model.backbone
    assert (backbone.relative_positions, backbone.layer_scale, backbone.drop_path_rate) == ('shared', 0.1, 0.1)
    model = MODELS.build(shrunk(cfg))
    # the authors mask ceil(49 * 0.6) = 30 of the 7 x 7 units of 32 x 32 pixels
    assert model.masking.noise_shape == (49,) and model.masking.num_patches - model.masking.num_keep == 30 * 4


def test_the_rate_climbs_for_10_epochs_and_falls_at_epoch_700():
    cfg, steps = resolved(PUBLISHED), 3
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(scheduler, optimizer=optimizer), default_args=dict(epoch_length=steps))
        for scheduler in cfg.param_scheduler
    ]
    rates = []
    for _ in range(800 * steps):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert rates[0] == pytest.approx(5e-7 / 1e-4)
    assert set(np.round(rates[10 * steps : 700 * steps], 6)) == {1.0}
    assert set(np.round(rates[700 * steps :], 6)) == {0.1}


@pytest.mark.parametrize('name', [PUBLISHED, SMALL, SWIN])
def test_a_training_step_at_reduced_size(name, photo):
    model, optim_wrapper, cfg = built(name)
    batch = mim_collate([read(cfg.train_dataloader.dataset.pipeline, photo, seed) for seed in (0, 1)])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    log = model.train_step(batch, optim_wrapper)
    # of pixels that are normalised and not by the patch: the absolute error of a prediction of nearly nothing
    assert 0.5 < log['loss'].item() < 2
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert {'backbone.mask_token', 'neck.decoder.0.weight', 'backbone.patch_embed.proj.weight'} <= moved


def test_the_recipe_of_swin_is_the_authors():
    cfg = resolved(SWIN)
    assert (cfg.total_batch_size, cfg.max_epochs, cfg.warmup_epochs) == (2048, 100, 10)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(2e-4 * 2048 / 512)
    assert cfg.param_scheduler[1].eta_min == pytest.approx(1e-5 * 2048 / 512)
    model, optim_wrapper, _ = built(SWIN)
    assert model.masking.num_patches == 36 and model.masking.num_keep == 36 - 22  # ceil(36 * 0.6) are masked
    decay = {id(p): group['weight_decay'] for group in optim_wrapper.param_groups for p in group['params']}
    for name, p in model.named_parameters():
        if p.requires_grad:
            assert decay[id(p)] == (0 if p.ndim == 1 or 'bias_table' in name else 0.05), name


def test_the_recipe_of_maskfeat_is_the_authors(photo):
    cfg = resolved(MASKFEAT)
    assert (cfg.total_batch_size, cfg.max_epochs, cfg.warmup_epochs) == (2048, 1600, 30)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.lr == pytest.approx(2e-4 * 2048 / 256) and tuple(optimizer.betas) == (0.9, 0.999)
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=0.02) and optimizer.weight_decay == 0.05
    model, optim_wrapper, _ = built(MASKFEAT)
    assert model.masking.num_patches - model.masking.num_keep == 78 and model.masking.min_block_patches == 15
    assert model.neck.fc.out_features == 108 and model.target.cell == (8, 8)
    batch = mim_collate([read(cfg.train_dataloader.dataset.pipeline, photo, seed) for seed in (0, 1)])
    before = model.backbone.mask_token.detach().clone()
    log = model.train_step(batch, optim_wrapper)
    # histograms of length 1 in 9 bins have squares of 1 / 9 on average; to these come those of a random prediction
    assert 1 / 9 < log['loss'].item() < 2 and not torch.equal(model.backbone.mask_token, before)


def test_no_weight_decay_where_the_authors_have_none():
    model, optim_wrapper, _ = built(PUBLISHED)
    decay = {id(p): group['weight_decay'] for group in optim_wrapper.param_groups for p in group['params']}
    for name, p in model.named_parameters():
        if p.requires_grad:
            assert decay[id(p)] == (0 if p.ndim == 1 or 'cls_token' in name else 0.05), name


def test_a_checkpoint_of_it_is_fine_tuned():
    model = MODELS.build(shrunk(config(PUBLISHED)))
    cfg = config('configs/downstream/classification/vit-b_finetune_100e_simmim.py').model.backbone
    cfg.update(arch=dict(embed_dim=48, depth=2, num_heads=3), init_cfg=None)
    backbone = MODELS.build(cfg)
    fill_encoder(backbone, dict(state_dict=model.state_dict()))
    table = model.state_dict()['backbone.rel_pos_bias.relative_position_bias_table']
    own = [value for key, value in backbone.state_dict().items() if key.endswith('relative_position_bias_table')]
    assert len(own) == 2 and all(torch.equal(value, table) for value in own)


def test_dino_features_take_a_training_step(photo, tmp_path):
    cfg = resolved('configs/mae/vit-b_dino-features.py')
    name = cfg.model.target.model.removeprefix('timm:')
    torch.save(timm.create_model(name).state_dict(), tmp_path / 'dino.pth')  # random
    cfg.model.target.weights = str(tmp_path / 'dino.pth')
    model = MODELS.build(shrunk(cfg))
    cfg.optim_wrapper.update(dtype='float32')
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    batch = mim_collate([read(cfg.train_dataloader.dataset.pipeline, photo, seed) for seed in (0, 1)])
    log = model.train_step(batch, optim_wrapper)
    assert -1 < log['loss'].item() < 1 and model.neck.decoder_pred.out_features == 384


def test_readme_links_every_config():
    for folder in ('simmim', 'maskfeat', 'mocov3', 'beit', 'cae'):
        text = (ROOT / f'configs/{folder}/README.md').read_text()
        assert all(f']({path.name})' in text for path in (ROOT / f'configs/{folder}').glob('*.py'))
