"""CMAE with ViT-L/16 on ImageNet-1K, 800 epochs.

    tools/dist_train.sh configs/cmae/vit-l_800e.py 8

For 16 GPUs with 80 GB: 256 images on each, no accumulation (the paper: 32 A100). On 8 GPUs with 80 GB 2 batches are
accumulated: total batch and learning rate stay, but an image then has only the negatives of its own pass, 2047
instead of 4095.

Published: nothing for this model and length (the paper's ViT-L is trained for 1600 epochs). Not reproduced by this
code yet.
"""

_base_ = './vit-b_800e.py'
model = dict(backbone=dict(arch='large'))
max_batch_per_device = 256
