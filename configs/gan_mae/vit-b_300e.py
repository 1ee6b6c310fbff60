"""GAN-MAE with ViT-B/16 on ImageNet-1K, 300 epochs.

    tools/dist_train.sh configs/gan_mae/vit-b_300e.py 8

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated (the paper: 8 V100 with 32 GB). `max_batch_per_device`
is an estimate of what fits; the total batch and the learning rate stay. The weight gamma is that of one pass over all
devices.

Published: quoted from the paper, which gives two figures: 84.0% fine-tuning in Table 5 and in section 4.3, 82.2% in
Table 2 (adversarial, 300 epochs; 118.8 hours on 8 V100). Not reproduced by this code yet.
"""

_base_ = './vit-b_800e.py'
max_epochs = 300
