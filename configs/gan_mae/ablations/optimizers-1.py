"""GAN-MAE ablation, one optimizer for both players.

    tools/dist_train.sh configs/gan_mae/ablations/optimizers-1.py 8

A shared encoder's moments then follow the gradients of both players. By default each player has its own.

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published: nothing. Not reproduced by this code yet.
"""

_base_ = '../vit-b_800e.py'
optim_wrapper = dict(optimizers=1)
