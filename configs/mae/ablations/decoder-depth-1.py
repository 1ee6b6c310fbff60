"""MAE ablation, decoder depth: 1 block (Tables 1a and 2).

    tools/dist_train.sh configs/mae/ablations/decoder-depth-1.py 8

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 1a: 84.8%
fine-tuning, 65.5% linear; from Table 2: 11.6 hours on 128 TPU-v3 cores, a speedup of 3.7. Not reproduced by this code
yet.
"""

_base_ = './_default.py'
model = dict(neck=dict(depth=1))
