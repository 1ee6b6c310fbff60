"""CMAE ablation, components: "Baseline", MAE alone (Table 4a).

    tools/dist_train.sh configs/cmae/ablations/components-baseline.py 8

MAE itself, on one random resized crop; `contrast-weight-0.py` is CMAE with a loss that has no contrast. Table 4b has
the same number in its row without any augmentation (`views-same.py`).

For 8 GPUs with 80 GB; prefer more devices to a lower `max_batch_per_device`, which leaves fewer negatives. Published,
quoted from the paper's Table 4a: 82.9% fine-tuning. Not reproduced by this code yet.
"""

_base_ = '../../mae/vit-b_300e.py'
