"""GAN-MAE ablation, the generator minimises -log D of what it generates (instead of Eq. 7).

    tools/dist_train.sh configs/gan_mae/ablations/adv-non-saturating.py 8

The usual form of GANs. A combined step with it takes a second backward pass of the discriminator.

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published: nothing. Not reproduced by this code yet.
"""

_base_ = '../vit-b_800e.py'
model = dict(adv_loss='non_saturating')
