"""MAE ablation, mask sampling: grid, 75% (Table 1f).

    tools/dist_train.sh configs/mae/ablations/mask-grid-75.py 8

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 1f:
84.0% fine-tuning, 66.0% linear. Not reproduced by this code yet.
"""

_base_ = './_default.py'
model = dict(masking='grid')
