r"""Mask R-CNN on ViT-L/16, COCO, the 1x schedule (12 epochs).

    tools/dist_train.sh configs/downstream/detection/vit-l_mask-rcnn_1x.py 8 \
        --cfg-options data_root=PATH/TO/coco pretrained=CHECKPOINT

For 8 GPUs with 80 GB, 2 images each (`model.backbone.with_cp=True` where that is too much).

The settings of ViT-B; stochastic depth and layer decay are this project's choice.

Published: nothing.
"""

_base_ = './vit-l_mask-rcnn_3x.py'
max_epochs = 12
milestones = (8, 11)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
