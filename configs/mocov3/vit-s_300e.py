"""MoCo v3 with ViT-S/16 on ImageNet-1K, 300 epochs, by mmpretrain's model and pipeline.

    tools/dist_train.sh configs/mocov3/vit-s_300e.py 8 [--cfg-options data_root=PATH/TO/imagenet]

As vit-b_300e.py with the authors' small encoder, which has 12 heads. Published: 81.4% after fine-tuning (quoted in
GAN-MAE, Table 5). Not reproduced by this code, and not run.
"""

_base_ = './vit-b_300e.py'
model = dict(backbone=dict(arch='mocov3-small'), neck=dict(in_channels=384))
