"""GAN-MAE with ViT-L/16 on ImageNet-1K, 800 epochs.

    tools/dist_train.sh configs/gan_mae/vit-l_800e.py 8

For 8 GPUs with 80 GB: 128 images on each, 4 batches accumulated (the paper: 8 V100 with 32 GB). `max_batch_per_device`
is an estimate of what fits; the total batch and the learning rate stay. The weight gamma is that of one pass over all
devices.

Published: quoted from the paper's Table 5: 86.1% fine-tuning. Not reproduced by this code yet.
"""

_base_ = './vit-b_800e.py'
model = dict(backbone=dict(arch='large'))
max_batch_per_device = 128
