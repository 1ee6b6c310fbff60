"""MAE wall-clock time, ViT-H, decoder depth 1 (Table 2).

    tools/dist_train.sh configs/mae/ablations/table2-vit-h-depth-1.py 8

The slides do not state the patch size of ViT-H: 14, as in `../vit-h_800e.py`.

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 2: 85.9%
fine-tuning, 29.3 hours on 128 TPU-v3 cores, a speedup of 4.1. Not reproduced by this code yet.
"""

_base_ = './_default.py'
model = dict(backbone=dict(arch='huge', patch_size=14), neck=dict(depth=1))
max_batch_per_device = 128
