"""MAE with ViT-S/16 on ImageNet-1K, 300 epochs.

    tools/dist_train.sh configs/mae/vit-s_300e.py 8

For 8 GPUs with 80 GB: 512 images on each, no accumulation. On smaller ones lower `max_batch_per_device`: more batches
are accumulated, and the total batch and the learning rate stay. The decoder stays that of the larger models, wider
than this encoder: a choice, the slides have no ViT-S.

Published: the slides state no accuracy for this model and length. Not reproduced by this code yet.
"""

_base_ = [
    '../_base_/models/mae_vit.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/mae_adamw.py',
    '../_base_/default_runtime.py',
]
model = dict(
    mask_ratio=0.75,
    backbone=dict(arch='small', img_size=224, patch_size=16),
    neck=dict(embed_dim=512, depth=8, num_heads=16),
    target=dict(norm_pix=True),
)
total_batch_size = 4096
max_batch_per_device = 1024
base_lr = 1.5e-4
max_epochs = 300
warmup_epochs = 40
