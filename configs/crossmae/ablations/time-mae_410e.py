"""CrossMAE ablation, MAE for the same time as 300 epochs of CrossMAE with pixels: 410 epochs (Table 12).

    tools/dist_train.sh configs/crossmae/ablations/time-mae_410e.py 8

MAE's own recipe, with 4096 images a step; its other rows are `configs/mae/vit-b_300e.py` and `configs/mae/vit-
b_1600e.py`.

For 8 GPUs with 80 GB: 512 images on each, no accumulation. Published, quoted from the paper: 83.2% fine-tuning, 62.4%
linear, 107 hours on 8 V100. Not reproduced by this code yet.
"""

_base_ = '../../mae/vit-b_300e.py'
max_epochs = 410
