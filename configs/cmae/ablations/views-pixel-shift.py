"""CMAE ablation, views: pixel shift, without colour (Table 4b).

    tools/dist_train.sh configs/cmae/ablations/views-pixel-shift.py 8

Table 4a's row of pixel shifting, `feature-decoder-0.py` (83.6%), changes colours and has no feature decoder.

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: the negatives stay those of the step. Published,
quoted from the paper's Table 4b: 83.4% fine-tuning. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(data_preprocessor=dict(target_view=None))
