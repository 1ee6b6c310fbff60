"""CMAE with ViT-B/16 on ImageNet-1K, 800 epochs.

    tools/dist_train.sh configs/cmae/vit-b_800e.py 8

For 8 GPUs with 80 GB: 512 images on each, no accumulation (the paper: 32 A100). Lowering `max_batch_per_device` on
smaller ones keeps the total batch, the learning rate and the negatives, by accumulating, for one more forward pass of
the online encoder a step.

Published: quoted from the paper's Table 2: 84.4% fine-tuning. Not reproduced by this code yet.
"""

_base_ = [
    '../_base_/models/cmae_vit.py',
    '../_base_/datasets/imagenet_two_views.py',
    '../_base_/schedules/mae_adamw.py',
    '../_base_/default_runtime.py',
]
max_batch_per_device = 512
max_epochs = 800
