"""GAN-MAE with ViT-B/16 on ImageNet-1K, 1600 epochs.

    tools/dist_train.sh configs/gan_mae/vit-b_1600e.py 8

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated (the paper: 8 V100 with 32 GB). `max_batch_per_device`
is an estimate of what fits; the total batch and the learning rate stay. The weight gamma is that of one pass over all
devices.

Published: quoted from the paper's Tables 1 and 3: 84.6% fine-tuning. Not reproduced by this code yet.
"""

_base_ = './vit-b_800e.py'
max_epochs = 1600
