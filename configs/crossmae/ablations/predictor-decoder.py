"""CrossMAE ablation, predictor: MAE's decoder, 8 blocks of width 512 (Table 14).

    tools/dist_train.sh configs/crossmae/ablations/predictor-decoder.py 8

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 84.7% fine-tuning, 1.8 times the cost of the linear one. Not reproduced by this code
yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(predictor=dict(type='MAEDecoder', embed_dim=512, depth=8, num_heads=16))
