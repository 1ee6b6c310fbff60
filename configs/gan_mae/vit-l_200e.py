"""GAN-MAE with ViT-L/16 on ImageNet-1K, 200 epochs.

    tools/dist_train.sh configs/gan_mae/vit-l_200e.py 8

For 8 GPUs with 80 GB: 128 images on each, 4 batches accumulated (the paper: 8 V100 with 32 GB). `max_batch_per_device`
is an estimate of what fits; the total batch and the learning rate stay. The weight gamma is that of one pass over all
devices.

Published: nothing for this model and length. Not reproduced by this code yet.
"""

_base_ = './vit-l_800e.py'
max_epochs = 200
