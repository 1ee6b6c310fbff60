"""CMAE ablation, feature decoder: shared with a pixel decoder of 4 blocks (Table 4c).

    tools/dist_train.sh configs/cmae/ablations/feature-decoder-4-shared-same-depth.py 8

The paper does not say what is shared. Here: all blocks, so that the pixel decoder has 4 too;
`feature-decoder-4-shared-first.py` is the other reading. Norm and output layer are its own.

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: the negatives stay those of the step. Published,
quoted from the paper's Table 4c: 83.5% fine-tuning. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(neck=dict(depth=4), feature_decoder=dict(_delete_=True, type='SharedDecoder'))
