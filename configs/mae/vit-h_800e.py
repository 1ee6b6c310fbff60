"""MAE with ViT-H/14 on ImageNet-1K, 800 epochs.

    tools/dist_train.sh configs/mae/vit-h_800e.py 8

For 8 GPUs with 80 GB: 128 images on each, 4 batches accumulated. On smaller ones lower `max_batch_per_device`: more
batches are accumulated, and the total batch and the learning rate stay.

Published: nothing for this model and length with normalised pixels; with unnormalised ones, quoted from the slides'
Table 2: 85.8% fine-tuning (ablations/table2-vit-h-depth-8.py). Not reproduced by this code yet.
"""

_base_ = './vit-b_800e.py'
model = dict(backbone=dict(arch='huge', patch_size=14))
max_batch_per_device = 128
