r"""A small Mask R-CNN on a small ViT, 160 px, on any images with annotations in COCO's format, for two CPU cores.

    python tools/train.py configs/downstream/detection/vit-tiny_folder_mask-rcnn.py \
        --cfg-options data_root=PATH/TO/DATA train_ann=train.json val_ann=val.json train_images=jpg val_images=jpg \
        pretrained=CHECKPOINT

PATH/TO/DATA: see vit-b_folder_mask-rcnn.py. Objects of less than 10 pixels in a square of `image_size` are hardly
found: where things are small, take a larger one. CHECKPOINT is what configs/mae/vit-tiny_folder.py makes; without it
the encoder is random.

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
image_size = 160
total_batch_size = 8
max_batch_per_device = 8
max_epochs = 25
warmup_epochs = 0.5
optim_wrapper = dict(
    optimizer=dict(lr=3e-3, weight_decay=0.05), paramwise_cfg=dict(layer_decay_rate=0.75), clip_grad=dict(max_norm=5.0)
)
