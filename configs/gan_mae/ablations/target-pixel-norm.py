"""GAN-MAE ablation, pixels normalised in each patch.

    tools/dist_train.sh configs/gan_mae/ablations/target-pixel-norm.py 8

The completed image is painted with the mean and variance of the original patches, which tells the discriminator less;
the log says so.

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published: nothing. Not reproduced by this code yet.
"""

_base_ = '../vit-b_800e.py'
model = dict(target=dict(norm_pix=True))
