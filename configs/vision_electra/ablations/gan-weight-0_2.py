"""Vision ELECTRA ablation, GAN loss weight: 0.2. The same as the default.

    tools/dist_train.sh configs/vision_electra/ablations/gan-weight-0_2.py 4

For 4 GPUs with 32 GB. Published, quoted from the supplement's Table 1: 83.43% fine-tuning. Not reproduced by this code
yet.
"""

_base_ = './_default.py'
