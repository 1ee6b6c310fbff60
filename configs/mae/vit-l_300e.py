"""MAE with ViT-L/16 on ImageNet-1K, 300 epochs.

    tools/dist_train.sh configs/mae/vit-l_300e.py 8

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. On smaller ones lower `max_batch_per_device`: more
batches are accumulated, and the total batch and the learning rate stay.

Published: the slides state no accuracy for this model and length. Not reproduced by this code yet.
"""

_base_ = './vit-l_800e.py'
max_epochs = 300
