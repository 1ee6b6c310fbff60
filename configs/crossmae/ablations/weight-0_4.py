"""CrossMAE ablation, loss weight lambda: 0.4 (Table 15).

    tools/dist_train.sh configs/crossmae/ablations/weight-0_4.py 8

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 84.7% fine-tuning. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(pred_weight=0.4)
