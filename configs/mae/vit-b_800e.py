"""MAE with ViT-B/16 on ImageNet-1K, 800 epochs.

    tools/dist_train.sh configs/mae/vit-b_800e.py 8

For 8 GPUs with 80 GB: 512 images on each, no accumulation. On smaller ones lower `max_batch_per_device`: more batches
are accumulated, and the total batch and the learning rate stay.

Published: the slides state no accuracy for this model and length. Quoted from MAE's rows in the GAN-MAE paper's Tables
3 and 5: 83.4% fine-tuning. Not reproduced by this code yet.
"""

_base_ = [
    '../_base_/models/mae_vit.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/mae_adamw.py',
    '../_base_/default_runtime.py',
]
max_batch_per_device = 512
max_epochs = 800
