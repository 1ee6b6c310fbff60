"""MAE ablation, no mask tokens in the encoder: "encoder w/o [M]" (Table 1c).

    tools/dist_train.sh configs/mae/ablations/encoder-without-mask-tokens.py 8

The same as the default.

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 1c:
84.9% fine-tuning, 73.5% linear, 1 times the FLOPs. Not reproduced by this code yet.
"""

_base_ = './_default.py'
