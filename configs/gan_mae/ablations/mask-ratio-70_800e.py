"""GAN-MAE ablation, 70% of the patches removed, 800 epochs (Table 3).

    tools/dist_train.sh configs/gan_mae/ablations/mask-ratio-70_800e.py 8

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published, quoted from the paper's Table 3: 84.3%
fine-tuning. Not reproduced by this code yet.
"""

_base_ = '../vit-b_800e.py'
model = dict(mask_ratio=0.70)
