"""GAN-MAE ablation, combined training, 800 epochs (Table 2).

    tools/dist_train.sh configs/gan_mae/ablations/scheme-combined_800e.py 8

One optimizer, as there is one step.

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published, quoted from the paper's Table 2: 84.1%
fine-tuning. The paper's GPU time: 240.5 hours on 8 V100. Not reproduced by this code yet.
"""

_base_ = '../vit-b_800e.py'
model = dict(scheme='combined', disc_weight=2.0)
