"""GAN-MAE ablation, the adversarial loss also changes the shared encoder through the discriminator (Eq. 7).

    tools/dist_train.sh configs/gan_mae/ablations/adv-through-shared.py 8

Eq. 7 is minimised by theta_mae, of which a shared encoder is part wherever it is used: to the letter this includes the
discriminator, which then unlearns to tell patches apart. By default it is constant.

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published: nothing. Not reproduced by this code yet.
"""

_base_ = '../vit-b_800e.py'
model = dict(adv_through_shared=True)
