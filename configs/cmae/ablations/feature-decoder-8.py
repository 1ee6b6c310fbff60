"""CMAE ablation, feature decoder: 8 blocks (section 4.4).

    tools/dist_train.sh configs/cmae/ablations/feature-decoder-8.py 8

`projection_std` and `contrast_accuracy` in the log show a collapse.

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: the negatives stay those of the step. Published:
"a trivial solution" (section 4.4), without a number. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(feature_decoder=dict(depth=8))
