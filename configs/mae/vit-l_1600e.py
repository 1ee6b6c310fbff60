"""MAE with ViT-L/16 on ImageNet-1K, 1600 epochs.

    tools/dist_train.sh configs/mae/vit-l_1600e.py 8

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. On smaller ones lower `max_batch_per_device`: more
batches are accumulated, and the total batch and the learning rate stay.

Published: quoted from MAE's row in the GAN-MAE paper's Table 5: 85.9% fine-tuning. The slides' Table 7 has the same
85.9% (normalised pixels) and does not state the length. Not reproduced by this code yet.
"""

_base_ = './vit-l_800e.py'
max_epochs = 1600
