"""The supervised baseline of MAE: ViT-L/16 from scratch, 200 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-l_scratch_200e.py 8

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: more batches are accumulated.

Settings: MAE, Table 11; see vit-b_scratch_300e.py.

Published: 82.5% (slides, "scratch, our impl."). Not reproduced by this code yet.
"""

_base_ = './vit-b_scratch_300e.py'
model = dict(backbone=dict(arch='large', drop_path_rate=0.2))
max_batch_per_device = 128
max_epochs = 200
