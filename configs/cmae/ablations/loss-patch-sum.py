"""CMAE ablation, reconstruction loss: sum over a patch's values instead of their mean (Eq. 5).

    tools/dist_train.sh configs/cmae/ablations/loss-patch-sum.py 8

Eq. 5 read to the letter: the squared error of a patch, divided by the number of removed patches only. The loss is 768
times the default's, beside a contrastive loss of the same weight.

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: the negatives stay those of the step. Published:
nothing; the paper's settings are "MAE's", which takes the mean. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(head=dict(patch_reduction='sum'))
