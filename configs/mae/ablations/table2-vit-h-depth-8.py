"""MAE wall-clock time, ViT-H, decoder depth 8 (Table 2).

    tools/dist_train.sh configs/mae/ablations/table2-vit-h-depth-8.py 8

The slides do not state the patch size of ViT-H: 14, as in `../vit-h_800e.py`.

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 2: 85.8%
fine-tuning, 34.5 hours on 128 TPU-v3 cores, a speedup of 3.5. Not reproduced by this code yet.
"""

_base_ = './_default.py'
model = dict(backbone=dict(arch='huge', patch_size=14))
max_batch_per_device = 128
