r"""Mask R-CNN on ViT-B/16 with CrossMAE's settings, COCO, the 3x schedule (36 epochs).

    tools/dist_train.sh configs/downstream/detection/vit-b_mask-rcnn_3x_crossmae.py 8 \
        --cfg-options data_root=PATH/TO/coco pretrained=CHECKPOINT

For 8 GPUs with 32 GB, 2 images each (`model.backbone.with_cp=True` where that is too much).

CrossMAE, section 4.2 and appendix: four maps, scaled "following Zhou et al. (2021)" (iBOT), an FPN, the 3x schedule,
AdamW with a rate of 6e-5 and a weight decay of 0.05. Steps, augmentation, layer decay (0.65) and stochastic depth (0.2)
are those of iBOT's code; the batch of 16 is mmdet's.

Published: 50.9% box AP, 45.2% mask AP after 300 epochs of CrossMAE (Table 4). Not reproduced by this code yet.
"""

_base_ = [
    '../../_base_/models/det_mask_rcnn_fpn_vit.py',
    '../../_base_/datasets/det_coco_multiscale.py',
    '../../_base_/schedules/det_adamw_step.py',
    '../../_base_/det_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=6e-5))
max_epochs = 36
milestones = (27, 33)
