"""MAE ablation, decoder depth: 8 blocks (Table 1a).

    tools/dist_train.sh configs/mae/ablations/decoder-depth-8.py 8

The same as the default.

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 1a:
84.9% fine-tuning, 73.5% linear. Not reproduced by this code yet.
"""

_base_ = './_default.py'
