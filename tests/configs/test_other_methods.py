"""MoCo v3, BEiT and CAE by mmpretrain's configs: they train here, and downstream configs take their checkpoints."""

import functools

import pytest
import torch
from config_harness import CONFIGS, ROOT, config, of_a_toolbox, resolved
from harness import FLOAT32, train
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from seg_configs import shrunk
from timm.layers import resize_rel_pos_bias_table

from mmmim.checkpoint.encoder import EncoderMismatchError
from mmmim.config.detection import settle_detector
from mmmim.config.prepare import set_up_scope
from mmmim.models.backbones.vit import resolve_architecture
from mmmim.registry import MODELS

mmpretrain = pytest.importorskip('mmpretrain.registry')

MOCO, BEIT, CAE = 'configs/mocov3/vit-b_300e.py', 'configs/beit/vit-b_800e.py', 'configs/cae/vit-b_1600e.py'
WIDTH = 24
# warm-up, images in a step, rate of it, weight decay
RECIPES = {
    MOCO: (300, 40, 4096, 2.4e-3, 0.1),
    'configs/mocov3/vit-s_300e.py': (300, 40, 4096, 2.4e-3, 0.1),
    'configs/mocov3/vit-l_300e.py': (300, 40, 4096, 2.4e-3, 0.1),
    BEIT: (800, 10, 2048, 1.5e-3, 0.05),
    CAE: (1600, 10, 2048, 1.5e-3, 0.05),
}


def arch(depth):
    return dict(embed_dims=WIDTH, num_layers=depth, num_heads=3, feedforward_channels=4 * WIDTH)


def small(name, depth=2, size=32, patch=8):
    """The config's model, narrow, for small images; random weights stand for DALL-E's."""
    cfg = config(name)
    model = cfg.model
    set_up_scope(cfg)
    model.backbone.update(arch=arch(depth), img_size=size, patch_size=patch)
    if name == MOCO:
        model.neck.update(in_channels=WIDTH, hid_channels=16, out_channels=8)
        model.head.predictor.update(in_channels=8, hid_channels=16, out_channels=8)
    elif name == BEIT:
        model.head.embed_dims = WIDTH
    else:
        model.neck.update(embed_dims=WIDTH, num_heads=3, regressor_depth=1, decoder_depth=1, mask_tokens_num=6)
    if 'target_generator' in model:
        model.target_generator = dict(type='DALL-E', n_hid=8, group_count=4, init_cfg=None)
    model.data_preprocessor = cfg.data_preprocessor
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        torch.manual_seed(0)
        return mmpretrain.MODELS.build(model)


def shaken(model):
    """The model with values that are nowhere 0 or 1."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.empty_like(parameter).uniform_(-0.1, 0.1))
    model.eval()
    return model


@functools.lru_cache(maxsize=None)
def moco(depth, patch):
    return dict(state_dict=shaken(small(MOCO, depth, 4 * patch, patch)).state_dict())


def test_every_config_of_a_toolbox_is_here():
    assert sorted(name for name in CONFIGS if of_a_toolbox(name)) == sorted(RECIPES)


@pytest.mark.parametrize('name', RECIPES)
def test_batch_rate_and_length_follow_from_the_keys_at_the_top(name):
    epochs, warmup, batch, rate, decay = RECIPES[name]
    cfg = resolved(name)
    assert '_scope_' not in cfg.pretty_text and cfg.default_scope == 'mmpretrain'
    assert 8 * cfg.train_dataloader.batch_size * cfg.optim_wrapper.accumulative_counts == cfg.total_batch_size == batch
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.lr == pytest.approx(rate) and optimizer.weight_decay == decay
    first, last = cfg.param_scheduler
    assert (first.begin, first.end, last.begin, last.end) == (0, warmup, warmup, epochs)
    assert cfg.train_cfg.max_epochs == epochs and last.get('T_max') == epochs - warmup


@pytest.mark.runs
def test_moco_v3_trains_with_our_tool(tmp_path, image_root):
    child = tmp_path / 'moco.py'
    child.write_text(f"""
_base_ = {str(ROOT / MOCO)!r}
model = dict(
    backbone=dict(arch=dict(_delete_=True, **{arch(2)}), img_size=32, patch_size=8),
    neck=dict(in_channels={WIDTH}, hid_channels=16, out_channels=8),
    head=dict(predictor=dict(in_channels=8, hid_channels=16, out_channels=8)))
train_dataloader = dict(num_workers=0, persistent_workers=False, pin_memory=False, dataset=dict(
    _delete_=True, type='CustomDataset', data_root={str(image_root)!r}, with_label=False, pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='MultiView', num_views=[2], transforms=[[dict(type='RandomResizedCrop', scale=32)]]),
        dict(type='PackInputs')]))
