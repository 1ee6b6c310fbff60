"""CMAE ablation, contrastive loss weight: 0 (section 4.4).

    tools/dist_train.sh configs/cmae/ablations/contrast-weight-0.py 8

Losses and gradients are MAE's; the image is a window of the master crop instead of the whole crop. Nothing is saved by
that: MAE itself, `../../mae/vit-b_300e.py`, is faster.

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: the negatives stay those of the step. Published:
CMAE then "degenerates to the baseline MAE" (section 4.4; 82.9% in Table 4a). Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(contrast_weight=0.0)
