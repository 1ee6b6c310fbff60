"""Linear probing of ViT-L/16 as in MAE, 90 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-l_linear_90e.py 8 --cfg-options pretrained=CHECKPOINT

For 8 GPUs with 80 GB. The batch norm takes its statistics from one batch of all processes; with a lower
`max_batch_per_device` it takes them from each accumulated batch.

Settings: MAE, Table 10. The mirror image is not in that table, but in the authors' code.

Published: 73.5% after 800 epochs of MAE with unnormalised pixels (slides). Not reproduced by this code yet.
"""

_base_ = './vit-b_linear_90e.py'
model = dict(backbone=dict(arch='large'))
max_batch_per_device = 1024
