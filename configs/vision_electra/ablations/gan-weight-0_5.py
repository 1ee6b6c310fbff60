"""Vision ELECTRA ablation, GAN loss weight: 0.5.

    tools/dist_train.sh configs/vision_electra/ablations/gan-weight-0_5.py 4

For 4 GPUs with 32 GB. Published, quoted from the supplement's Table 1: 76.71% fine-tuning. Not reproduced by this code
yet.
"""

_base_ = '../vit-b_50e.py'
model = dict(gan_weight=0.5)
