"""MAE ablation, mask sampling: block, 75% (Table 1f).

    tools/dist_train.sh configs/mae/ablations/mask-block-75.py 8

Blocks as BEiT draws them, with the last one cut short so that every image keeps the same number of patches.

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 1f:
82.8% fine-tuning, 63.9% linear. Not reproduced by this code yet.
"""

_base_ = './_default.py'
model = dict(masking='block')
