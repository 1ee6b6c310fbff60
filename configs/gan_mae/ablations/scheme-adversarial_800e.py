"""GAN-MAE ablation, adversarial training, 800 epochs (Table 2).

    tools/dist_train.sh configs/gan_mae/ablations/scheme-adversarial_800e.py 8

The same as the default.

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published, quoted from the paper's Table 2: 84.3%
fine-tuning. The paper's GPU time: 317.5 hours on 8 V100. Not reproduced by this code yet.
"""

_base_ = './_default.py'
