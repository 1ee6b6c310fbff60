r"""Mask R-CNN on ViT-L/16, COCO, the 3x schedule (36 epochs).

    tools/dist_train.sh configs/downstream/detection/vit-l_mask-rcnn_3x.py 8 \
        --cfg-options data_root=PATH/TO/coco pretrained=CHECKPOINT

For 8 GPUs with 80 GB, 2 images each (`model.backbone.with_cp=True` where that is too much).

CrossMAE's settings for ViT-B; stochastic depth and layer decay are this project's choice.

Published: nothing.
"""

_base_ = './vit-b_mask-rcnn_3x_crossmae.py'
model = dict(backbone=dict(arch='large', out_indices=(7, 11, 15, 23), drop_path_rate=0.3))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
