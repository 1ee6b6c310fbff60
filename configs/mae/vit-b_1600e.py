"""MAE with ViT-B/16 on ImageNet-1K, 1600 epochs.

    tools/dist_train.sh configs/mae/vit-b_1600e.py 8

For 8 GPUs with 80 GB: 512 images on each, no accumulation. On smaller ones lower `max_batch_per_device`: more batches
are accumulated, and the total batch and the learning rate stay.

Published: quoted from MAE's rows in the GAN-MAE paper's Tables 3 and 5: 83.6% fine-tuning; from those in the CrossMAE
paper's Table 12: 67.8% linear. The slides' Table 7 has the same 83.6% (normalised pixels) and does not state the
length. Not reproduced by this code yet.
"""

_base_ = './vit-b_800e.py'
max_epochs = 1600
