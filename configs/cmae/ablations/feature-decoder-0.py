"""CMAE ablation, feature decoder: 0 blocks (Table 4c).

    tools/dist_train.sh configs/cmae/ablations/feature-decoder-0.py 8

The mean of the encoder's visible patches goes into the projector.

For 8 GPUs with 80 GB; prefer more devices to a lower `max_batch_per_device`, which leaves fewer negatives. Published,
quoted from the paper's Table 4c: 83.6% fine-tuning. Not reproduced by this code yet.
"""

_base_ = './_default.py'
model = dict(feature_decoder=None)
