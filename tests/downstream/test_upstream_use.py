"""Someone else's config and someone else's tools: mmseg's and mmdet's own scripts train with our backbone."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from harness import PLUGIN, ROOT, run_tool
from seg_harness import make_masks

from mmmim.models.backbones import MaskedViT

pytest.importorskip('mmseg')

pytestmark = pytest.mark.runs
ARCH = dict(embed_dim=24, depth=4, num_heads=3)
LR, DECAY, WEIGHT_DECAY = 1e-3, 0.5, 0.05

# What such a user adds to a config: the import, the backbone, and, if wanted, the constructor.
OURS = """
custom_imports = dict(imports=['mmmim'], allow_failed_imports=False)
backbone = dict(
    type='mmmim.DenseViT', arch={arch}, img_size=32, patch_size=8, out_indices=(0, 1, 2, 3),
    init_cfg=dict(type='Pretrained', checkpoint={checkpoint!r}, prefix='backbone.'))
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr={lr}, weight_decay={weight_decay}),
    constructor='mmmim.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate={decay}, norm_decay_mult=0.0, bias_decay_mult=0.0))
"""

# The rest is as in mmseg's own configs.
SEGMENTOR = (
    """
_base_ = [{base!r}]
"""
    + OURS
    + """
norm_cfg = dict(type='BN')
head = dict(norm_cfg=norm_cfg, num_classes=3, align_corners=False, loss_decode=dict(type='CrossEntropyLoss'))
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[60.0] * 3, bgr_to_rgb=True, pad_val=0,
                           seg_pad_val=255, size=(32, 32)),
    backbone=backbone, neck=dict(type='Feature2Pyramid', embed_dim=24, rescales=[4, 2, 1, 0.5], norm_cfg=norm_cfg),
    decode_head=dict(type='UPerHead', in_channels=[24] * 4, in_index=[0, 1, 2, 3], channels=8, **head),
    auxiliary_head=dict(type='FCNHead', in_channels=24, in_index=2, channels=8, num_convs=1, **head),
    train_cfg=dict(), test_cfg=dict(mode='whole'))
train_pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='RandomFlip', prob=0.5),
                  dict(type='PackSegInputs')]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
dataset = dict(type='BaseSegDataset', data_root={data!r}, img_suffix='.png', seg_map_suffix='.png',
               metainfo=dict(classes=('ground', 'disc', 'square'), palette=[[0, 0, 0], [255, 0, 0], [0, 0, 255]]))
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
                 pipeline=train_pipeline, **dataset))
val_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
                 pipeline=test_pipeline, **dataset))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
train_cfg = dict(type='IterBasedTrainLoop', max_iters=3, val_interval=3)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    timer=dict(type='IterTimerHook'), logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'), sampler_seed=dict(type='DistSamplerSeedHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=3),
    visualization=dict(type='SegVisualizationHook'))
env_cfg = dict(dist_cfg=dict(backend='gloo'))
"""
)

DETECTOR = (
    """
_base_ = [{base!r}]
"""
    + OURS.replace("['mmmim']", "['mmmim', 'mmmim.models.mmdet_parts']")
    + """
head = dict(in_channels=16, roi_feat_size=7, num_classes=10)
extractor = dict(type='SingleRoIExtractor', out_channels=16, featmap_strides=[8] * 4,
                 roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0))
proposals = dict(nms_pre=50, max_per_img=20, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0)
assigner = dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0.3)
sampler = dict(type='RandomSampler', num=16, pos_fraction=0.5, add_gt_as_proposals=True)
model = dict(
    type='MaskRCNN',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[127.5] * 3, std=[60.0] * 3, bgr_to_rgb=True, pad_mask=True,
                           pad_size_divisor=32),
    backbone=backbone,
    neck=dict(type='ChannelMapper', in_channels=[24] * 4, out_channels=16, num_outs=4),
    rpn_head=dict(type='RPNHead', in_channels=16, feat_channels=16, anchor_generator=dict(
        type='AnchorGenerator', scales=[4], ratios=[0.5, 1.0, 2.0], strides=[8] * 4)),
    roi_head=dict(
        type='StandardRoIHead', bbox_roi_extractor=extractor, mask_roi_extractor=extractor,
        bbox_head=dict(type='Shared2FCBBoxHead', fc_out_channels=16, **head),
        mask_head=dict(type='FCNMaskHead', num_convs=1, in_channels=16, conv_out_channels=16, num_classes=10)),
    train_cfg=dict(
        rpn=dict(assigner=assigner, sampler=dict(sampler, add_gt_as_proposals=False), allowed_border=-1, pos_weight=-1,
                 debug=False),
        rpn_proposal=proposals,
        rcnn=dict(assigner=assigner, sampler=sampler, mask_size=14, pos_weight=-1, debug=False)),
    test_cfg=dict(rpn=proposals, rcnn=dict(score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=10,
                                           mask_thr_binary=0.5)))
train_pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
                  dict(type='RandomFlip', prob=0.5), dict(type='PackDetInputs')]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64), keep_ratio=True),
                 dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
dataset = dict(type='CocoDataset', data_root={data!r}, metainfo=dict(classes={classes!r}))
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(ann_file='annotations/instances_train2017.json', data_prefix=dict(img='train2017/'),
                 pipeline=train_pipeline, **dataset))
val_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(ann_file='annotations/instances_val2017.json', data_prefix=dict(img='val2017/'), test_mode=True,
                 pipeline=test_pipeline, **dataset))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='CocoMetric', ann_file={data!r} + '/annotations/instances_val2017.json',
                                      metric=['bbox', 'segm'])
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
env_cfg = dict(dist_cfg=dict(backend='gloo'))
"""
)


def brought_along(toolbox: str, path: str) -> str:
    """A config or tool inside the toolbox's distribution."""
    return str(Path(sys.modules[toolbox].__file__).parent / '.mim' / path)


