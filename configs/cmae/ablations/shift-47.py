"""CMAE ablation, pixel shift: up to 47 pixels (Figure 4a).

    tools/dist_train.sh configs/cmae/ablations/shift-47.py 8

The ranges around the default are a choice. The master crop is larger than the views by p, the shift lies in [0, p)
(section 3.2): here p = 48.

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: the negatives stay those of the step. Published:
nothing that could be quoted: the text states neither the ranges nor the numbers of Figure 4a. Not reproduced by this
code yet.
"""

_base_ = '../vit-b_300e.py'
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImage'),
            dict(type='PixelShift', size=224, master_size=272, max_shift=47),
            dict(type='PackImage'),
        ]
    )
)
