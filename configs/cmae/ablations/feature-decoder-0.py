"""CMAE ablation, feature decoder: 0 blocks (Table 4c); "+ Pixel shifting aug." (Table 4a).

    tools/dist_train.sh configs/cmae/ablations/feature-decoder-0.py 8

The mean of the encoder's visible patches goes into the projector. Table 4b's `views-pixel-shift.py` (83.4%) has the
feature decoder, and no colours changed.

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: the negatives stay those of the step. Published,
quoted from the paper's Tables 4a and 4c: 83.6% fine-tuning. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(feature_decoder=None)
