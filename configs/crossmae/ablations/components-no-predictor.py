"""CrossMAE ablation, components: feature prediction without a predictor (Table 8).

    tools/dist_train.sh configs/crossmae/ablations/components-no-predictor.py 8

The patch tokens of the backbone themselves are compared with CLIP's, which are as wide.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 84.1% fine-tuning, 71.5% linear. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(predictor=None)
