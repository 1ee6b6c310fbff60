"""MAE wall-clock time, ViT-L with mask tokens in the encoder, decoder depth 8 (Table 2).

    tools/dist_train.sh configs/mae/ablations/table2-vit-l-mask-tokens.py 8

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 2: 84.2%
fine-tuning, 42.4 hours on 128 TPU-v3 cores. Not reproduced by this code yet.
"""

_base_ = './_default.py'
model = dict(backbone=dict(mask_tokens=True))
