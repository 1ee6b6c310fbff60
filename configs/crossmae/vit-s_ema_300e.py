"""CrossMAE with ViT-S/16 and features of a momentum encoder on ImageNet-1K, 300 epochs.

    tools/dist_train.sh configs/crossmae/vit-s_ema_300e.py 8

The target is a moving average of the backbone, "BYOL-style". The paper gives no momentum: BYOL's, which rises from
0.996 to 1.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 82.1% fine-tuning, 66.8% linear (Table 1). Not reproduced by this code yet.
"""

_base_ = './vit-b_ema_300e.py'
model = dict(backbone=dict(arch='small'))
