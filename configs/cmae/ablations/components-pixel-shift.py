"""CMAE ablation, components: "+ Pixel shifting aug." (Table 4a).

    tools/dist_train.sh configs/cmae/ablations/components-pixel-shift.py 8

No feature decoder yet: the same as Table 4c's row of 0 blocks, with the same number. Table 4b's
`views-pixel-shift.py` (83.4%) has the feature decoder, and no colours changed.

For 8 GPUs with 80 GB; prefer more devices to a lower `max_batch_per_device`, which leaves fewer negatives. Published,
quoted from the paper's Table 4a: 83.6% fine-tuning. Not reproduced by this code yet.
"""

_base_ = './_default.py'
model = dict(feature_decoder=None)
