"""CrossMAE ablation, components: feature prediction with a predictor (Table 8).

    tools/dist_train.sh configs/crossmae/ablations/components-predictor.py 8

The same as the default.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 84.7% fine-tuning, 76.3% linear. Not reproduced by this code yet.
"""

_base_ = './_default.py'