total_batch_size = 16
max_epochs = 2
warmup_epochs = 1
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1))
work_dir = {str(tmp_path / 'run')!r}
default_scope = 'mmpretrain'
""")
    done = train(child)
    assert done.returncode == 0 and 'loss' in done.stdout + done.stderr
    state = torch.load(tmp_path / 'run/epoch_2.pth', weights_only=False)
    assert state['meta']['iter'] == 2 * (64 // 16)
    backbone = MODELS.build(
        dict(type='MaskedViT', arch=dict(embed_dim=WIDTH, depth=2, num_heads=3), img_size=32, patch_size=8)
    )
    report = backbone.load_pretrained(str(tmp_path / 'run/epoch_2.pth'), prefix='backbone.')
    assert report.matched == len(backbone.state_dict())


@pytest.mark.parametrize('name', [BEIT, CAE])
def test_methods_that_need_dalles_file_take_a_step(name):
    from mmpretrain.structures import DataSample

    model, cfg = small(name, size=32, patch=8), resolved(name)
    cfg.optim_wrapper.update(dtype='float32', accumulative_counts=1)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[:2, :3] = True
    samples = [DataSample(mask=mask if name == BEIT else mask.flatten()) for _ in range(2)]
    images = torch.randint(0, 256, (2, 3, 32, 32)).float()
    log = model.train_step(dict(inputs=[images, images], data_samples=samples), wrapper)
    assert torch.isfinite(log['loss']) and log['loss'] > 0
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert 'backbone.patch_embed.projection.weight' in moved
    assert not any(key.startswith('target_generator') for key in moved)


def downstream(folder):
    """``(config, its backbone)`` of a folder with a plain ViT."""
    for name in CONFIGS:
        if name.startswith(f'configs/downstream/{folder}/'):
            backbone = config(name).model.backbone
            if backbone.type in ('mmmim.MaskedViT', 'mmmim.DenseViT'):
                yield name, backbone


@pytest.mark.parametrize('folder', ['classification', 'segmentation', 'detection'])
def test_a_checkpoint_of_moco_v3_goes_into_every_downstream_config(folder):
    found = list(downstream(folder))
    assert len(found) > 5
    for name, cfg in found:
        depth = resolve_architecture(cfg.arch)[1]
        file = moco(depth, cfg.patch_size)
        cfg.update(arch=dict(embed_dim=WIDTH, depth=depth, num_heads=3), init_cfg=None)
        backbone = MODELS.build(cfg)
        backbone.load_pretrained(file, prefix='backbone.')
        state = backbone.state_dict()
        for ours, theirs in (('mlp.fc2.weight', 'ffn.layers.1.weight'), ('attn.qkv.bias', 'attn.qkv.bias')):
            loaded, stored = state[f'blocks.1.{ours}'], file['state_dict'][f'backbone.layers.1.{theirs}']
            assert torch.equal(loaded, stored), name


def encoder_of(name, kind, **options):
    file = shaken(small(name))
    vit = MODELS.build(
        dict(
            type=f'mmmim.{kind}', arch=dict(embed_dim=WIDTH, depth=2, num_heads=3), img_size=32, patch_size=8, **options
        )
    )
    vit.load_pretrained(dict(state_dict=file.state_dict()), prefix='backbone.')
    return file.backbone, vit.eval()


def test_features_of_moco_v3_are_mmpretrains():
    theirs, ours = encoder_of(MOCO, 'MaskedViT')
    images = torch.randn(2, 3, 32, 32)
    theirs.out_type = 'raw'
    torch.testing.assert_close(ours(images), theirs(images)[0], **FLOAT32)


@pytest.mark.parametrize('kind', ['RelativeViT', 'DenseRelativeViT'])
def test_features_of_beit_are_mmpretrains(kind):
    dense = kind.startswith('Dense')
    theirs, ours = encoder_of(BEIT, kind, final_norm=True, **(dict(out_indices=(0, 1)) if dense else {}))
    images = torch.randn(2, 3, 32, 32)
    expected = theirs(images, mask=None)[0]
    found = ours(images)
    torch.testing.assert_close(
        found[-1].flatten(2).transpose(1, 2) if dense else found, expected[:, 1:] if dense else expected, **FLOAT32
    )


@pytest.mark.parametrize('options', [{}, dict(relative_positions='separate')], ids=['plain', 'with new tables'])
def test_features_of_cae_are_mmpretrains(options):
    """A plain ViT with a layer scale in pre-training; the tables that fine-tuning adds begin at zero."""
    theirs, ours = encoder_of(CAE, 'DenseViT', final_norm=True, out_indices=(0, 1), **options)
    plain = encoder_of(CAE, 'MaskedViT')[1]
    images = torch.randn(2, 3, 32, 32)
    expected = theirs(images, mask=torch.zeros(2, 16, dtype=torch.bool))
    torch.testing.assert_close(plain(images), expected, **FLOAT32)
    torch.testing.assert_close(ours(images)[-1].flatten(2).transpose(1, 2), expected[:, 1:], **FLOAT32)


def test_cae_is_fine_tuned_with_relative_positions_beside_its_own():
    theirs, ours = encoder_of(CAE, 'RelativeViT', absolute_positions=True)
    images = torch.randn(2, 3, 32, 32)
    expected = theirs(images, mask=torch.zeros(2, 16, dtype=torch.bool))
    torch.testing.assert_close(ours(images), expected, **FLOAT32)
    with torch.no_grad():
        for block in ours.blocks:
            block.attn.relative_position_bias_table.normal_()
    tuned = {f'backbone.{name}': value for name, value in ours.state_dict().items()}
    options = dict(arch=dict(embed_dim=WIDTH, depth=2, num_heads=3), patch_size=8, absolute_positions=True)
    again = MODELS.build(dict(type='mmmim.RelativeViT', img_size=32, **options)).eval()
    again.load_pretrained(dict(state_dict=tuned), prefix='backbone.')
    assert torch.equal(again(images), ours(images)) and not torch.allclose(again(images), expected, atol=1e-2)
    larger = MODELS.build(dict(type='mmmim.RelativeViT', img_size=48, **options))
    larger.load_pretrained(dict(state_dict=tuned), prefix='backbone.')
    name = 'blocks.1.attn.relative_position_bias_table'
    table = resize_rel_pos_bias_table(tuned[f'backbone.{name}'], (6, 6), larger.state_dict()[name].shape)
    assert torch.equal(larger.state_dict()[name], table)


def test_cae_in_a_vit_with_relative_positions_alone_is_told_what_it_needs():
    with pytest.raises(EncoderMismatchError, match='absolute_positions=True'):
        encoder_of(CAE, 'RelativeViT')


BEIT_TASKS = [
    'segmentation/vit-b_upernet_160k',
    'segmentation/vit-b_linear_160k_crossmae',
    'detection/vit-b_mask-rcnn_3x_crossmae',
]


@pytest.mark.parametrize('name', BEIT_TASKS)
def test_a_checkpoint_of_beit_goes_into_a_dense_task_by_one_option(name):
    cfg = config(f'configs/downstream/{name}.py').model.backbone
    cfg.update(type='mmmim.DenseRelativeViT', arch=dict(embed_dim=WIDTH, depth=12, num_heads=3), init_cfg=None)
    backbone = MODELS.build(cfg)
    file = shaken(small(BEIT, depth=12, size=64, patch=16))
    backbone.load_pretrained(dict(state_dict=file.state_dict()), prefix='backbone.')
    assert torch.equal(backbone.blocks[5].attn.q_bias, file.backbone.layers[5].attn.q_bias)
    assert [tuple(one.shape) for one in backbone(torch.randn(1, 3, 40, 64))] == [(1, WIDTH, 3, 4)] * len(
        cfg.out_indices
    )


def test_upernet_on_beit_has_a_loss_and_its_layer_decay():
    mmseg = pytest.importorskip('mmseg.structures')
    cfg = shrunk('vit-b_upernet_160k', **{'model.backbone.type': 'mmmim.DenseRelativeViT'})
    set_up_scope(cfg)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
        truth = PixelData(data=torch.randint(0, 3, (1, 64, 64)))
        samples = [mmseg.SegDataSample(gt_sem_seg=truth, metainfo=dict(img_shape=(64, 64))) for _ in range(2)]
        losses = model.loss(torch.randn(2, 3, 64, 64), samples)
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    table = model.backbone.blocks[2].attn.relative_position_bias_table
    assert table.grad.abs().sum() > 0
    rates = {id(p): group['lr'] for group in wrapper.param_groups for p in group['params']}
    assert rates[id(table)] == pytest.approx(cfg.optim_wrapper.optimizer.lr * 0.65 ** (13 - 3))


def test_mask_rcnn_on_beit_gets_the_widths_of_its_pyramid():
    cfg = config('configs/downstream/detection/vit-b_mask-rcnn_3x_crossmae.py')
    cfg.model.backbone.type = 'mmmim.DenseRelativeViT'
    settle_detector(cfg, with_data=False)
    assert [part.get('in_dim', part.get('in_channels')) for part in cfg.model.neck] == [768, [768] * 4]
