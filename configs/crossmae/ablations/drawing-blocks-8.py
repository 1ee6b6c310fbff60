"""CrossMAE ablation, drawing head of 8 blocks (Table 13).

    tools/dist_train.sh configs/crossmae/ablations/drawing-blocks-8.py 8

z enters the first block, w all that follow.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 84.0% fine-tuning, 3.5 times the cost of 2 blocks. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(drawing_head=dict(depth=8))
