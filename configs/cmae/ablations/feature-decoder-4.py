"""CMAE ablation, feature decoder: 4 blocks (Table 4c).

    tools/dist_train.sh configs/cmae/ablations/feature-decoder-4.py 8

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: the negatives stay those of the step. Published,
quoted from the paper's Table 4c: 83.8% fine-tuning. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(feature_decoder=dict(depth=4))
