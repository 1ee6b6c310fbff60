r"""Mask R-CNN on ViT-B/16, COCO, the 1x schedule (12 epochs).

    tools/dist_train.sh configs/downstream/detection/vit-b_mask-rcnn_1x.py 8 \
        --cfg-options data_root=PATH/TO/coco pretrained=CHECKPOINT

For 8 GPUs with 32 GB, 2 images each (`model.backbone.with_cp=True` where that is too much).

As 3x, with iBOT's rate of 1e-4, which falls after 8 and 11 epochs.

Published: BEiT 42.6% box AP and 38.8% mask AP after 300 epochs, PeCo 44.9 and 40.4 after 800, each fine-tuned for 12
epochs (CrossMAE, Table 4). The settings behind them are not stated.
"""

_base_ = [
    '../../_base_/models/det_mask_rcnn_fpn_vit.py',
    '../../_base_/datasets/det_coco_multiscale.py',
    '../../_base_/schedules/det_adamw_step.py',
    '../../_base_/det_runtime.py',
]
model = dict(backbone=dict(arch='base', out_indices=(3, 5, 7, 11), drop_path_rate=0.2))
total_batch_size = 16
max_epochs = 12
warmup_epochs = 0.136
milestones = (8, 11)
optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=0.05), paramwise_cfg=dict(layer_decay_rate=0.65))
