"""MAE with a hybrid convolutional ViT-B on ImageNet-1K, 800 epochs: ConvMAE, as CMAE compares with it.

    tools/dist_train.sh configs/mae/conv-vit-b_800e.py 8

For 8 GPUs with 80 GB: 512 images on each, no accumulation. On smaller ones lower `max_batch_per_device`: more batches
are accumulated, and the total batch and the learning rate stay.

The encoder is that of ConvMAE's code, so that its public checkpoints load here (`load_from=FILE`) and downstream.

Published: quoted from ConvMAE*'s row in the CMAE paper's Table 2: 84.6% fine-tuning. Of its recipe that paper says only
that it is "the same pre-training setting" as CMAE's, which is MAE's; so is this. Not reproduced by this code yet.
"""

_base_ = './vit-b_800e.py'
model = dict(backbone=dict(type='ConvViT', conv_vit='hybrid'))
