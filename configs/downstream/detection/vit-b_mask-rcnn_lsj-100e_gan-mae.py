r"""Mask R-CNN on ViT-B/16 with GAN-MAE's settings, COCO, 100 epochs of large-scale jitter at 1024 px.

    tools/dist_train.sh configs/downstream/detection/vit-b_mask-rcnn_lsj-100e_gan-mae.py 8 \
        --cfg-options data_root=PATH/TO/coco pretrained=CHECKPOINT

For 16 GPUs with 80 GB, 4 images each (8 on each of two nodes). Fewer GPUs accumulate batches of 4; smaller ones take
fewer, too: `max_batch_per_device=1`.

GAN-MAE, section 4.4: Mask R-CNN with "FPNs to scale the feature map into different sizes" as Li et al. (2021) introduce
it, so four maps, of the blocks that attend globally. It states no schedule, rate or batch. The numbers of its table
point to a short schedule (vit-b_mask-rcnn_1x_gan-mae.py); here, as the other reading, all is Li et al.'s: 100 epochs
with large-scale jitter; the optimizer's settings are CMAE's.

Published: 49.0% box AP, 43.8% mask AP after 800 epochs of GAN-MAE (Table 8), whose schedule is not stated. Not
reproduced by this code yet.
"""

_base_ = [
    '../../_base_/models/det_mask_rcnn_fpn_vit.py',
    '../../_base_/datasets/det_coco_lsj.py',
    '../../_base_/schedules/det_adamw_cosine.py',
    '../../_base_/det_runtime.py',
]
norm_cfg = dict(type='mmmim.LayerNorm2d', eps=1e-6)
model = dict(
    backbone=dict(out_indices=(2, 5, 8, 11), window_size=14, relative_positions='decomposed', drop_path_rate=0.1),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', conv_out_channels=256, norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
max_epochs = 100
