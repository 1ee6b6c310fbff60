"""GAN-MAE ablation, combined training, 300 epochs (Table 2).

    tools/dist_train.sh configs/gan_mae/ablations/scheme-combined_300e.py 8

One optimizer, as there is one step. Also lambda = 2 of Eq. 10, which the paper chose (section 4.2).

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published, quoted from the paper's Table 2: 82.2%
fine-tuning. The paper's GPU time: 90.9 hours on 8 V100. Not reproduced by this code yet.
"""

_base_ = '../vit-b_800e.py'
model = dict(scheme='combined', disc_weight=2.0)
max_epochs = 300
