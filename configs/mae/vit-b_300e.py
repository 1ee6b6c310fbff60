"""MAE with ViT-B/16 on ImageNet-1K, 300 epochs.

    tools/dist_train.sh configs/mae/vit-b_300e.py 8

For 8 GPUs with 80 GB: 512 images on each, no accumulation. On smaller ones lower `max_batch_per_device`: more batches
are accumulated, and the total batch and the learning rate stay.

Published: the slides state no accuracy for this model and length. Quoted from MAE's rows in the CrossMAE paper's Table
12: 83.1% fine-tuning, 61.5% linear; from the baseline of the CMAE paper's Table 4a: 82.9% fine-tuning. Not reproduced
by this code yet.
"""

_base_ = './vit-b_800e.py'
max_epochs = 300
