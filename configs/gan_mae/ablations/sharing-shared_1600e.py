"""GAN-MAE ablation, one encoder for both players, 1600 epochs (Table 1).

    tools/dist_train.sh configs/gan_mae/ablations/sharing-shared_1600e.py 8

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published, quoted from the paper's Table 1: 84.6%
fine-tuning. Not reproduced by this code yet.
"""

_base_ = './_default.py'
max_epochs = 1600
