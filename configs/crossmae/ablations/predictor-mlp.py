"""CrossMAE ablation, predictor: two layers with batch norm (Table 14).

    tools/dist_train.sh configs/crossmae/ablations/predictor-mlp.py 8

SimSiam's layers; as wide as the backbone in between, which the paper does not state. Its cost fits no width.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 84.6% fine-tuning, 1.2 times the cost of the linear one. Not reproduced by this code
yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(predictor=dict(type='MLPPredictor'))
