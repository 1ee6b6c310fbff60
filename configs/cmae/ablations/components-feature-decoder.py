"""CMAE ablation, components: "+ Feature decoder" (Table 4a).

    tools/dist_train.sh configs/cmae/ablations/components-feature-decoder.py 8

The same as the default.

For 8 GPUs with 80 GB; prefer more devices to a lower `max_batch_per_device`, which leaves fewer negatives. Published,
quoted from the paper's Table 4a: 83.8% fine-tuning. Not reproduced by this code yet.
"""

_base_ = './_default.py'
