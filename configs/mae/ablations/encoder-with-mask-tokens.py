"""MAE ablation, mask tokens in the encoder: "encoder w/ [M]" (Tables 1c and 2).

    tools/dist_train.sh configs/mae/ablations/encoder-with-mask-tokens.py 8

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 1c: 84.2%
fine-tuning, 59.6% linear, 3.3 times the FLOPs; from Table 2: 42.4 hours on 128 TPU-v3 cores. Not reproduced by this
code yet.
"""

_base_ = './_default.py'
model = dict(backbone=dict(mask_tokens=True))
