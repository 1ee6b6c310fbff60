"""CMAE with ViT-B/16 on ImageNet-1K, 1600 epochs.

    tools/dist_train.sh configs/cmae/vit-b_1600e.py 8

For 8 GPUs with 80 GB: 512 images on each, no accumulation (the paper: 32 A100). Lowering `max_batch_per_device` on
smaller ones keeps the total batch, the learning rate and the negatives, by accumulating, for one more forward pass of
the online encoder a step.

Published: quoted from the paper's Table 2: 84.7% fine-tuning. Not reproduced by this code yet.
"""

_base_ = './vit-b_800e.py'
max_epochs = 1600
