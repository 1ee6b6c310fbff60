"""GAN-MAE ablation, MAE itself, 1600 epochs (Table 3).

    tools/dist_train.sh configs/gan_mae/ablations/mask-ratio-mae-75_1600e.py 8

With the normalised pixels of MAE's own default; the paper does not say whether its rows of MAE have them.

For 8 GPUs with 80 GB: 512 images on each, no accumulation. Published, quoted from the paper's Table 3: 83.6%
fine-tuning. Not reproduced by this code yet.
"""

_base_ = '../../mae/vit-b_1600e.py'
