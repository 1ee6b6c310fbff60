"""CMAE ablation, contrastive loss weight: 2.0 (Table 4d).

    tools/dist_train.sh configs/cmae/ablations/contrast-weight-2_0.py 8

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: the negatives stay those of the step. Published,
quoted from the paper's Table 4d: 83.2% fine-tuning. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(contrast_weight=2.0)
