"""Fine-tuning of ViT-H/14 as in MAE, 50 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-h_finetune_50e.py 8 --cfg-options pretrained=CHECKPOINT

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: more batches are accumulated.

Settings: MAE, Table 9, with the decay, rate and drop path of the authors' code for this size.

Published: 86.9% after 1600 epochs of MAE (the paper's Table 3). Not reproduced by this code yet.
"""

_base_ = './vit-l_finetune_50e.py'
model = dict(backbone=dict(arch='huge', patch_size=14, drop_path_rate=0.3))
max_batch_per_device = 32
