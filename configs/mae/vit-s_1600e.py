"""MAE with ViT-S/16 on ImageNet-1K, 1600 epochs.

    tools/dist_train.sh configs/mae/vit-s_1600e.py 8

For 8 GPUs with 80 GB: 512 images on each, no accumulation. On smaller ones lower `max_batch_per_device`: more batches
are accumulated, and the total batch and the learning rate stay. The decoder stays that of the larger models, wider
than this encoder: a choice, the slides have no ViT-S.

Published: the slides state no accuracy for this model and length. Not reproduced by this code yet.
"""

_base_ = './vit-s_800e.py'
max_epochs = 1600
