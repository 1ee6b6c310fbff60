r"""Mask R-CNN on ViT-B/16 with GAN-MAE's settings, COCO, the 1x schedule (12 epochs).

    tools/dist_train.sh configs/downstream/detection/vit-b_mask-rcnn_1x_gan-mae.py 8 \
        --cfg-options data_root=PATH/TO/coco pretrained=CHECKPOINT

For 8 GPUs with 32 GB, 2 images each (`model.backbone.with_cp=True` where that is too much).

GAN-MAE, section 4.4: Mask R-CNN with "FPNs to scale the feature map into different sizes" as Li et al. (2021) introduce
it, so four maps, of the last block of each quarter. It states no schedule, rate or batch. Its Table 8 points to a
short one: there MAE has 47.2% box AP and 42.0% mask AP, where 100 epochs of large-scale jitter give it 50.3% and 44.9%
(slides, Table 4), and BootMAE has 1.3 and 1.4 points more than MAE, as BootMAE's abstract says: the rows are that
paper's. Rate, steps, layer decay and stochastic depth are those of the 1x schedule here. Li et al. train 100 epochs:
vit-b_mask-rcnn_lsj-100e_gan-mae.py.

Published: 49.0% box AP, 43.8% mask AP after 800 epochs of GAN-MAE (Table 8). Not reproduced by this code yet.
"""

_base_ = './vit-b_mask-rcnn_1x.py'
model = dict(backbone=dict(out_indices=(2, 5, 8, 11)))
