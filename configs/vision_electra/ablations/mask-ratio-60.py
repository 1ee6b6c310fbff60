"""Vision ELECTRA ablation, mask ratio: 60%.

    tools/dist_train.sh configs/vision_electra/ablations/mask-ratio-60.py 4

For 4 GPUs with 32 GB. Published, quoted from the supplement's Table 1: 83.01% fine-tuning. Not reproduced by this code
yet.
"""

_base_ = '../vit-b_50e.py'
model = dict(mask_ratio=0.6)
