"""MAE ablation, decoder depth: 2 blocks (Table 1a).

    tools/dist_train.sh configs/mae/ablations/decoder-depth-2.py 8

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 1a:
84.9% fine-tuning, 70.0% linear. Not reproduced by this code yet.
"""

_base_ = './_default.py'
model = dict(neck=dict(depth=2))
