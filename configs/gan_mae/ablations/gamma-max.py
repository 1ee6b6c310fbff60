"""GAN-MAE ablation, gamma of Eq. 9 is at most 10.

    tools/dist_train.sh configs/gan_mae/ablations/gamma-max.py 8

A bound, which the paper does not have, where L_adv has hardly any gradient.

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published: nothing. Not reproduced by this code yet.
"""

_base_ = '../vit-b_800e.py'
model = dict(gamma_max=10.0)
