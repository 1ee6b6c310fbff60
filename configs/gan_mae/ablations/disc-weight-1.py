"""GAN-MAE ablation, lambda of Eq. 10 is 1 (section 4.2).

    tools/dist_train.sh configs/gan_mae/ablations/disc-weight-1.py 8

Combined training. The paper searched for lambda "in early experiments"; it states neither their length, here that of
Table 2's first half, nor their numbers.

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published: nothing but that 2 was chosen. Not
reproduced by this code yet.
"""

_base_ = '../vit-b_800e.py'
model = dict(scheme='combined', disc_weight=1.0)
max_epochs = 300
