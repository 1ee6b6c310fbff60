"""CrossMAE ablation, predictor: one linear layer (Table 14).

    tools/dist_train.sh configs/crossmae/ablations/predictor-linear.py 8

The same as the default.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 84.7% fine-tuning. Not reproduced by this code yet.
"""

_base_ = './_default.py'
