"""CMAE ablation, contrastive loss without negatives, "BYOL-style" (section 4.4).

    tools/dist_train.sh configs/cmae/ablations/contrast-byol.py 8

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: the negatives stay those of the step. Published,
quoted from section 4.4: 83.4% fine-tuning. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(contrast_head=dict(kind='byol'))
