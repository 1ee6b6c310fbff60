r"""Mask R-CNN on ViT-B/16, COCO, the 1x schedule (12 epochs).

    tools/dist_train.sh configs/downstream/detection/vit-b_mask-rcnn_1x.py 8 \
        --cfg-options data_root=PATH/TO/coco pretrained=CHECKPOINT

For 8 GPUs with 32 GB, 2 images each (`model.backbone.with_cp=True` where that is too much).

As 3x, with iBOT's rate of 1e-4, which falls after 8 and 11 epochs.

Published: BEiT 42.6% box AP and 38.8% mask AP after 300 epochs, PeCo 44.9 and 40.4 after 800, each fine-tuned for 12
epochs (CrossMAE, Table 4). The settings behind them are not stated.
"""

_base_ = './vit-b_mask-rcnn_3x_crossmae.py'
max_epochs = 12
milestones = (8, 11)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
