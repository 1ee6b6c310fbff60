r"""Mask R-CNN on ViT-B/16 with Vision ELECTRA's settings, COCO, the rate of 8e-5 taken literally.

    tools/dist_train.sh configs/downstream/detection/vit-b_mask-rcnn_lsj-100e_vision-electra_lr-8e-5.py 4 \
        --cfg-options data_root=PATH/TO/coco pretrained=CHECKPOINT

For 4 GPUs with 32 GB, which accumulate four batches of 4 images each.

"an initial learning rate established at 8e-5" as the rate of every parameter, not MIMDet's for 16 images.

Published: no number; the supplement states no AP. Not reproduced by this code yet.
"""

_base_ = './vit-b_mask-rcnn_lsj-100e_vision-electra.py'
optim_wrapper = dict(optimizer=dict(lr=8e-5), paramwise_cfg=dict(backbone_lr_mult=1.0, head_lr_mult=1.0))
