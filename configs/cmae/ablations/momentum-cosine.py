"""CMAE ablation, momentum that rises from 0.996 to 1 by half a cosine.

    tools/dist_train.sh configs/cmae/ablations/momentum-cosine.py 8

As in BYOL, an option for runs of other lengths.

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: the negatives stay those of the step. Published:
nothing; the paper's momentum is fixed (section 3.1). Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
custom_hooks = [
    dict(type='CosineMomentumHook', end=1.0),
    dict(type='KNNHook', interval=50, at_start=False, bank_share=0.05),
]
