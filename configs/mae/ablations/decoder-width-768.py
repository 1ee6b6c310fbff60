"""MAE ablation, decoder width: 768 (Table 1b).

    tools/dist_train.sh configs/mae/ablations/decoder-width-768.py 8

The slides do not state the heads: each stays 32 wide, as in the default (512 / 16).

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 1b:
84.4% fine-tuning, 73.1% linear. Not reproduced by this code yet.
"""

_base_ = './_default.py'
model = dict(neck=dict(embed_dim=768, num_heads=24))
