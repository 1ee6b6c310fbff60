"""GAN-MAE ablation, a player has a whole epoch, then the other one (section 3.3).

    tools/dist_train.sh configs/gan_mae/ablations/alternate-epoch.py 8

"Specifically, at each epoch, we conduct the iteration in two steps" can mean this; Algorithm 1 alternates in each
iteration. An epoch of the text is two of the loop, one for each player: 1600 are its 800.

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published: nothing. Not reproduced by this code yet.
"""

_base_ = '../vit-b_800e.py'
model = dict(alternate='epoch')
max_epochs = 1600
warmup_epochs = 80
