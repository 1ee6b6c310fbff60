"""GAN-MAE with ViT-B/16 on ImageNet-1K, 200 epochs.

    tools/dist_train.sh configs/gan_mae/vit-b_200e.py 8

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated (the paper: 8 V100 with 32 GB). `max_batch_per_device`
is an estimate of what fits; the total batch and the learning rate stay. The weight gamma is that of one pass over all
devices.

Published: no number. The abstract says that it outperforms MAE of 1600 epochs (83.6%), the caption of Figure 1 that it
is comparable. Not reproduced by this code yet.
"""

_base_ = './vit-b_800e.py'
max_epochs = 200
