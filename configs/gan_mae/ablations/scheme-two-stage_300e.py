"""GAN-MAE ablation, two-stage training, 300 epochs (Table 2).

    tools/dist_train.sh configs/gan_mae/ablations/scheme-two-stage_300e.py 8

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published, quoted from the paper's Table 2: 82.0%
fine-tuning. The paper's GPU time: 94.3 hours on 8 V100. Not reproduced by this code yet.
"""

_base_ = '../vit-b_800e.py'
model = dict(scheme='two_stage')
max_epochs = 300