# mmdet's own test.py imports operators before it reads the config, and what that would import
WITH_OPERATORS = (
    'import mmmim.models.mmdet_parts, runpy, sys; sys.argv = sys.argv[1:]; '
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def run_their(toolbox: str, script: str, config: Path, *args: str) -> str:
    """What the toolbox's own script said."""
    command = [brought_along(toolbox, f'tools/{script}'), str(config), *args]
    if (toolbox, script) == ('mmdet', 'test.py'):
        command = ['-c', WITH_OPERATORS, *command]
    environment = {**os.environ, 'PYTHONPATH': PLUGIN, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    done = subprocess.run(
        [sys.executable, *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=config.parent,
    )
    assert done.returncode == 0, f'{done.stdout[-2000:]}\n{done.stderr[-4000:]}'
    return done.stdout + done.stderr


@pytest.fixture
def encoder(tmp_path):
    """(encoder, path of its checkpoint) as pre-training leaves it."""
    torch.manual_seed(0)
    vit = MaskedViT(ARCH, img_size=32, patch_size=8)
    for param in vit.parameters():
        param.data.normal_(std=0.1)
    path = tmp_path / 'epoch_800.pth'
    torch.save(dict(state_dict={f'backbone.{key}': value for key, value in vit.state_dict().items()}), path)
    return vit, str(path)


def write(path: Path, toolbox: str, text: str, checkpoint: str, data: Path, classes: tuple = ()) -> Path:
    base = brought_along(toolbox, 'configs/_base_/default_runtime.py')
    path.write_text(
        text.format(
            base=base,
            arch=ARCH,
            checkpoint=checkpoint,
            lr=LR,
            weight_decay=WEIGHT_DECAY,
            decay=DECAY,
            data=str(data),
            classes=classes,
        )
    )
    return path


def check_weights_and_rates(saved, vit):
    """The encoder moved away from the checkpoint by as much as three steps of AdamW with each layer's rate can."""
    state, groups = saved['state_dict'], saved['optimizer']['param_groups']
    for name, value in vit.state_dict().items():
        if name.startswith('norm.'):
            continue
        block = re.match(r'blocks\.(\d+)\.', name)
        steps = len(vit.blocks) - int(block[1]) if block else len(vit.blocks) + 1
        moved = (state[f'backbone.{name}'] - value).abs().max().item()
        bound = 0.0 if name == 'pos_embed' else 3.3 * LR * DECAY**steps
        assert moved <= bound, name
        assert moved > 0.3 * bound or name == 'pos_embed' or 'qkv.bias' in name, name
    assert sorted({round(group['lr'] / LR, 6) for group in groups}) == [DECAY**i for i in (5, 4, 3, 2, 1, 0)]


def test_mmsegs_own_tools_train_resume_and_test(tmp_path, encoder):
    vit, checkpoint = encoder
    config = write(tmp_path / 'upernet.py', 'mmseg', SEGMENTOR, checkpoint, make_masks(tmp_path / 'data', 12, 4))
    said = run_their('mmseg', 'train.py', config)
    assert 'Encoder loaded: 52 keys matched' in said and 'mIoU' in said
    work_dir = tmp_path / 'work_dirs/upernet'
    saved = torch.load(work_dir / 'iter_3.pth', map_location='cpu', weights_only=False)
    check_weights_and_rates(saved, vit)
    run_their('mmseg', 'train.py', config, '--resume', '--cfg-options', 'train_cfg.max_iters=5')
    resumed = torch.load(work_dir / 'iter_5.pth', map_location='cpu', weights_only=False)
    assert resumed['optimizer']['state'][0]['step'] == 5
    said = run_their('mmseg', 'test.py', config, str(work_dir / 'iter_5.pth'), '--work-dir', str(tmp_path / 'test'))
    tested = json.loads(next((tmp_path / 'test').glob('*/*.json')).read_text())
    assert 0 <= tested['mIoU'] <= 100 and 'mIoU' in said


def test_mmdets_own_tools_train_and_test(tmp_path, encoder):
    pytest.importorskip('mmdet')
    vit, checkpoint = encoder
    subprocess.run(
        [
            sys.executable,
            str(ROOT / 'tools/datasets/make_scenes.py'),
            str(tmp_path / 'scenes'),
            '--train',
            '12',
            '--val',
            '4',
            '--size',
            '64',
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    data = tmp_path / 'scenes/coco'
    names = tuple(
        kind['name'] for kind in json.loads((data / 'annotations/instances_val2017.json').read_text())['categories']
    )
    config = write(tmp_path / 'mask_rcnn.py', 'mmdet', DETECTOR, checkpoint, data, names)
    said = run_their('mmdet', 'train.py', config)
    assert 'Encoder loaded: 52 keys matched' in said and 'segm_mAP' in said
    work_dir = tmp_path / 'work_dirs/mask_rcnn'
    check_weights_and_rates(torch.load(work_dir / 'epoch_1.pth', map_location='cpu', weights_only=False), vit)
    run_their('mmdet', 'test.py', config, str(work_dir / 'epoch_1.pth'), '--work-dir', str(tmp_path / 'test'))
    tested = json.loads(next((tmp_path / 'test').glob('*/*.json')).read_text())
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= set(tested)
    said = run_tool('test.py', config, work_dir / 'epoch_1.pth', '--work-dir', tmp_path / 'ours').stdout
    assert all(f'{key}: {value:.4f}' in said for key, value in tested.items() if 'mAP' in key), said[-2000:]
