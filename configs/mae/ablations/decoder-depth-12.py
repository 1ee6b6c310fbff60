"""MAE ablation, decoder depth: 12 blocks (Table 1a).

    tools/dist_train.sh configs/mae/ablations/decoder-depth-12.py 8

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 1a:
84.4% fine-tuning, 73.3% linear. Not reproduced by this code yet.
"""

_base_ = './_default.py'
model = dict(neck=dict(depth=12))
