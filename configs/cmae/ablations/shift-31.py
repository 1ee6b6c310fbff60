"""CMAE ablation, pixel shift: up to 31 pixels (Figure 4a).

    tools/dist_train.sh configs/cmae/ablations/shift-31.py 8

The same as the default.

For 8 GPUs with 80 GB; prefer more devices to a lower `max_batch_per_device`, which leaves fewer negatives. Published:
the figure's point of the default, 83.8% (Table 4). Not reproduced by this code yet.
"""

_base_ = './_default.py'
