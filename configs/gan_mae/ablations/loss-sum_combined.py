"""GAN-MAE ablation, sums as printed instead of means (Eq. 1, 6, 7, 10).

    tools/dist_train.sh configs/gan_mae/ablations/loss-sum_combined.py 8

L_mae is a sum over 147 patches of 768 values, L_disc one over 196 patches: beside Eq. 10 with means, L_mae weighs 576
times as much as L_disc. In Eq. 8 gamma makes up for that.

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published: nothing. Not reproduced by this code yet.
"""

_base_ = '../vit-b_800e.py'
model = dict(scheme='combined', reduction='sum')
max_epochs = 300
