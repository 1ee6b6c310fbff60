"""GAN-MAE ablation, adversarial training, 300 epochs (Table 2).

    tools/dist_train.sh configs/gan_mae/ablations/scheme-adversarial_300e.py 8

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published, quoted from the paper's Table 2: 82.2%
fine-tuning. Table 5 has 84.0% for the same model and length. The paper's GPU time: 118.8 hours on 8 V100. Not
reproduced by this code yet.
"""

_base_ = './_default.py'
max_epochs = 300
