"""GAN-MAE with ViT-S/16 on ImageNet-1K, 300 epochs.

    tools/dist_train.sh configs/gan_mae/vit-s_300e.py 8

For 8 GPUs with 80 GB: 512 images on each, no accumulation (the paper: 8 V100 with 32 GB). `max_batch_per_device` is an
estimate of what fits; the total batch and the learning rate stay. The weight gamma is that of one pass over all
devices. The decoder stays that of the larger models, wider than this encoder: a choice, the paper does not state it.

Published: quoted from the paper's Table 5: 82.2% fine-tuning. Not reproduced by this code yet.
"""

_base_ = './vit-s_800e.py'
max_epochs = 300
