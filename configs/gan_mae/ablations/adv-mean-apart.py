"""GAN-MAE ablation, means over the visible and over the generated patches apart (Eq. 7).

    tools/dist_train.sh configs/gan_mae/ablations/adv-mean-apart.py 8

Eq. 7 has one term for the visible patches and one for the generated ones; read as two means, a visible patch counts
three times as much as a generated one at 75%. By default all patches count the same.

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published: nothing. Not reproduced by this code yet.
"""

_base_ = '../vit-b_800e.py'
model = dict(adv_mean='apart')
