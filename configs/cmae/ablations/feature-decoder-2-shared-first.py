"""CMAE ablation, feature decoder: the first 2 blocks of the pixel decoder (Table 4c).

    tools/dist_train.sh configs/cmae/ablations/feature-decoder-2-shared-first.py 8

The paper does not say what is shared. Here: the first 2 of the pixel decoder's 8 blocks, and what comes before them;
`feature-decoder-2-shared-same-depth.py` is the other reading. Norm and output layer are its own.

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: the negatives stay those of the step. Published,
quoted from the paper's Table 4c: 83.4% fine-tuning. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(feature_decoder=dict(_delete_=True, type='SharedDecoder', num_blocks=2))
