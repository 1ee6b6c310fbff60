"""MAE with a hybrid convolutional ViT-B on ImageNet-1K, 1600 epochs: ConvMAE, as CMAE compares with it.

    tools/dist_train.sh configs/mae/conv-vit-b_1600e.py 8

For 8 GPUs with 80 GB: 512 images on each, no accumulation. On smaller ones lower `max_batch_per_device`: more batches
are accumulated, and the total batch and the learning rate stay.

Published: quoted from ConvMAE*'s row in the CMAE paper's Table 2: 84.6% fine-tuning. Of its recipe that paper says only
that it is "the same pre-training setting" as CMAE's, which is MAE's; so is this. Not reproduced by this code yet.
"""

_base_ = [
    '../_base_/models/mae_vit.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/mae_adamw.py',
    '../_base_/default_runtime.py',
]
model = dict(
    mask_ratio=0.75,
    backbone=dict(type='ConvViT', arch='base', conv_vit='hybrid', img_size=224, patch_size=16),
    neck=dict(embed_dim=512, depth=8, num_heads=16),
    target=dict(norm_pix=True),
)
total_batch_size = 4096
max_batch_per_device = 512
base_lr = 1.5e-4
max_epochs = 1600
warmup_epochs = 40
