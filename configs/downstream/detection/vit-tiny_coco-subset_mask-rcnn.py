r"""A small Mask R-CNN on a small ViT on 318 photographs of COCO, 80 classes at 160 px, for two CPU cores.

    python tools/train.py configs/downstream/detection/vit-tiny_coco-subset_mask-rcnn.py \
        --cfg-options data_root=PATH/TO/coco_subset pretrained=CHECKPOINT

PATH/TO/coco_subset has `train2017`, `val2017` and `annotations`, as COCO 2017, with some of its images. CHECKPOINT is
what configs/mae/vit-tiny_folder.py makes; without it the encoder is random. So few images teach 80 classes little: the
numbers are for comparing two starts, not for use.

Published: nothing; sizes and schedule are this project's choice.
"""

_base_ = [
    '../../_base_/models/det_mask_rcnn_vit.py',
    '../../_base_/datasets/det_folder.py',
    '../../_base_/schedules/det_adamw_cosine.py',
    '../../_base_/det_runtime.py',
]
channels, strides = 64, [4, 8, 16, 32]
# on a CPU torchvision's kernel is the faster one: a step takes two thirds of the time
roi_layer = dict(use_torchvision=True)
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=192, depth=6, num_heads=3),
        patch_size=8,
        out_indices=(5,),
        window_size=None,
        relative_positions=None,
        drop_path_rate=0.0,
    ),
    neck=dict(out_channels=channels, scales=(2, 1, 0.5), num_outs=4),
    rpn_head=dict(
        in_channels=channels, feat_channels=channels, num_convs=1, anchor_generator=dict(scales=[4], strides=strides)
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            out_channels=channels, featmap_strides=strides[:3], finest_scale=20, roi_layer=roi_layer
        ),
        bbox_head=dict(type='Shared2FCBBoxHead', in_channels=channels, fc_out_channels=256),
        mask_roi_extractor=dict(
            out_channels=channels, featmap_strides=strides[:3], finest_scale=20, roi_layer=roi_layer
        ),
        mask_head=dict(num_convs=2, in_channels=channels, conv_out_channels=channels),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rcnn=dict(sampler=dict(num=64, pos_fraction=0.5)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200), rcnn=dict(max_per_img=50)),
)
data_root = 'data/coco_subset'
image_size = 160
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomResize', scale=(160, 160), ratio_range=(0.5, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_type='absolute', crop_size=(160, 160), recompute_bbox=True, allow_negative_crop=True),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2), keep_empty=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(batch_size=4, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
total_batch_size = 8
max_batch_per_device = 8
max_epochs = 30
warmup_epochs = 1
optim_wrapper = dict(
    optimizer=dict(lr=3e-3, weight_decay=0.05), paramwise_cfg=dict(layer_decay_rate=0.75), clip_grad=dict(max_norm=5.0)
)
train_cfg = dict(val_interval=10)
